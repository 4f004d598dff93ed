//! `xcomp bench`: training steps of a recipe's shapes, timed.

use clap::Args;

use super::{Format, RecipeArgs, print, print_as};
use crate::bench::{BenchOptions, bench};
use crate::error::Error;
use crate::machine::device::Choice;
use crate::recipe::Recipe;
use crate::show::progress::say;

/// Arguments of `xcomp bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Frames of a sample; a row for each. Default: the recipe's `expected_frames`.
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
    /// cpu, cuda[:i], vulkan[:i] or auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &BenchArgs) -> Result<(), Error> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
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
    let report = bench(recipe, &options, args.device, &mut |row| {
        say(&row.to_string());
    })?;
    print_as(args.format, &report)?;
    if args.profile && args.format == Format::Text {
        return print(&report.profile());
    }
    Ok(())
}
