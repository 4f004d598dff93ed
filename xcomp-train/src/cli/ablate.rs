//! `xcomp ablate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{DeviceArg, FormatArg, PartArg, default_out};
use crate::ablate::execute::Workers;
use crate::ablate::sweep::Sweep;
use crate::ablate::text::markdown;
use crate::ablate::{Work, ablate, ablate_part, estimate};
use crate::error::Error;
use crate::machine::stop::{Stop, parse_duration};

/// Arguments of `xcomp ablate`.
#[derive(Debug, Args)]
pub(super) struct AblateArgs {
    /// The sweep file.
    sweep: PathBuf,
    /// Folder of the sweep; what is finished there is kept [default: runs/NAME, with the name of the sweep].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Runs at a time, each with its share of the cores.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Only the first seeds of every arm, this many; without it, the same command goes on with the others.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: Option<u16>,
    #[command(flatten)]
    part: PartArg,
    #[command(flatten)]
    device: DeviceArg,
    /// Stops in time to save, for example 25m; exit code 75, and the same command goes on.
    #[arg(long, value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Makes the world, says what is to do and how long it will take, and trains nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) fn run(args: &AblateArgs) -> Result<(), Error> {
    let stop = Stop::on_signals(args.budget)?;
    let sweep = Sweep::load(&args.sweep)?;
    let sweep = match args.seeds {
        Some(count) => sweep.with_first_seeds(count.into()),
        None => sweep,
    };
    let out = args.out.clone().unwrap_or_else(|| default_out(&args.sweep, ""));
    let out = std::path::absolute(&out).map_err(crate::machine::files::at("cannot find", &out))?;
    let (jobs, share) = (usize::from(args.jobs), args.part.share);
    let workers = Workers { jobs, device: args.device.choice, stop: &stop };
    if args.dry_run {
        return args.format.print(&estimate(&sweep, Work { out: &out, workers, share })?);
    }
    if let Some(share) = share {
        return args.format.print(&ablate_part(&sweep, &out, workers, share)?);
    }
    let facts = facts(args, jobs);
    let report = ablate(&sweep, &out, workers, facts)?;
    let page = out.join("report.html");
    let text = format!("{}\n\nreport: {}", markdown(&report).trim_end(), page.display());
    args.format.print_as(&text, &report)
}

/// Where and how the sweep was run, for the report.
fn facts(args: &AblateArgs, jobs: usize) -> Vec<(String, String)> {
    let seeds = args.seeds.map_or_else(String::new, |count| format!(" --seeds {count}"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        ("command".into(), format!("xcomp ablate {}{seeds} --jobs {jobs}", args.sweep.display())),
        ("program".into(), format!("xcomp {}", env!("CARGO_PKG_VERSION"))),
        ("device".into(), format!("{}, {cores} cores", args.device.choice)),
    ]
}
