//! `xcomp replay RUN --step N`.

use std::path::PathBuf;

use clap::Args;

use super::args::{DeviceArg, FormatArg};
use super::export::plan_of_run;
use crate::data::Data;
use crate::error::Error;
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
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Error> {
    let plan = plan_of_run(&args.run, &[])?;
    let data = Data::open(&plan.recipe, &plan.config, None)?.balanced(&plan);
    let identity = of_run(&plan, &data)?;
    let device = args.device.open()?;
    let report = replay(&plan, &data, &identity, &args.run, args.step, &device)?;
    args.format.print(&report)
}
