//! `xcomp export`: a run as a folder that other code loads.

use std::path::PathBuf;

use clap::Args;

use super::print;
use crate::device::{Choice, open};
use crate::error::Error;
use crate::export::{export, find_checkpoint};
use crate::plan::Plan;
use crate::recipe::Recipe;

/// Arguments of `xcomp export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Folder of the run.
    run: PathBuf,
    /// Folder of the export.
    folder: PathBuf,
    /// This checkpoint instead of the newest.
    #[arg(long)]
    step: Option<usize>,
    /// Overrides a key of the run's recipe, such as `checkpoint.export_dtype`; repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(args: &ExportArgs) -> Result<(), Error> {
    let saved = find_checkpoint(&args.run, args.step)?;
    let plan = plan_of_run(&args.run, &args.set)?;
    export(&plan, &saved, &args.folder, &open(Choice::Cpu)?)?;
    print(&format!("exported step {} to {}", saved.step, args.folder.display()))
}

/// The plan of a run, from its resolved recipe.
pub(super) fn plan_of_run(run: &std::path::Path, set: &[String]) -> Result<Plan, Error> {
    let recipe = Recipe::load(&run.join("recipe.lock.toml"), set)?;
    let counted = crate::data::count(&recipe)?;
    Plan::new(recipe, counted)
}
