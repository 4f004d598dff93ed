//! Steps whose numbers the host has not read yet; numbers that are not finite, and losses that jump.
//!
//! Whether a step is sound is decided on the device, step by step, so that nothing waits for it: the first step that is not
//! sound, and every step behind it, leaves weights and moments as they are. The host learns of it at the next record,
//! goes back to that step, and finds the state from just before it.

use burn::tensor::{Bool, Tensor};
use xcomp_data::Position;

use crate::error::Error;
use crate::recipe::tables::NonFinite;
use crate::train::checkpoint::{Checkpoints, Keep};
use crate::train::event::{Event, Report, Training};
use crate::train::meter::{Meter, Record};
use crate::train::owners::Owners;
use crate::train::state::TrainState;

/// Folder of a run where the state before a bad step is kept, as a checkpoint.
pub(crate) const NON_FINITE: &str = "non_finite";
/// How slowly the running mean of the loss follows it.
const MEMORY: f64 = 0.98;

/// Steps since the last record.
#[derive(Debug, Default)]
pub(super) struct UnreadSteps {
    /// Where the data of each begins.
    starts: Vec<Position>,
    /// Whether all of them are sound, on the device.
    sound: Option<Tensor<1, Bool>>,
}

impl UnreadSteps {
    /// Adds a step whose data begins at `start`, with the numbers that it is judged by.
    ///
    /// Gives whether it and all unread steps before it are sound, `[1]`; `None` if there are no numbers.
    pub(super) fn push(
        &mut self,
        start: Position,
        numbers: impl Iterator<Item = Tensor<1>>,
    ) -> Option<Tensor<1, Bool>> {
        self.starts.push(start);
        let finite = numbers.map(Tensor::is_finite);
        self.sound = self.sound.take().into_iter().chain(finite).reduce(Tensor::bool_and);
        self.sound.clone()
    }

    /// Forgets all steps; gives where the data of each begins.
    fn take(&mut self) -> Vec<Position> {
        self.sound = None;
        std::mem::take(&mut self.starts)
    }

    /// Reads what the device says of the steps since the last record, reports it, and leaves the run at a sound step.
    ///
    /// A step with a loss or gradient that is not finite is logged raw and kept for a replay, whatever the policy:
    /// the device has moved nothing since, so that going back needs only the step's number and its place in the data.
    /// Gives the record; `None` if no step was taken since the last one.
    pub(super) fn settle(
        &mut self,
        task: &Training,
        owners: &Owners,
        state: &mut TrainState,
        meter: &mut Meter,
        report: &mut Report,
    ) -> Result<Option<Record>, Error> {
        let starts = self.take();
        if starts.is_empty() {
            return Ok(None);
        }
        meter.share_counts(task.peers);
        let reading = meter.read(task.plan, state.step);
        let record = reading.record.clone();
        report(Event::Step(Box::new(record.clone())))?;
        let first = record.step + 1 - reading.losses.len();
        for (step, loss) in (first..).zip(&reading.losses) {
            watch_spikes(task, state, step, *loss, report)?;
            state.interval.add(*loss);
        }
        if !reading.is_sound() {
            go_back(task, owners, state, &starts, &record, report)?;
        }
        Ok(Some(record))
    }
}

/// To the step before the record's, which is kept for a replay; then over it, or to the end of the run.
fn go_back(
    task: &Training,
    owners: &Owners,
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
    let hint = match keep_for_replay(task, owners, state) {
        Ok(()) => format!(
            "`xcomp replay {} --step {step}` names the tensor and sample",
            task.run.display()
        ),
        Err(error) => format!("its state is not kept for a replay: {error}"),
    };
    let what = if record.loss.is_finite() { "the gradient norm" } else { "the loss" };
    if task.plan.recipe.train.on_non_finite == NonFinite::Stop {
        return Err(Error::NonFinite { step, what, hint });
    }
    state.step = step;
    state.position = behind;
    report(Event::Note(format!("step {step}: {what} is not finite, no weight moved; {hint}")))
}

/// Saves weights, moments and data position from before a step.
fn keep_for_replay(task: &Training, owners: &Owners, state: &TrainState) -> Result<(), Error> {
    let optim = owners.collect(&state.optim, task.device);
    if task.peers.rank() > 0 {
        return Ok(());
    }
    let folder = task.run.join(NON_FINITE);
    crate::machine::files::create_folder(&folder)?;
    let snapshot = state.snapshot(task.plan, &optim);
    Checkpoints::open(&folder).save(snapshot, &Keep::default(), || ()).map(|_| ())
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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn number(value: f32) -> Tensor<1> {
        Tensor::from_data(TensorData::new(vec![value], [1]), &Device::flex())
    }

    #[test]
    fn a_step_that_is_not_sound_spoils_those_behind_it_until_they_are_read() {
        let mut steps = UnreadSteps::default();
        let mut sound = |numbers: &[f32]| {
            let numbers = numbers.iter().copied().map(number);
            steps.push(Position::start(), numbers).unwrap().into_data().iter::<bool>().next()
        };
        assert_eq!(sound(&[1.0, f32::MAX]), Some(true));
        assert_eq!(sound(&[0.0, f32::NAN]), Some(false));
        assert_eq!(sound(&[1.0]), Some(false));
        assert_eq!(steps.take().len(), 3);
        let fresh = steps.push(Position::start(), [number(1.0)].into_iter()).unwrap();
        assert_eq!(fresh.into_data().iter::<bool>().next(), Some(true));
        let infinite = steps.push(Position::start(), [number(f32::INFINITY)].into_iter()).unwrap();
        assert_eq!(infinite.into_data().iter::<bool>().next(), Some(false));
    }
}
