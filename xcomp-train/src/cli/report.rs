//! `xcomp report RUN`: what a run has learnt of its drops.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{DeviceArg, FormatArg};
use super::export::plan_of_run;
use crate::error::Error;
use crate::machine::stop::parse_duration;
use crate::report::follow::follow;
use crate::report::{Subject, newest_weights, write};
use crate::run::folder::RECIPE;
use crate::show::progress::{Progress, say};
use crate::train::memory_guard::MemoryGuard;

/// Arguments of `xcomp report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Folder of the run; it may still be going on.
    run: PathBuf,
    /// Samples of the run's own mixture that are looked at, evenly spread.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Measures nothing: writes the curves so far to report.html, again and again until the run ends.
    #[arg(long)]
    follow: bool,
    /// From look to look with --follow.
    #[arg(long, value_parser = parse_duration, default_value = "5s", requires = "follow")]
    every: Duration,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), Error> {
    if args.follow {
        return follow_run(args);
    }
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

/// The page of a run as it goes on.
fn follow_run(args: &ReportArgs) -> Result<(), Error> {
    if !args.run.join(RECIPE).is_file() {
        let message = format!("{} is no folder of a run: it has no {RECIPE}", args.run.display());
        return Err(Error::Argument(message));
    }
    let mut progress = None;
    let look = follow(&args.run, args.every, &mut |look| {
        let progress = progress.get_or_insert_with(|| {
            say(&format!("open {} in a browser; it reads itself again", look.page.display()));
            Progress::new("steps", look.run.planned)
        });
        progress.at(look.run.steps);
    })?;
    drop(progress);
    args.format.print_as(&look.page.display(), &look)
}
