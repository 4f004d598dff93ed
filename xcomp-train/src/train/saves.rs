//! When checkpoints are written, and which stay. They are written by a thread of their own, one at a time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::error::Error;
use crate::machine::stop::Stop;
use crate::train::checkpoint::{Checkpoints, Keep, Saved, Snapshot};
use crate::train::event::{Event, Published, Report, Training};
use crate::train::owners::Owners;
use crate::train::state::{Best, TrainState};

/// The saves of one start of a run.
pub(super) struct Saves<'a> {
    task: &'a Training<'a>,
    owners: &'a Owners<'a>,
    writing: Option<Writing>,
    /// The newest step on disk or on its way there.
    newest: usize,
    last: Option<Saved>,
}

/// A save that is under way.
struct Writing {
    thread: JoinHandle<Result<Published, Error>>,
    /// Says by its end that all tensors have been read.
    reading: Receiver<()>,
}

impl<'a> Saves<'a> {
    /// Nothing to save yet: step `step` is on disk, or 0.
    pub(super) fn new(task: &'a Training<'a>, owners: &'a Owners<'a>, step: usize) -> Self {
        Self { task, owners, writing: None, newest: step, last: None }
    }

    /// Whether a checkpoint follows 1-based `step`.
    pub(super) fn due(&self, step: usize) -> bool {
        let every = self.task.plan.recipe.checkpoint.save_steps;
        step == self.task.plan.steps || (every > 0 && step.is_multiple_of(every))
    }

    /// Chooses the best by the loss on held-out samples where there are any, else by the mean since the last save;
    /// begins to write the state, tensor by tensor from the device.
    pub(super) fn start(
        &mut self,
        state: &mut TrainState,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<(), Error> {
        let trained = std::mem::take(&mut state.interval).mean();
        let held_out = state.validated.loss_at(state.step);
        let loss = held_out.unwrap_or(Some(trained));
        if let Some(loss) = loss.filter(|loss| state.best.is_none_or(|best| *loss < best.loss)) {
            state.best = Some(Best { step: state.step, loss });
        }
        self.write(state, self.task.plan.recipe.checkpoint.moments, stop, report)
    }

    fn write(
        &mut self,
        state: &TrainState,
        with_moments: bool,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<(), Error> {
        let table = &self.task.plan.recipe.checkpoint;
        let best = state.best.filter(|_| table.keep_best).map(|best| best.step);
        let keep = Keep { newest: table.save_total_limit, best };
        let optim = self.owners.collect(&state.optim, self.task.device);
        if self.task.peers.rank() > 0 {
            // All ranks hold the same weights: one writes them.
            self.newest = state.step;
            return Ok(());
        }
        let mut snapshot = state.snapshot(self.task.plan, &optim);
        snapshot.moments = snapshot.moments.filter(|_| with_moments);
        let earlier = self.written()?;
        let checkpoints = Checkpoints::open(self.task.run);
        // Here and not in its thread: what cannot be written is told before the next step.
        checkpoints.require_room(&snapshot)?;
        let (open, reading) = channel();
        let thread = std::thread::spawn(move || publish(&checkpoints, snapshot, &keep, open));
        self.writing = Some(Writing { thread, reading });
        self.newest = state.step;
        self.tell(earlier, stop, report)
    }

    /// Waits until a save that is under way has read the tensors: what changes them must come after it, or both lie in memory.
    pub(super) fn await_read(&self) {
        if let Some(writing) = &self.writing {
            // Nothing is ever sent: the end of the channel is the word.
            let _ = writing.reading.recv();
        }
    }

    /// Tells of the save that is under way as soon as it has ended, well or not.
    pub(super) fn look(&mut self, stop: &mut Stop, report: &mut Report) -> Result<(), Error> {
        if self.writing.as_ref().is_some_and(|writing| writing.thread.is_finished()) {
            self.finish(stop, report)?;
        }
        Ok(())
    }

    /// Saves what is not saved yet; gives the error that says why the run ends here.
    pub(super) fn leave(
        &mut self,
        state: &TrainState,
        why: &'static str,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<Error, Error> {
        // It is to go on from here: also where the same step was saved without moments.
        let whole = self.task.plan.recipe.checkpoint.moments;
        if state.step > self.newest || (!whole && state.step > 0) {
            self.write(state, true, stop, report)?;
        }
        self.finish(stop, report)?;
        let steps = self.task.plan.steps;
        Ok(Error::Stopped { step: state.step, steps, why, run: self.task.run.into() })
    }

    /// Waits for the save that is under way; gives the newest of this start.
    pub(super) fn finish(
        &mut self,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<Option<Saved>, Error> {
        let published = self.written()?;
        self.tell(published, stop, report)?;
        Ok(self.last.clone())
    }

    /// Waits for the save that is being written.
    fn written(&mut self) -> Result<Option<Published>, Error> {
        let writing = self.writing.take();
        writing.map(|writing| writing.thread.join().expect("a save ends in a result")).transpose()
    }

    fn tell(
        &mut self,
        published: Option<Published>,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<(), Error> {
        let Some(published) = published else { return Ok(()) };
        stop.save_took(published.seconds);
        self.last = Some(published.saved.clone());
        report(Event::Saved(published))
    }
}

impl Drop for Saves<'_> {
    fn drop(&mut self) {
        // An error of the loop must not cut off a save that is under way.
        if let Some(writing) = self.writing.take() {
            let _ = writing.thread.join();
        }
    }
}

fn publish(
    checkpoints: &Checkpoints,
    snapshot: Snapshot,
    keep: &Keep,
    open: Sender<()>,
) -> Result<Published, Error> {
    let begun = Instant::now();
    let saved = checkpoints.save(snapshot, keep, || drop(open))?;
    Ok(Published { saved, seconds: begun.elapsed().as_secs_f64() })
}
