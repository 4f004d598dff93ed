//! `xcomp report RUN`: what a run has learnt of its drops.

use std::path::PathBuf;

use clap::Args;

use super::args::{DeviceArg, FormatArg};
use super::export::plan_of_run;
use crate::error::Error;
use crate::report::{Subject, newest_weights, write};
use crate::train::memory_guard::MemoryGuard;

/// Arguments of `xcomp report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folder of the run; it may still be going on.
    run: PathBuf,
    /// Samples of the run's own mixture that are looked at, evenly spread.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Error> {
    newest_weights(&args.run)?; // a folder that is no run is named as such, before its recipe is missed
    let plan = plan_of_run(&args.run, &[])?;
    let device = args.device.open()?;
    let memory = MemoryGuard::of(&plan, &device);
    let report = memory.guard(&plan, || {
        let subject = Subject::open(&args.run, plan.clone(), &device)?;
        subject.measure(args.samples as usize)
    })?;
    write(&report)?;
    args.format.print(&report)
}
