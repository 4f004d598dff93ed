//! `xcomp schedule RUN`: tokens of every layer under a budget, from what the model of a run has learnt.

use std::path::PathBuf;

use clap::Args;

use super::args::{DeviceArg, FormatArg};
use super::export::plan_of_run;
use crate::error::Error;
use crate::machine::files::write_atomically;
use crate::report::schedule::{Budget, Wanted};
use crate::report::{Subject, newest_weights};
use crate::run::folder::RECIPE;
use crate::show::progress::say;
use crate::train::memory_guard::MemoryGuard;

/// Arguments of `xcomp schedule`.
#[derive(Debug, Args)]
pub(super) struct ScheduleArgs {
    /// Folder of the run.
    run: PathBuf,
    #[command(flatten)]
    budget: BudgetArgs,
    /// Tokens of a frame in the last layer.
    #[arg(long, default_value_t = 1, value_name = "N")]
    end: usize,
    /// Samples of the run's own mixture that are looked at, evenly spread.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Schedules of the same budget that are drawn and measured beside it: how far the prediction can be trusted.
    #[arg(long, default_value_t = 16, value_name = "N")]
    drawn: usize,
    /// Where the recipe with the schedule is written [default: RUN/schedule.toml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

/// Exactly one of them is given.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct BudgetArgs {
    /// Tokens of a frame in the mean over the layers.
    #[arg(long, value_name = "MEAN", value_parser = amount)]
    tokens: Option<f64>,
    /// FLOPs of the decoder layers over a sample of the mixture's mean size, such as 2e12.
    #[arg(long, value_name = "FLOPS", value_parser = amount)]
    flops: Option<f64>,
    /// MiB of keys and values of such a sample.
    #[arg(long, value_name = "MIB", value_parser = amount)]
    kv_mib: Option<f64>,
}

impl BudgetArgs {
    fn budget(&self) -> Budget {
        let kv = || Budget::KvBytes(self.kv_mib.unwrap_or_default() * f64::from(1 << 20));
        let flops = self.flops.map(Budget::Flops);
        self.tokens.map(Budget::Tokens).or(flops).unwrap_or_else(kv)
    }
}

fn amount(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("`{text}` is no number above 0"))
}

pub(super) fn run(args: &ScheduleArgs) -> Result<(), Error> {
    newest_weights(&args.run)?; // a folder that is no run is named as such, before its recipe is missed
    let plan = plan_of_run(&args.run, &[])?;
    let device = args.device.open()?;
    let memory = MemoryGuard::of(&plan, &device);
    let wanted = Wanted {
        budget: args.budget.budget(),
        end: args.end,
        samples: args.samples as usize,
        drawn: args.drawn,
    };
    let found = memory
        .guard(&plan, || Subject::open(&args.run, plan.clone(), &device)?.schedule(&wanted))?;
    let out = args.out.clone().unwrap_or_else(|| args.run.join("schedule.toml"));
    write_atomically(&out, found.recipe(&args.run.join(RECIPE))?.as_bytes())?;
    say(&format!("wrote {}", out.display()));
    args.format.print(&found)
}
