//! `xcomp export`: a run as a folder that other code loads.

use std::path::{Path, PathBuf};

use clap::Args;

use super::print;
use crate::error::Error;
use crate::export::llm_only::export_llm;
use crate::export::{export, find_checkpoint};
use crate::machine::device::{Choice, open};
use crate::machine::files::at;
use crate::plan::Plan;
use crate::recipe::Recipe;

/// Arguments of `xcomp export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Folder of the run; with --llm-only an exported folder will do.
    run: PathBuf,
    /// Folder of the export.
    folder: PathBuf,
    /// This checkpoint instead of the newest.
    #[arg(long)]
    step: Option<usize>,
    /// Overrides a key of the run's recipe, such as `checkpoint.export_dtype`; repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    /// Writes the language model alone, as a plain Qwen2 folder.
    #[arg(long)]
    llm_only: bool,
}

pub(super) fn run(args: &ExportArgs) -> Result<(), Error> {
    let exported = args.run.join("config.json").is_file();
    if args.llm_only && exported {
        export_llm(&args.run, &args.folder)?;
        return print(&format!("exported the language model to {}", args.folder.display()));
    }
    let saved = find_checkpoint(&args.run, args.step)?;
    let plan = plan_of_run(&args.run, &args.set)?;
    let device = open(Choice::Cpu)?;
    if args.llm_only {
        let whole = aside(&args.folder);
        export(&plan, &saved, &whole, &device)?;
        export_llm(&whole, &args.folder)?;
        std::fs::remove_dir_all(&whole).map_err(at("cannot remove", &whole))?;
    } else {
        export(&plan, &saved, &args.folder, &device)?;
    }
    print(&format!("exported step {} to {}", saved.step, args.folder.display()))
}

/// A folder next to the export that no one else has.
fn aside(folder: &Path) -> PathBuf {
    folder.with_extension(format!("whole-{}", std::process::id()))
}

/// The plan of a run, from its resolved recipe.
pub(super) fn plan_of_run(run: &Path, set: &[String]) -> Result<Plan, Error> {
    let recipe = Recipe::load(&run.join("recipe.lock.toml"), set)?;
    let counted = crate::plan::survey::count(&recipe)?;
    Plan::new(recipe, counted)
}
