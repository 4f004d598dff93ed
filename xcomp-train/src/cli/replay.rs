//! `xcomp replay RUN --step N`.

use std::path::PathBuf;

use clap::Args;

use super::export::plan_of_run;
use super::{Format, print_as};
use crate::data::Data;
use crate::error::Error;
use crate::machine::device::{Choice, open};
use crate::run::replay::replay;
use crate::train::checkpoint::identity::of_run;

/// Arguments of `xcomp replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Folder of the run.
    run: PathBuf,
    /// The 1-based step to do again.
    #[arg(long)]
    step: usize,
    /// cpu, cuda[:i], vulkan[:i] or auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Error> {
    let plan = plan_of_run(&args.run, &[])?;
    let data = Data::open(&plan.recipe, &plan.config, None)?;
    let identity = of_run(&plan, &data)?;
    let device = open(args.device)?;
    let report = replay(&plan, &data, &identity, &args.run, args.step, &device)?;
    print_as(args.format, &report)
}
