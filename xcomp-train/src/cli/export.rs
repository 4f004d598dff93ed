//! `xcomp export`: a run as a folder that other code loads.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::args::{FormatArg, default_out};
use crate::error::Error;
use crate::export::adapter::{Base, export_adapter};
use crate::export::llm_only::export_llm;
use crate::export::{export, find_checkpoint};
use crate::machine::device::{Choice, open};
use crate::machine::files::at;
use crate::machine::memory::peak_rss_bytes;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::run::folder::RECIPE;

/// Arguments of `xcomp export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Folder of the run; with --llm-only an exported folder will do.
    run: PathBuf,
    /// Folder of the export [default: runs/NAME-export, with the name of the run].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Old spelling of --out.
    #[arg(hide = true, conflicts_with = "out")]
    folder: Option<PathBuf>,
    /// This checkpoint instead of the newest.
    #[arg(long)]
    step: Option<usize>,
    /// Overrides a key of the run's recipe, such as `checkpoint.export_dtype`; repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    /// Writes the language model alone, as a plain Qwen2 folder.
    #[arg(long)]
    llm_only: bool,
    /// Writes the adapter alone ([tune] `lora_rank`), in PEFT's layout; with --llm-only for the plain Qwen2 folder of the base.
    #[arg(long)]
    adapter: bool,
    #[command(flatten)]
    format: FormatArg,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Exported {
    /// Steps that the weights have seen; none where an exported folder was the source.
    step: Option<usize>,
    folder: PathBuf,
    /// Of the process, in MiB.
    peak_memory_mib: u64,
}

impl Exported {
    fn new(step: Option<usize>, folder: PathBuf) -> Self {
        Self { step, folder, peak_memory_mib: peak_rss_bytes() >> 20 }
    }
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, peak) = (self.folder.display(), self.peak_memory_mib);
        match self.step {
            Some(step) => write!(f, "exported step {step} to {folder}; peak memory {peak} MiB"),
            None => write!(f, "exported the language model to {folder}; peak memory {peak} MiB"),
        }
    }
}

pub(super) fn run(args: &ExportArgs) -> Result<(), Error> {
    let given = args.out.clone().or_else(|| args.folder.clone());
    let folder = given.unwrap_or_else(|| default_out(&args.run, "-export"));
    let exported = args.run.join("config.json").is_file();
    if args.llm_only && exported && !args.adapter {
        export_llm(&args.run, &folder)?;
        return args.format.print(&Exported::new(None, folder));
    }
    let saved = find_checkpoint(&args.run, args.step)?;
    let plan = plan_of_run(&args.run, &args.set)?;
    let device = open(Choice::Cpu)?.device;
    if args.adapter {
        let base = if args.llm_only { Base::Llm } else { Base::Whole };
        export_adapter(&plan, &saved, &folder, base)?;
    } else if args.llm_only {
        let whole = aside(&folder);
        export(&plan, &saved, &whole, &device)?;
        export_llm(&whole, &folder)?;
        std::fs::remove_dir_all(&whole).map_err(at("cannot remove", &whole))?;
    } else {
        export(&plan, &saved, &folder, &device)?;
    }
    args.format.print(&Exported::new(Some(saved.step), folder))
}

/// A folder next to the export that no one else has.
fn aside(folder: &Path) -> PathBuf {
    folder.with_extension(format!("whole-{}", std::process::id()))
}

/// The plan of a run, from its resolved recipe.
pub(super) fn plan_of_run(run: &Path, set: &[String]) -> Result<Plan, Error> {
    let recipe = Recipe::load(&run.join(RECIPE), set)?;
    let counted = crate::plan::survey::count(&recipe)?;
    Plan::new(recipe, counted)
}
