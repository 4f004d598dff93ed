//! `xcomp train`: opens what a run needs, shows what the loop tells, and says how it ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{RecipeArgs, print};
use crate::error::Error;
use crate::machine::device::Choice;
use crate::machine::stop::{Stop, parse_duration};
use crate::recipe::Recipe;
use crate::run::launch::{Launch, launch};
use crate::show::numbers::duration;
use crate::train::Summary;

/// Arguments of `xcomp train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Folder of the run; a run in it is continued. Default: runs/NAME-OF-RECIPE.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The checkpoint folder to go on from. Default: the newest complete one of the run.
    #[arg(long, value_name = "CHECKPOINT")]
    resume: Option<PathBuf>,
    /// cpu, cuda[:i], vulkan[:i] or auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Stops in time to save, for example 9m; exit code 75.
    #[arg(long, value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Stops in time to save when standard input ends, for a program that starts runs; exit code 75.
    #[arg(long)]
    until_input_ends: bool,
}

pub(super) fn run(args: &TrainArgs) -> Result<(), Error> {
    let stop = Stop::on_signals(args.budget)?;
    if args.until_input_ends {
        stop.at_end_of_input();
    }
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let out = args.out.clone().unwrap_or_else(|| default_out(&recipe.path));
    let resume = args.resume.as_deref();
    let summary = launch(recipe, Launch { out: &out, resume, device: args.device, stop })?;
    print(&closing_line(&summary, &out))
}

fn closing_line(summary: &Summary, out: &Path) -> String {
    let loss =
        summary.last.as_ref().map_or(String::new(), |last| format!(", loss {:.4}", last.loss));
    format!(
        "{} steps{loss}, {} in this start: {}",
        summary.step,
        duration(summary.seconds),
        out.display()
    )
}

pub(super) fn default_out(recipe: &Path) -> PathBuf {
    Path::new("runs").join(recipe.file_stem().unwrap_or(recipe.as_os_str()))
}
