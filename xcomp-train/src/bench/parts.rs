//! One step part by part, waiting for the device after each.

use std::time::Instant;

use burn::tensor::Tensor;
use serde::Serialize;
use xcomp_model::compress::pass;
use xcomp_model::loss::weighted_loss;
use xcomp_model::vision::frames::Clips;
use xcomp_model::vlm::supervised;

use super::Bench;
use super::input::Sample;
use crate::data::collate::VisualInput;
use crate::data::features::merged;
use crate::error::Error;
use crate::train::batch::{backward, sum_gradients};
use crate::train::optimizer::grads::NamedTensors;
use crate::train::state::TrainState;
use crate::train::step::{MicroBatch, MicroStep};

/// Seconds of the parts of one optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Parts {
    /// Making prompt and clips of a sample, or taking its features to the device.
    pub data_s: f64,
    /// The vision tower.
    pub vision_s: f64,
    /// Token merging.
    pub merge_s: f64,
    /// The connector's MLP, and putting its tokens into the prompt.
    pub connector_s: f64,
    /// The decoder layers.
    pub llm_s: f64,
    /// Logits and loss.
    pub head_s: f64,
    /// The backward pass; with recompute, or with samples side by side, all of the forward behind the tower too.
    pub backward_s: f64,
    /// Clipping and `AdamW`.
    pub optimizer_s: f64,
}

impl Parts {
    /// The forward pass behind the tower.
    pub fn forward_s(&self) -> f64 {
        self.connector_s + self.llm_s + self.head_s
    }
}

/// Adds the seconds since the last call.
struct Clock<'a> {
    bench: &'a Bench<'a>,
    last: Instant,
}

impl Clock<'_> {
    fn add(&mut self, to: &mut f64) -> Result<(), Error> {
        self.bench
            .device
            .sync()
            .map_err(|error| Error::Argument(format!("the device: {error}")))?;
        *to += self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        Ok(())
    }
}

pub(super) fn step(
    bench: &Bench,
    sample: &Sample,
    state: TrainState,
) -> Result<(Parts, TrainState), Error> {
    let mut parts = Parts::default();
    let mut clock = Clock { bench, last: Instant::now() };
    let (mut grads, mut weight) = (NamedTensors::default(), 0);
    for _ in 0..bench.plan.recipe.train.gradient_accumulation_steps {
        let micro = encoded(bench, sample, &state, &mut clock, &mut parts)?;
        let done = behind_the_tower(bench, &state, micro, &mut clock, &mut parts)?;
        sum_gradients(bench.plan, &mut grads, done.grads);
        weight += done.weight;
        clock.add(&mut parts.backward_s)?;
    }
    let state = bench.update(state, grads, weight);
    clock.add(&mut parts.optimizer_s)?;
    Ok((parts, state))
}

fn encoded(
    bench: &Bench,
    sample: &Sample,
    state: &TrainState,
    clock: &mut Clock,
    parts: &mut Parts,
) -> Result<MicroBatch, Error> {
    let (prompts, all) = sample.batch();
    clock.add(&mut parts.data_s)?;
    let mut features = vec![];
    for visual in all {
        features.push(vec![match visual {
            VisualInput::Clips(clips, _) => tower(bench, &clips, state, clock, parts)?,
            visual @ VisualInput::Features(_) => {
                merged(bench.plan, &state.model, visual, bench.device).0
            }
        }]);
        clock.add(&mut parts.data_s)?;
    }
    Ok(MicroBatch {
        prompts,
        merged: features,
        replay: vec![],
        windows: vec![],
        number: None,
        arrangement: bench.plan.arrangement(),
    })
}

/// The tower and the merging of tokens, in the chunks that the trainer takes.
fn tower(
    bench: &Bench,
    clips: &Clips,
    state: &TrainState,
    clock: &mut Clock,
    parts: &mut Parts,
) -> Result<Tensor<3>, Error> {
    let (model, encoding) = (&state.model, bench.plan.encoding());
    let mut chunks = vec![];
    for first in (0..clips.count).step_by(encoding.clips_at_once) {
        let count = encoding.clips_at_once.min(clips.count - first);
        let pixels =
            clips.pixels(first, count, &model.family.pixels, bench.device).cast(encoding.dtype);
        let features = model.vision.forward(pixels);
        clock.add(&mut parts.vision_s)?;
        chunks.push(model.connector.fixed(features));
        clock.add(&mut parts.merge_s)?;
    }
    Ok(Tensor::cat(chunks, 0))
}

fn behind_the_tower(
    bench: &Bench,
    state: &TrainState,
    micro: MicroBatch,
    clock: &mut Clock,
    parts: &mut Parts,
) -> Result<MicroStep, Error> {
    let (plan, model) = (bench.plan, &state.model);
    if plan.recompute || plan.running.apart {
        return Ok(backward(plan, model, micro));
    }
    let (x, layout) = model.embed_as(micro.arrangement, &micro.prompts, micro.merged);
    clock.add(&mut parts.connector_s)?;
    let (hidden, layout) = pass::forward(&model.llm.model, x, layout, &plan.compression);
    clock.add(&mut parts.llm_s)?;
    let (rows, norm) = (supervised(&micro.prompts, &layout), plan.loss_norm());
    let loss = weighted_loss(&model.llm, hidden, &rows, norm);
    clock.add(&mut parts.head_s)?;
    let grads = NamedTensors::from_backward(loss.backward(), model);
    Ok(MicroStep { loss: loss.inner(), weight: rows.weight(norm), grads })
}
