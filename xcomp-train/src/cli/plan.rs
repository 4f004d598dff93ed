//! `xcomp plan`.

use std::path::PathBuf;

use clap::Args;

use super::args::{FormatArg, RecipeArgs};
use crate::error::Error;
use crate::plan::fit::Fit;
use crate::plan::lanes::Lanes;
use crate::plan::ranks::Ranks;
use crate::plan::report::Measured;
use crate::run::launch::planned;
use crate::run::metrics::METRICS;

/// Arguments of `xcomp plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Says what the run takes at so many samples a second.
    #[arg(long, value_name = "RATE", conflicts_with = "measured")]
    samples_per_sec: Option<f64>,
    /// Says what the run takes at the rate of this run, whose folder has metrics.
    #[arg(long, value_name = "RUN")]
    measured: Option<PathBuf>,
    /// Says what each of so many ranks holds, what they exchange, and how many are enough.
    #[arg(long, value_name = "N")]
    ranks: Option<usize>,
    /// Says what of the recipe fits a card of so many GiB, and what each setting changes.
    #[arg(long, value_name = "GIB", value_parser = gib, conflicts_with_all = ["samples_per_sec", "measured", "ranks"])]
    fit: Option<f64>,
    #[command(flatten)]
    format: FormatArg,
}

impl PlanArgs {
    /// Samples of a second, given or read from a run.
    fn rate(&self) -> Result<Option<f64>, Error> {
        let Some(run) = &self.measured else { return Ok(self.samples_per_sec) };
        let records = crate::run::metrics::read(&run.join(METRICS))?.told();
        let samples: u64 = records.values().map(|record| record.samples).sum();
        let seconds: f64 =
            records.values().map(|record| record.samples as f64 / record.samples_per_sec).sum();
        Ok((seconds > 0.0).then(|| samples as f64 / seconds))
    }
}

fn gib(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|gib| gib.is_finite() && *gib > 0.0);
    number.ok_or_else(|| format!("`{text}` is no size in GiB, such as 24"))
}

pub(super) fn run(args: &PlanArgs) -> Result<(), Error> {
    let plan = planned(args.recipe.load()?)?;
    if let Some(limit_gib) = args.fit {
        return args.format.print(&Fit::new(&plan, limit_gib)?);
    }
    let mut report = plan.report();
    report.measured = args.rate()?.map(|rate| Measured::new(&plan, rate));
    if let Some(ranks) = args.ranks {
        let micro_steps = plan.recipe.train.gradient_accumulation_steps;
        if !ranks.is_power_of_two() || !micro_steps.is_multiple_of(ranks) {
            let message = format!(
                "--ranks {ranks}: give a power of two that divides gradient_accumulation_steps = {micro_steps}"
            );
            return Err(Error::Argument(message));
        }
        report.ranks = Some(Ranks::of(&plan, ranks));
    }
    let lanes = report.ranks.as_ref().map_or(plan.recipe.train.lanes, |ranks| ranks.lanes);
    if lanes > 1 {
        report.lanes = Lanes::of(&plan, lanes)?;
    }
    args.format.print(&report)
}
