//! `xcomp compare RUN reference`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Format, print_as};
use crate::compare::compare;
use crate::error::Error;
use crate::metrics::{METRICS, read};

/// Arguments of `xcomp compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Folder of the run.
    run: PathBuf,
    /// What it is laid over.
    #[arg(value_enum)]
    with: With,
    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum With {
    /// The log of the released run.
    Reference,
}

pub(super) fn run(args: &CompareArgs) -> Result<(), Error> {
    let With::Reference = args.with;
    let records = read(&args.run.join(METRICS))?;
    print_as(args.format, &compare(records.values()))
}
