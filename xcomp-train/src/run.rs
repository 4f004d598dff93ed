//! A whole run: from a recipe to a folder with metrics, checkpoints and an export.

use std::path::Path;

use xcomp_model::ops::on_cpu;

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
    progress.line(&compared(&plan, &summary, before, on_cpu(&device)));
    if let Some(saved) = &summary.checkpoint {
        export(&plan, saved, &run.file(EXPORT), &device)?;
    }
    Ok(summary)
}

/// What was predicted against what happened, for the largest sample that came.
fn compared(plan: &Plan, summary: &Summary, before: u64, shared_memory: bool) -> String {
    let device = plan.memory(summary.largest).peak();
    let predicted = if shared_memory { device + plan.host_bytes() } else { plan.host_bytes() };
    let actual = peak_rss_bytes().saturating_sub(before);
    format!(
        "memory: predicted {:.3} GiB, the process grew by {:.3} GiB ({:+.0} %)",
        predicted as f64 / GIB,
        actual as f64 / GIB,
        100.0 * (predicted as f64 / actual.max(1) as f64 - 1.0)
    )
}
