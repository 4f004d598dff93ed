//! One step of a run done again, micro-batch by micro-batch, to find where a number stopped being finite.

use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use xcomp_data::Stream;
use xcomp_model::transfer::read_number;
use xcomp_model::vlm::Vlm;

use crate::data::Data;
use crate::error::Error;
use crate::plan::Plan;
use crate::recipe::tables::FloatWord;
use crate::train::batch::{backward, encode, load_micro_batch};
use crate::train::checkpoint::identity::Identity;
use crate::train::checkpoint::{Checkpoints, Saved};
use crate::train::lane_sums::LaneSums;
use crate::train::meter::Meter;
use crate::train::optimizer::adamw::AdamW;
use crate::train::optimizer::clip::clip_grad_norm;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::state::TrainState;
use crate::train::step::MicroStep;
use crate::train::unsound::NON_FINITE;
use xcomp_model::weights::{Look, Named};

/// One micro-batch of the step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MicroReport {
    /// Dataset of its first sample.
    pub source: String,
    /// Ids of its samples.
    pub samples: Vec<String>,
    /// Its mean loss, as text: it may not be finite.
    pub loss: String,
    /// Its gradient norm, as text.
    pub grad_norm: String,
    /// The first parameter whose gradient is not finite.
    pub bad_gradient: Option<String>,
}

/// A step done again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// The 1-based step.
    pub step: usize,
    /// The step of the checkpoint that it was reached from.
    pub from: usize,
    /// The first parameter that was not finite before the step.
    pub bad_weight: Option<String>,
    /// Its micro-batches, in order.
    pub micro: Vec<MicroReport>,
}

/// Does 1-based `step` of a run again, in f32, from the nearest state before it; nothing is written.
///
/// # Errors
/// If the run has no state before the step, or the data cannot be read.
pub fn replay(
    plan: &Plan,
    data: &Data,
    identity: &Identity,
    run: &Path,
    step: usize,
    device: &Device,
) -> Result<Replay, Error> {
    if step == 0 || step > plan.steps {
        return Err(Error::Argument(format!(
            "--step {step}: the run has steps 1 to {}",
            plan.steps
        )));
    }
    let mut state = match nearest(run, step)? {
        Some(saved) => TrainState::restore(plan, identity.clone(), &saved, device)?,
        None => TrainState::start(plan, identity.clone(), device)?,
    };
    let from = state.step;
    let mut examples = data.stream(state.position.clone(), None)?;
    while state.step + 1 < step {
        state = step_again(plan, state, &mut examples, device)?;
    }
    let mut exact = plan.clone();
    exact.recipe.train.dtype = FloatWord::F32;
    let bad_weight = first_bad_weight(&state.model);
    let mut meter = Meter::start(device);
    let mut micro = vec![];
    for _ in 0..plan.recipe.train.gradient_accumulation_steps {
        let number = state.position.samples;
        let exact = &*exact.of_sample(number);
        let batch =
            load_micro_batch(exact, &mut examples, &mut meter, number, &mut state.position)?;
        let (source, samples) = (batch.source.to_string(), batch.ids.clone());
        let batch = encode(exact, &state.model, batch, device, &mut meter)?;
        let done = backward(exact, &state.model, batch);
        micro.push(MicroReport::of(source, samples, &done));
    }
    Ok(Replay { step, from, bad_weight, micro })
}

/// A step on the way, as the run did it.
fn step_again(
    plan: &Plan,
    mut state: TrainState,
    examples: &mut Stream,
    device: &Device,
) -> Result<TrainState, Error> {
    let mut meter = Meter::start(device);
    let mut sums = LaneSums::new(plan);
    for _ in 0..plan.recipe.train.gradient_accumulation_steps {
        let number = state.position.samples;
        let plan = &*plan.of_sample(number);
        let batch = load_micro_batch(plan, examples, &mut meter, number, &mut state.position)?;
        let source = batch.source.clone();
        let batch = encode(plan, &state.model, batch, device, &mut meter)?;
        let done = backward(plan, &state.model, batch);
        meter.loss(source, done.loss, done.weight);
        sums.add(plan, done.grads);
        sums.close();
    }
    let sum = sums.finish().divide(meter.open_weight().max(1) as f64);
    let (grads, norm) = clip_grad_norm(sum, plan.recipe.optimizer.max_grad_norm);
    // A step that the run skipped is skipped.
    if meter.open_losses().chain(norm).all(finite) {
        let rate = |name: &str| plan.rate(state.step, name);
        state.model = AdamW::of(plan).step(&mut state.optim, state.model, grads, rate);
    }
    state.step += 1;
    Ok(state)
}

impl MicroReport {
    fn of(source: String, samples: Vec<String>, done: &MicroStep) -> Self {
        let mean = done.loss.clone() / done.weight.max(1) as f64;
        let norm = done.grads.norm().map(|norm| read_number(norm).to_string());
        Self {
            source,
            samples,
            loss: read_number(mean).to_string(),
            grad_norm: norm.unwrap_or_else(|| "none".into()),
            bad_gradient: first_bad(&done.grads),
        }
    }
}

/// The newest complete state before the step: what a guard kept, else a checkpoint.
fn nearest(run: &Path, step: usize) -> Result<Option<Saved>, Error> {
    let mut found = Checkpoints::open(run).folders()?;
    found.extend(Checkpoints::open(&run.join(NON_FINITE)).folders()?);
    found.retain(|saved| {
        saved.step < step && crate::train::checkpoint::manifest::damage(&saved.folder).is_none()
    });
    Ok(found.into_iter().max_by_key(|saved| saved.step))
}

fn finite(tensor: Tensor<1>) -> bool {
    read_number(tensor.abs().sum()).is_finite()
}

fn first_bad(grads: &NamedTensors) -> Option<String> {
    grads.iter().find(|(_, grad)| !finite(grad.clone())).map(|(name, _)| name.to_owned())
}

fn first_bad_weight(model: &Vlm) -> Option<String> {
    struct Search(Option<String>);
    impl Look for Search {
        fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
            if self.0.is_none() {
                let value = param.val().inner();
                let count = value.shape().num_elements();
                if !finite(value.reshape([count])) {
                    self.0 = Some(name.into());
                }
            }
        }
    }
    let mut search = Search(None);
    model.look_at_each(&mut search);
    search.0
}

impl std::fmt::Display for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "step {}, done again from the state after step {}", self.step, self.from)?;
        if let Some(name) = &self.bad_weight {
            writeln!(f, "before the step, {name} was already not finite")?;
        }
        for (index, micro) in self.micro.iter().enumerate() {
            let bad = micro.bad_gradient.as_ref().map_or("finite".into(), |name| {
                format!("first gradient that is not finite: {name}")
            });
            writeln!(
                f,
                "micro-batch {index}: {} ({}) loss {}, gradient norm {}; {bad}",
                micro.samples.join(", "),
                micro.source,
                micro.loss,
                micro.grad_norm
            )?;
        }
        Ok(())
    }
}
