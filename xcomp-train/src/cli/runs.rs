//! `xcomp runs`: what is in a folder of runs.

use std::path::PathBuf;

use clap::Args;

use super::args::FormatArg;
use crate::error::Error;
use crate::run::list::Runs;

/// Arguments of `xcomp runs`.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// The folder that holds the runs.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &RunsArgs) -> Result<(), Error> {
    if !args.folder.is_dir() {
        return Err(Error::Argument(format!("{} is no folder", args.folder.display())));
    }
    args.format.print(&Runs::of(&args.folder)?)
}
