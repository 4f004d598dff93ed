//! A whole run: from a recipe to a folder with metrics, checkpoints and an export.

use std::path::Path;

use crate::checkpoint::Checkpoints;
use crate::data::Data;
use crate::device::{Choice, open};
use crate::error::Error;
use crate::export::export;
use crate::identity::of_run;
use crate::meter::{peak_rss_bytes, rss_bytes};
use crate::metrics::Metrics;
use crate::plan::{GIB, Plan};
use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::run_dir::RunDir;
use crate::stop::Stop;
use crate::trainer::{Event, Summary, Training, train};

/// Folder of a finished run with the weights as other code loads them.
pub const EXPORT: &str = "export";

/// Trains a recipe into a folder, or goes on with the run that is there; ends with an export in [`EXPORT`].
///
/// # Errors
/// Whatever ends a run: each variant of [`Error`] has its exit code.
pub fn train_recipe(
    recipe: Recipe,
    out: &Path,
    device: Choice,
    mut stop: Stop,
) -> Result<Summary, Error> {
    // Before anything is written: the plan names what is missing of the model.
    let counted = crate::data::count(&recipe)?;
    let plan = Plan::new(recipe, counted)?;
    let run = RunDir::open(out)?;
    let data = Data::open(&plan.recipe, &plan.config, Some(run.file("data/quarantine.jsonl")))?;
    let identity = of_run(&plan, &data)?;
    let device_name = device.to_string();
    let device = open(device)?;
    run.describe(&plan, &identity, &device_name)?;

    let progress = Progress::new(plan.steps);
    let step = Checkpoints::open(run.path()).latest()?.0.map_or(0, |saved| saved.step);
    let mut metrics = Metrics::open(run.path(), step, plan.recipe.log.tensorboard)?;
    let before = rss_bytes();
    let task = Training {
        plan: &plan,
        data: &data,
        identity: &identity,
        device: &device,
        run: run.path(),
    };
    let result = train(&task, &mut stop, &mut |event| {
        progress.show(&event);
        match &event {
            Event::Step(record) => metrics.write(record),
            Event::Saved(_) => metrics.flush(&plan),
            Event::Started { .. } | Event::Note(_) => Ok(()),
        }
    });
    metrics.flush(&plan)?;
    let summary = result?;
    progress.line(&compared(&plan, before));
    if let Some(saved) = &summary.checkpoint {
        export(&plan, saved, &run.file(EXPORT), &device)?;
    }
    Ok(summary)
}

/// What was predicted against what happened.
fn compared(plan: &Plan, before: u64) -> String {
    let predicted = plan.report().memory_peak as f64 / GIB;
    let actual = peak_rss_bytes().saturating_sub(before) as f64 / GIB;
    format!(
        "memory: planned {predicted:.2} GiB for the largest sample allowed, the process grew by {actual:.2} GiB"
    )
}
