//! `xcomp ablate`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Format, print};
use crate::ablate::execute::Workers;
use crate::ablate::sweep::Sweep;
use crate::ablate::text::markdown;
use crate::ablate::{ablate, estimate};
use crate::error::Error;
use crate::machine::device::Choice;
use crate::machine::stop::{Stop, parse_duration};

/// Arguments of `xcomp ablate`.
#[derive(Debug, Args)]
pub(super) struct AblateArgs {
    /// The sweep file.
    sweep: PathBuf,
    /// Folder of the sweep; what is finished there is kept. Default: runs/NAME-OF-SWEEP.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs at a time, each with its share of the cores.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Only the first seeds of every arm, this many; without it, the same command goes on with the others.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: Option<u16>,
    /// cpu, cuda[:i], vulkan[:i] or auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// Stops in time to save, for example 25m; exit code 75, and the same command goes on.
    #[arg(long, value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Makes the world, says what is to do and how long it will take, and trains nothing.
    #[arg(long)]
    dry_run: bool,
    /// How the tables are printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &AblateArgs) -> Result<(), Error> {
    let stop = Stop::on_signals(args.budget)?;
    let sweep = Sweep::load(&args.sweep)?;
    let sweep = match args.seeds {
        Some(count) => sweep.with_first_seeds(count.into()),
        None => sweep,
    };
    let out = args.out.clone().unwrap_or_else(|| super::train::default_out(&args.sweep));
    let out = std::path::absolute(&out).map_err(crate::machine::files::at("cannot find", &out))?;
    let jobs = usize::from(args.jobs);
    if args.dry_run {
        return print(&estimate(&sweep, &out, jobs)?.to_string());
    }
    let workers = Workers { jobs, device: args.device, stop: &stop };
    let facts = facts(args, jobs);
    let report = ablate(&sweep, &out, workers, facts)?;
    match args.format {
        Format::Text => {
            print(&markdown(&report))?;
            print(&format!("\nreport: {}", Path::new(&out).join("report.html").display()))
        }
        Format::Json => print(&serde_json::to_string_pretty(&report).expect("plain data is JSON")),
    }
}

/// Where and how the sweep was run, for the report.
fn facts(args: &AblateArgs, jobs: usize) -> Vec<(String, String)> {
    let seeds = args.seeds.map_or_else(String::new, |count| format!(" --seeds {count}"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        ("command".into(), format!("xcomp ablate {}{seeds} --jobs {jobs}", args.sweep.display())),
        ("program".into(), format!("xcomp {}", env!("CARGO_PKG_VERSION"))),
        ("device".into(), format!("{}, {cores} cores", args.device)),
    ]
}
