//! Numbers that are not finite, and losses that jump.

use xcomp_data::Position;

use super::window::Window;
use super::{Event, Report, Training};
use crate::error::Error;
use crate::recipe::tables::NonFinite;
use crate::train::checkpoint::{Checkpoints, Keep};
use crate::train::meter::{Meter, Record};
use crate::train::state::TrainState;

/// Folder of a run where the state before a bad step is kept, as a checkpoint.
pub(crate) const NON_FINITE: &str = "non_finite";
/// How slowly the running mean of the loss follows it.
const MEMORY: f64 = 0.98;

/// Reads what the device says of the steps since the last record, reports it, and leaves the run at a sound step.
///
/// A step with a loss or gradient that is not finite is logged raw and kept for a replay, whatever the policy:
/// the device has moved nothing since, so that going back needs only the step's number and its place in the data.
/// Gives the record; `None` if no step was taken since the last one.
pub(super) fn settle(
    task: &Training,
    state: &mut TrainState,
    meter: &mut Meter,
    window: &mut Window,
    report: &mut Report,
) -> Result<Option<Record>, Error> {
    let starts = window.take();
    if starts.is_empty() {
        return Ok(None);
    }
    let reading = meter.read(task.plan, state.step);
    let record = reading.record.clone();
    report(Event::Step(Box::new(record.clone())))?;
    let first = record.step + 1 - reading.losses.len();
    for (step, loss) in (first..).zip(&reading.losses) {
        watch_spikes(task, state, step, *loss, report)?;
        state.interval.add(*loss);
    }
    if !reading.is_sound() {
        go_back(task, state, &starts, &record, report)?;
    }
    Ok(Some(record))
}

/// To the step before the record's, which is kept for a replay; then over it, or to the end of the run.
fn go_back(
    task: &Training,
    state: &mut TrainState,
    starts: &[Position],
    record: &Record,
    report: &mut Report,
) -> Result<(), Error> {
    let step = record.step;
    let not_taken = state.step - step + 1;
    let bad = starts.len() - not_taken;
    let behind = starts.get(bad + 1).unwrap_or(&state.position).clone();

    state.step = step - 1;
    state.optim.step -= not_taken as u64;
    state.position = starts[bad].clone();
    keep_for_replay(task, state)?;
    let what = if record.loss.is_finite() { "the gradient norm" } else { "the loss" };
    let hint =
        format!("`xcomp replay {} --step {step}` names the tensor and sample", task.run.display());
    if task.plan.recipe.train.on_non_finite == NonFinite::Stop {
        return Err(Error::NonFinite { step, what, hint });
    }
    state.step = step;
    state.position = behind;
    report(Event::Note(format!("step {step}: {what} is not finite, no weight moved; {hint}")))
}

/// Saves weights, moments and data position from before a step.
fn keep_for_replay(task: &Training, state: &TrainState) -> Result<(), Error> {
    let folder = task.run.join(NON_FINITE);
    crate::machine::files::create_folder(&folder)?;
    let snapshot = state.snapshot(task.plan);
    Checkpoints::open(&folder).save(&snapshot, &Keep::default()).map(|_| ())
}

/// Notes a loss far above its running mean.
fn watch_spikes(
    task: &Training,
    state: &mut TrainState,
    step: usize,
    loss: f64,
    report: &mut Report,
) -> Result<(), Error> {
    if !loss.is_finite() {
        return Ok(());
    }
    let factor = task.plan.recipe.train.spike_factor;
    let mean = state.loss_mean.unwrap_or(loss);
    state.loss_mean = Some(MEMORY * mean + (1.0 - MEMORY) * loss);
    if factor > 0.0 && loss > factor * mean {
        report(Event::Note(format!(
            "step {step}: loss {loss:.4} is a spike over its mean {mean:.4}"
        )))?;
    }
    Ok(())
}
