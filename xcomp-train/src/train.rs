//! The loop.

pub mod apart;
pub(crate) mod batch;
pub mod checkpoint;
pub mod event;
pub mod held_out;
pub(crate) mod lane_sums;
pub mod memory_guard;
pub mod meter;
pub mod optimizer;
pub mod owners;
pub mod room;
pub(crate) mod samples;
mod saves;
pub mod state;
pub mod step;
pub mod together;
pub(crate) mod unsound;
mod validation;
mod windows;

use std::collections::BTreeSet;
use std::time::Instant;

use xcomp_data::FeatureCache;

use crate::data::features::open_cache;
use crate::error::Error;
use crate::machine::stop::Stop;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::cost::parameters::tensors;
use crate::train::batch::{backward_giving, encode, load_micro_batch};
use crate::train::checkpoint::Saved;
use crate::train::event::{Event, Report, Training};
use crate::train::lane_sums::LaneSums;
use crate::train::meter::{Meter, Record};
use crate::train::optimizer::adamw::AdamW;
use crate::train::optimizer::clip::clip_to;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::owners::{Owners, told};
use crate::train::saves::Saves;
use crate::train::state::TrainState;
use crate::train::unsound::UnreadSteps;
use crate::train::validation::Validation;

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

/// Trains until the plan's last step. Everything a resume needs is in [`TrainState`].
///
/// # Errors
/// If the data, the disk or a number fails, or the run is stopped early; no checkpoint is touched then.
pub fn train(task: &Training, stop: &mut Stop, report: &mut Report) -> Result<Summary, Error> {
    let Training { plan, data, device, peers, .. } = *task;
    let begun = Instant::now();
    let micro_steps = plan.recipe.train.gradient_accumulation_steps;

    let mut state = first_state(task, report)?;
    let owners = Owners::new(peers, &state.model, plan);
    owners.keep_own(&mut state.optim);
    let mut stands = state.position.clone(); // where the data of this rank alone stands
    let features = open_cache(plan, &state.model, device)?;
    let mut examples = data.stream(state.position.clone(), features.clone())?;
    let mut saves = Saves::new(task, &owners, state.step);
    let mut validation = Validation::open(task, features.clone(), &mut state)?;
    let mut unread = UnreadSteps::default();
    let mut last = None;
    stop.expect_save_of(plan.report().checkpoint_bytes);
    report(Event::Started { step: state.step, steps: plan.steps })?;

    if validation.is_due(&state, &saves) {
        validation.and_save(&mut state, &mut saves, stop, report)?; // the start before was stopped in it
    }
    let mut meter = Meter::start(device);
    while state.step < plan.steps && !validation.stops(&state) {
        let step_start = state.position.clone();
        let mut own = stands.clone();
        let mut sums = LaneSums::new(plan);

        for place in 1..=micro_steps / peers.world() {
            saves.look(stop, report)?;
            if let Some(why) = together::asked(peers, stop, place == 1) {
                // Half a step is worth less than an exact resume: it will be done again.
                state.position = step_start;
                unread.settle(task, &owners, &mut state, &mut meter, report)?;
                return Err(saves.leave(&state, why, stop, report)?);
            }
            let started = Instant::now();
            let before = peers.rank() * (micro_steps / peers.world()) + place - 1;
            let number =
                step_start.samples + (before * plan.recipe.train.per_device_batch_size) as u64;
            let plan = &*plan.of_sample(number);
            let batch = load_micro_batch(plan, &mut examples, &mut meter, number, &mut own)?;
            let source = batch.source.clone();

            let batch = encode(plan, &state.model, batch, device, &mut meter)?; // the tower, or its cache
            let mut sum = |grads| sums.add(plan, grads);
            let micro = backward_giving(plan, &state.model, batch, &mut sum);
            sum(micro.grads);
            meter.loss(source, micro.loss, micro.weight); // stays on the device until it is logged
            sums.close();
            task.memory.watch(task.plan, meter.largest())?;
            stop.micro_step_took(started.elapsed().as_secs_f64());
        }
        let grads = sums.finish();
        tell_notes(features.as_deref(), report)?;
        if state.step == 0 {
            tell_silent(task, &grads, report)?;
        }
        let grads = owners.reduce(grads, device);
        meter.share_losses(peers, device);
        state.position = together::position(peers, &step_start, &stands, &own);
        stands = own;

        let grads = grads.divide(meter.open_weight().max(1) as f64);
        let grad_norm = owners.norm(&grads, device);
        let grads = clip_to(grads, grad_norm.as_ref(), plan.recipe.optimizer.max_grad_norm);
        let stepped: Vec<String> = grads.names().map(str::to_owned).collect();

        // A step that is not sound moves nothing: the device decides, nobody waits.
        let sound = unread.push(step_start, meter.open_losses().chain(grad_norm.clone()));
        let rate = |name: &str| plan.rate(state.step, name);
        saves.await_read();
        state.model = AdamW::of(plan).step_if(sound, &mut state.optim, state.model, grads, rate);
        state.model = owners.spread(state.model, &stepped, device);
        meter.exchanged(owners.take_spent());
        meter.close_step(grad_norm);
        state.step += 1;

        if saves.due(state.step) || validation.is_due(&state, &saves) || log_due(plan, state.step) {
            let taken = state.step;
            last = unread.settle(task, &owners, &mut state, &mut meter, report)?; // the loop's only host sync
            if state.step < taken {
                // What followed the step that was not sound is done again without it.
                examples = data.stream(state.position.clone(), features.clone())?;
                stands = state.position.clone();
            }
        }
        let begun = Instant::now();
        validation.and_save(&mut state, &mut saves, stop, report)?;
        meter.pause(begun.elapsed());
    }
    validation.tell_end(&state, report)?;
    let checkpoint = saves.finish(stop, report)?;
    let (seconds, largest) = (begun.elapsed().as_secs_f64(), meter.largest().to_vec());
    Ok(Summary { step: state.step, seconds, last, checkpoint, largest })
}

