//! The loop.

pub(crate) mod batch;
pub mod checkpoint;
pub mod memory_guard;
pub mod meter;
pub mod optimizer;
pub mod saver;
mod saves;
pub mod state;
pub mod step;
pub(crate) mod unsound;
mod window;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use xcomp_data::{FeatureCache, Stream};

use crate::data::Data;
use crate::data::features::open_cache;
use crate::error::Error;
use crate::machine::stop::Stop;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::cost::parameters::tensors;
use crate::plan::groups::peak_rate;
use crate::train::checkpoint::Saved;
use crate::train::checkpoint::identity::Identity;
use crate::train::checkpoint::resume::Origin;
use crate::train::memory_guard::Room;
use crate::train::meter::{Meter, Record};
use crate::train::optimizer::adamw::{AdamW, Rate};
use crate::train::optimizer::clip::clip_grad_norm;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::saver::Published;
use crate::train::state::TrainState;
use batch::{load_micro_batch, micro_step, sum_gradients};
use saves::Saves;
use unsound::settle;
use window::Window;

/// What the loop tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first step is next.
    Started {
        /// Steps that were already taken.
        step: usize,
        /// Steps planned.
        steps: usize,
    },
    /// Something a user should know.
    Note(String),
    /// A step was logged.
    Step(Box<Record>),
    /// A checkpoint was published.
    Saved(Published),
}

/// What a run was.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Steps taken, all starts together.
    pub step: usize,
    /// Seconds of this start.
    pub seconds: f64,
    /// The last record.
    pub last: Option<Record>,
    /// The last checkpoint.
    pub checkpoint: Option<Saved>,
    /// The micro-batch of this start that needed most memory.
    pub largest: Vec<SampleSize>,
}

/// A run that is about to go on.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// What is done.
    pub plan: &'a Plan,
    /// On what.
    pub data: &'a Data,
    /// What a checkpoint must agree with.
    pub identity: &'a Identity,
    /// Where, without a tape.
    pub device: &'a Device,
    /// Folder of the run.
    pub run: &'a Path,
    /// Where this start begins.
    pub from: &'a Origin,
    /// Memory that the run may take.
    pub room: &'a Room,
}

/// Takes events; its errors end the run.
pub type Report<'a> = dyn FnMut(Event) -> Result<(), Error> + 'a;

/// What the loop holds beside the state of the run.
struct Around<'a> {
    task: &'a Training<'a>,
    features: Option<Arc<FeatureCache>>,
    examples: Stream,
    saves: Saves<'a>,
    meter: Meter,
    window: Window,
}

/// Trains until the plan's last step. Everything a resume needs is in [`TrainState`].
///
/// # Errors
/// If the data, the disk or a number fails, or the run is stopped early; then the last checkpoint is intact.
pub fn train(task: &Training, stop: &mut Stop, report: &mut Report) -> Result<Summary, Error> {
    let plan = task.plan;
    let begun = Instant::now();

    let mut state = first_state(task, report)?;
    let mut around = Around::new(task, &state)?;
    let mut last = None;
    stop.expect_save_of(plan.report().checkpoint_bytes);
    report(Event::Started { step: state.step, steps: plan.steps })?;

    while state.step < plan.steps {
        let step_start = state.position.clone();
        let grads = around.gradients(&mut state, stop, report)?;
        let (grads, grad_norm) = clip_grad_norm(grads, plan.recipe.optimizer.max_grad_norm);

        // A step that is not sound moves nothing: the device decides, nobody waits.
        let judged = around.meter.open_losses().chain(grad_norm.clone());
        let sound = around.window.push(step_start, judged);
        let rate = |name: &str| rate(plan, state.step, name);
        state.model = adam(plan).step_if(sound, &mut state.optim, state.model, grads, rate);
        around.meter.close_step(grad_norm);
        state.step += 1;

        if around.saves.due(state.step) || log_due(plan, state.step) {
            last = around.settle(&mut state, report)?; // the loop's only host sync
        }
        if around.saves.due(state.step) {
            around.saves.start(&mut state, stop, report)?;
        }
    }
    let checkpoint = around.saves.finish(stop, report)?;
    let (seconds, largest) = (begun.elapsed().as_secs_f64(), around.meter.largest().to_vec());
    Ok(Summary { step: state.step, seconds, last, checkpoint, largest })
}

