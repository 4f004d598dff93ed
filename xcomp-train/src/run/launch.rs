//! A whole run: from a recipe to a folder with metrics, checkpoints and an export.

use std::path::Path;

use crate::data::Data;
use crate::error::Error;
use crate::export::export;
use crate::machine::device::{Choice, open_of_rank};
use crate::machine::stop::Stop;
use crate::peers::{Alone, Peers};
use crate::plan::Plan;
use crate::plan::groups::Groups;
use crate::plan::survey::{count, survey};
use crate::recipe::Recipe;
use crate::run::folder::RunDir;
use crate::run::footing::{Footing, Footings};
use crate::run::metrics::Metrics;
use crate::run::progress::RunProgress;
use crate::train::checkpoint::Checkpoints;
use crate::train::checkpoint::identity::of_run;
use crate::train::checkpoint::resume::{automatic, named};
use crate::train::event::{Event, Training};
use crate::train::memory_guard::MemoryGuard;
use crate::train::room::require;
use crate::train::together::{agree, check_lanes};
use crate::train::{Summary, train};
use xcomp_model::ops::on_cpu;

/// Folder of a finished run with the weights as other code loads them.
pub const EXPORT: &str = "export";

/// How a recipe is run.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// Folder of the run.
    pub out: &'a Path,
    /// The checkpoint folder to go on from; without one, the newest of the run.
    pub resume: Option<&'a Path>,
    /// The device.
    pub device: Choice,
    /// The signals and the time budget that stop it.
    pub stop: Stop,
    /// The processes that train together.
    pub peers: &'a dyn Peers,
}

/// Trains a recipe into a folder, or goes on with the run that is there; ends with an export in [`EXPORT`].
///
/// # Errors
/// Whatever ends a run: each variant of [`Error`] has its exit code.
pub fn train_recipe(
    recipe: Recipe,
    out: &Path,
    device: Choice,
    stop: Stop,
) -> Result<Summary, Error> {
    launch(recipe, Launch { out, resume: None, device, stop, peers: &Alone })
}

/// As [`train_recipe`], from a checkpoint that may be named.
///
/// # Errors
/// As [`train_recipe`], and if the named checkpoint cannot be gone on from.
pub fn launch(recipe: Recipe, launch: Launch) -> Result<Summary, Error> {
    let Launch { out, resume, device, stop, peers } = launch;
    // Before anything is written: the plan names what is missing of the model.
    let plan = planned(recipe)?;
    check_lanes(&plan, peers)?;
    // Rank 0 writes the run; every other rank has a folder for what it alone sees.
    let first = peers.rank() == 0;
    let own = if first { out.into() } else { out.join(format!("rank-{}", peers.rank())) };
    let run = RunDir::open(&own)?;
    let opened = open_of_rank(device, peers.local_rank())?;
    let device = opened.device.clone();
    let plan = plan.for_device(&device);
    let data = Data::open(&plan.recipe, &plan.config, Some(run.file("data/quarantine.jsonl")))?;
    let data = data.of_rank(peers.rank(), peers.world()).balanced(&plan);
    let identity = of_run(&plan, &data)?;
    let memory = MemoryGuard::of(&plan, &device);
    let tight = memory.check(&plan)?;
    let mut from = resume.map_or_else(|| automatic(out), |path| named(out, path))?;
    let step = from.checkpoint.as_ref().map_or(0, |saved| saved.step);
    agree(peers, &identity, step, on_cpu(&device))?;
    if first {
        require(&plan, out, &from)?;
        from.checkpoint.iter().try_for_each(|saved| Checkpoints::open(out).mend_last(saved))?;
    }
    let now = Footing::of(&plan, &device, from.checkpoint.as_ref());
    let (footings, note) = Footings::of_run(from.checkpoint.as_ref()).then(now);
    from.notes.extend(note);
    run.describe(&plan, &identity, &opened, &footings)?;

    let mut progress = RunProgress::new(plan.steps);
    opened.passed_over.iter().for_each(|line| progress.line(line));
    progress.line(&format!("device {}: {}", opened.choice, opened.about));
    progress.line(&Groups::of(&plan).to_string());
    plan.choice.iter().for_each(|choice| progress.line(&choice.to_string()));
    if let Some(line) = tight {
        progress.line(&line);
    }
    let task = Training {
        plan: &plan,
        data: &data,
        identity: &identity,
        device: &device,
        run: run.path(),
        from: &from,
        memory: &memory,
        peers,
    };
    let summary = recorded(&task, stop, &mut progress)?;
    progress.line(&memory.predicted_and_actual(&plan, &summary.largest));
    drop(progress);
    // Also by a start that finds nothing to do: a kill may have come before the export was whole.
    let saved = summary.checkpoint.as_ref().or(from.checkpoint.as_ref());
    if let Some(saved) = saved.filter(|_| first) {
        export(&plan, saved, &run.file(EXPORT), &device)?;
    }
    Ok(summary)
}

/// The plan of a recipe, for the samples of its mixture where that is there.
///
/// # Errors
/// If the recipe does not fit its model or its data, or a file cannot be used.
pub fn planned(recipe: Recipe) -> Result<Plan, Error> {
    let counted = count(&recipe)?;
    let plan = Plan::new(recipe, counted)?;
    let survey = survey(&plan.recipe, &plan.config)?;
    Ok(plan.for_mixture(survey.as_ref()))
}

/// The loop, with every event shown and written down.
fn recorded(task: &Training, mut stop: Stop, progress: &mut RunProgress) -> Result<Summary, Error> {
    let step = task.from.checkpoint.as_ref().map_or(0, |saved| saved.step);
    let mut metrics = Metrics::open(task.run, step, &task.plan.recipe.log)?;
    let mut report = |event: Event| {
        if task.peers.rank() == 0 {
            progress.show(&event);
        }
        match &event {
            Event::Step(record) => metrics.write(record),
            Event::Validated(held_out) => metrics.validated(held_out),
            Event::Saved(_) => metrics.flush(task.plan),
            Event::Started { .. } | Event::Note(_) => Ok(()),
        }
    };
    let result = task.memory.guard(task.plan, || train(task, &mut stop, &mut report));
    let flushed = metrics.flush(task.plan);
    // Why the run ended comes before what else the disk refuses.
    let summary = result?;
    flushed.map(|()| summary)
}
