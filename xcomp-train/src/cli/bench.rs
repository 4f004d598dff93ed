//! `xcomp bench`: training steps of a recipe's shapes, timed.

use clap::Args;

use super::args::{DeviceArg, FormatArg, RecipeArgs, print};
use crate::bench::{BenchOptions, bench};
use crate::error::Error;
use crate::show::progress::say;

/// Arguments of `xcomp bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Frames of a sample; a row for each [default: the recipe's `expected_frames`].
    #[arg(long, value_delimiter = ',')]
    frames: Vec<usize>,
    /// Leaves the tower out: features come from the host, as from the feature cache.
    #[arg(long)]
    cached: bool,
    /// Leaves all tokens in all layers.
    #[arg(long)]
    no_compression: bool,
    /// Timed steps of a row.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps before them.
    #[arg(long, default_value_t = 2)]
    warmup: u32,
    /// Also prints every part of a step.
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Error> {
    let recipe = args.recipe.load()?;
    let frames = if args.frames.is_empty() {
        vec![recipe.data.expected_frames]
    } else {
        args.frames.clone()
    };
    let options = BenchOptions {
        frames,
        cached: args.cached,
        compressed: !args.no_compression,
        steps: args.steps as usize,
        warmup: args.warmup as usize,
    };
    let report = bench(recipe, &options, args.device.choice, &mut |row| {
        say(&row.to_string());
    })?;
    args.format.print(&report)?;
    if args.profile && args.format.is_text() {
        return print(&report.profile());
    }
    Ok(())
}