impl<'a> Around<'a> {
    fn new(task: &'a Training<'a>, state: &TrainState) -> Result<Self, Error> {
        let features = open_cache(task.plan, &state.model, task.device)?;
        let examples = task.data.stream(state.position.clone(), features.clone())?;
        let (saves, meter) = (Saves::new(task, state.step), Meter::start(task.device));
        Ok(Self { task, features, examples, saves, meter, window: Window::default() })
    }

    /// The mean gradients of a step's micro-batches; the position moves behind them.
    fn gradients(
        &mut self,
        state: &mut TrainState,
        stop: &mut Stop,
        report: &mut Report,
    ) -> Result<NamedTensors, Error> {
        let Training { plan, device, room, .. } = *self.task;
        let step_start = state.position.clone();
        let mut grads = NamedTensors::default();
        for _ in 0..plan.recipe.train.gradient_accumulation_steps {
            if let Some(why) = stop.asked() {
                // Half a step is worth less than an exact resume: it will be done again.
                state.position = step_start;
                settle(self.task, state, &mut self.meter, &mut self.window, report)?;
                return Err(self.saves.leave(state, why, stop, report)?);
            }
            let started = Instant::now();
            let (examples, meter) = (&mut self.examples, &mut self.meter);
            let batch = load_micro_batch(plan, examples, meter, &mut state.position)?;
            let micro = micro_step(plan, &state.model, batch, device, meter);
            sum_gradients(plan, &mut grads, micro);
            room.watch(plan, meter.largest())?;
            stop.micro_step_took(started.elapsed().as_secs_f64());
        }
        tell_notes(self.features.as_deref(), report)?;

        let grads = grads.divide(self.meter.open_weight().max(1) as f64);
        if state.step == 0 {
            tell_silent(plan, &grads, report)?;
        }
        Ok(grads)
    }

    /// Reads the steps since the last record, and goes back to the first that was not sound.
    fn settle(
        &mut self,
        state: &mut TrainState,
        report: &mut Report,
    ) -> Result<Option<Record>, Error> {
        let taken = state.step;
        let record = settle(self.task, state, &mut self.meter, &mut self.window, report)?;
        if state.step < taken {
            // What followed the step that was not sound is done again without it.
            self.examples = self.task.data.stream(state.position.clone(), self.features.clone())?;
        }
        Ok(record)
    }
}

/// What the feature cache found damaged.
fn tell_notes(features: Option<&FeatureCache>, report: &mut Report) -> Result<(), Error> {
    let notes = features.map_or(vec![], |features| features.store().take_notes());
    notes.into_iter().try_for_each(|note| report(Event::Note(note)))
}

/// The checkpoint that this start begins at, or the base weights.
fn first_state(task: &Training, report: &mut Report) -> Result<TrainState, Error> {
    for note in &task.from.notes {
        report(Event::Note(note.clone()))?;
    }
    let identity = task.identity.clone();
    match &task.from.checkpoint {
        Some(saved) => TrainState::restore(task.plan, identity, saved, task.device),
        None => TrainState::start(task.plan, identity, task.device),
    }
}

/// The last step, and every `logging_steps`.
fn log_due(plan: &Plan, step: usize) -> bool {
    step == plan.steps || step.is_multiple_of(plan.recipe.log.logging_steps)
}

pub(crate) fn adam(plan: &Plan) -> AdamW {
    let optimizer = &plan.recipe.optimizer;
    AdamW {
        adam_beta1: optimizer.adam_beta1,
        adam_beta2: optimizer.adam_beta2,
        adam_epsilon: optimizer.adam_epsilon,
    }
}

/// Learning rate and decay of a parameter in the update of 0-based `step`.
pub(crate) fn rate(plan: &Plan, step: usize, name: &str) -> Rate {
    let place = plan.config.family.place(name).expect("a parameter has a place");
    let peak = peak_rate(&plan.recipe.optimizer, place, name);
    Rate { lr: peak.lr * plan.lr.factor(step), ..peak }
}

/// Names tuned tensors that the first step gives no gradient: nearly always a mistake in the recipe.
fn tell_silent(plan: &Plan, grads: &NamedTensors, report: &mut Report) -> Result<(), Error> {
    let silent: Vec<String> = tensors(&plan.config)
        .into_iter()
        .map(|tensor| tensor.name)
        .filter(|name| plan.tunes(name) && grads.get(name).is_none())
        .collect();
    let Some(first) = silent.first() else { return Ok(()) };
    let count = silent.len();
    report(Event::Note(format!(
        "{count} tuned tensors got no gradient in step 1, the first is {first}; do the samples reach them?"
    )))
}
