//! Numbers that are not finite, and losses that jump.

use xcomp_data::Position;

use super::{Event, Report, Training};
use crate::checkpoint::{Checkpoints, Keep};
use crate::error::Error;
use crate::meter::Record;
use crate::recipe::tables::NonFinite;
use crate::state::TrainState;

/// Folder of a run where the state before a bad step is kept, as a checkpoint.
pub(crate) const NON_FINITE: &str = "non_finite";
/// How slowly the running mean of the loss follows it.
const MEMORY: f64 = 0.98;

/// Reports a record, and says whether its step may change weights.
///
/// A step with a loss or gradient that is not finite is logged raw and kept for a replay, whatever the policy.
pub(super) fn guard(
    task: &Training,
    state: &mut TrainState,
    record: &Record,
    step_start: Position,
    report: &mut Report,
) -> Result<bool, Error> {
    report(Event::Step(Box::new(record.clone())))?;
    let bad = match (record.loss.is_finite(), record.grad_norm.is_finite()) {
        (false, _) => "the loss",
        (true, false) => "the gradient norm",
        (true, true) => {
            watch_spikes(task, state, record, report)?;
            return Ok(true);
        }
    };
    keep_for_replay(task, state, step_start)?;
    let step = record.step;
    let hint =
        format!("`xcomp replay {} --step {step}` names the tensor and sample", task.run.display());
    if task.plan.recipe.train.on_non_finite == NonFinite::Stop {
        return Err(Error::NonFinite { step, what: bad, hint });
    }
    report(Event::Note(format!("step {step}: {bad} is not finite, no weight moved; {hint}")))?;
    Ok(false)
}

/// Saves weights, moments and data position from before the step.
fn keep_for_replay(
    task: &Training,
    state: &mut TrainState,
    step_start: Position,
) -> Result<(), Error> {
    let folder = task.run.join(NON_FINITE);
    crate::files::create_folder(&folder)?;
    let after = std::mem::replace(&mut state.position, step_start);
    let saved = Checkpoints::open(&folder).save(&state.snapshot(task.plan), &Keep::default());
    state.position = after;
    saved.map(|_| ())
}

/// Notes a loss far above its running mean.
fn watch_spikes(
    task: &Training,
    state: &mut TrainState,
    record: &Record,
    report: &mut Report,
) -> Result<(), Error> {
    let factor = task.plan.recipe.train.spike_factor;
    let mean = state.loss_mean.unwrap_or(record.loss);
    state.loss_mean = Some(MEMORY * mean + (1.0 - MEMORY) * record.loss);
    if factor > 0.0 && record.loss > factor * mean {
        let (step, loss) = (record.step, record.loss);
        report(Event::Note(format!(
            "step {step}: loss {loss:.4} is a spike over its mean {mean:.4}"
        )))?;
    }
    Ok(())
}