/// What the feature cache found damaged.
fn tell_notes(features: Option<&FeatureCache>, report: &mut Report) -> Result<(), Error> {
    let notes = features.map_or(vec![], |features| features.store().take_notes());
    notes.into_iter().try_for_each(|note| report(Event::Note(note)))
}

/// The checkpoint that this start begins at, or the base weights.
fn first_state(task: &Training, report: &mut Report) -> Result<TrainState, Error> {
    for note in task.data.mixture.notes().iter().chain(&task.from.notes) {
        report(Event::Note(note.clone()))?;
    }
    let held_out = task.data.held_out.as_deref();
    let shared = held_out.map_or(0, |held_out| task.data.mixture.media_in_common(held_out));
    if shared > 0 {
        let message = "media of [data] validation_mixture are trained on as well: the held-out loss is not that of new videos";
        report(Event::Note(format!("{shared} {message}")))?;
    }
    let identity = task.identity.clone();
    let state = match &task.from.checkpoint {
        Some(saved) => TrainState::restore(task.plan, identity, saved, task.device)?,
        None => TrainState::start(task.plan, identity, task.device)?,
    };
    if state.copied > 0 {
        report(Event::Note(format!(
            "{} tensors of learned tokens are not in {}: they begin as copies of the model's own maps and of an embedding",
            state.copied, task.plan.recipe.model.checkpoint
        )))?;
    }
    Ok(state)
}

/// The last step, and every `logging_steps`.
fn log_due(plan: &Plan, step: usize) -> bool {
    step == plan.steps || step.is_multiple_of(plan.recipe.log.logging_steps)
}

/// Names tuned tensors that the first step gives no gradient on any rank: nearly always a mistake in the recipe.
fn tell_silent(task: &Training, grads: &NamedTensors, report: &mut Report) -> Result<(), Error> {
    let own: Vec<String> = grads.names().map(str::to_owned).collect();
    let reached: BTreeSet<String> = told(task.peers, &own).into_iter().flatten().collect();
    let silent: Vec<String> = tensors(&task.plan.config)
        .into_iter()
        .map(|tensor| tensor.name)
        .filter(|name| task.plan.tunes(name) && !reached.contains(name))
        .collect();
    let Some(first) = silent.first() else { return Ok(()) };
    let count = silent.len();
    report(Event::Note(format!(
        "{count} tuned tensors got no gradient in step 1, the first is {first}; do the samples reach them?"
    )))
}
