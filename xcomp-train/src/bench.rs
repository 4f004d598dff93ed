//! Training steps on made-up samples, timed: random weights of the recipe's real shapes, no data, any device.

mod input;
mod parts;
mod report;

use std::time::Instant;

use burn::tensor::{Device, Tensor};

use crate::error::Error;
use crate::machine::device::{Choice, open};
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::vst::require_whole;
use crate::recipe::Recipe;
use crate::recipe::tables::{CompressionTable, Init, ScheduleKind};
use crate::train::batch::seen;
use crate::train::batch::{backward, sum_gradients};
use crate::train::checkpoint::identity::Identity;
use crate::train::optimizer::adamw::AdamW;
use crate::train::optimizer::clip::clip_grad_norm;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::state::TrainState;
use crate::train::step::{MicroBatch, MicroStep};
use input::Sample;
pub use parts::Parts;
pub use report::{BenchReport, Row, Spread};
use xcomp_model::transfer::read_number;

/// What is timed.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Frames of a sample, one row each.
    pub frames: Vec<usize>,
    /// Whether the tower's features come from the host, as from the feature cache.
    pub cached: bool,
    /// Whether frames lose tokens as the recipe says; else every layer sees all of them.
    pub compressed: bool,
    /// Timed steps.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
}

/// Times steps of the recipe; `tell` hears each row when it is done.
///
/// # Errors
/// If the recipe does not fit, or the device does not answer.
pub fn bench(
    recipe: Recipe,
    options: &BenchOptions,
    device: Choice,
    tell: &mut dyn FnMut(&Row),
) -> Result<BenchReport, Error> {
    let plan = Plan::new(measured(recipe, options), Some(usize::MAX))?;
    require_whole(&plan, "bench")?;
    let opened = open(device)?;
    let mut state = TrainState::start(&plan, Identity::new(), &opened.device)?;
    let mut rows = vec![];
    for frames in &options.frames {
        let size = size(&plan, *frames)?;
        let bench = Bench { plan: &plan, device: &opened.device, options, size };
        let (row, after) = bench.row(state)?;
        state = after;
        tell(&row);
        rows.push(row);
    }
    Ok(BenchReport::new(&plan, &opened, rows))
}

/// The recipe with what a measurement leaves out.
fn measured(mut recipe: Recipe, options: &BenchOptions) -> Recipe {
    recipe.model.init = Init::Random;
    if !options.compressed {
        recipe.compression =
            CompressionTable { schedule: ScheduleKind::None, ..CompressionTable::default() };
    }
    recipe
}

/// A sample of so many frames and of the recipe's expected text.
fn size(plan: &Plan, frames: usize) -> Result<SampleSize, Error> {
    let clip = plan.recipe.data.clip_frames;
    if frames == 0 || !frames.is_multiple_of(clip) {
        let message = format!("{frames} frames do not make whole clips of {clip}");
        return Err(Error::Argument(message));
    }
    let size = SampleSize { frames, ..plan.samples.mean };
    if size.supervised_tokens >= size.text_tokens {
        let message = format!(
            "[data] expected_supervised_tokens = {} must be below expected_text_tokens = {}",
            size.supervised_tokens, size.text_tokens
        );
        return Err(Error::Argument(message));
    }
    Ok(size)
}

/// One row's measurement.
struct Bench<'a> {
    plan: &'a Plan,
    device: &'a Device,
    options: &'a BenchOptions,
    size: SampleSize,
}

impl Bench<'_> {
    fn row(&self, mut state: TrainState) -> Result<(Row, TrainState), Error> {
        let sample = Sample::new(self.plan, self.size, self.options.cached, self.device);
        let (mut seconds, mut parts) = (vec![], vec![]);
        let mut loss = f64::NAN;
        for step in 0..self.options.warmup + self.options.steps {
            let begun = Instant::now();
            (loss, state) = self.step(&sample, state);
            if step >= self.options.warmup {
                seconds.push(begun.elapsed().as_secs_f64());
            }
        }
        // Waiting after each part hides what a device overlaps, so parts are timed in steps of their own.
        for _ in 0..self.options.steps {
            let (step, after) = parts::step(self, &sample, state)?;
            state = after;
            parts.push(step);
        }
        Ok((Row::new(self, &seconds, &parts, loss), state))
    }

    /// One optimizer step as the trainer takes it, its loss read at the end.
    fn step(&self, sample: &Sample, mut state: TrainState) -> (f64, TrainState) {
        let mut grads = NamedTensors::default();
        let mut losses: Vec<Tensor<1>> = vec![];
        let mut weight = 0;
        for _ in 0..self.plan.recipe.train.gradient_accumulation_steps {
            let micro = self.micro_batch(sample, &state);
            let done = backward(self.plan, &state.model, micro);
            let MicroStep { loss, weight: own, grads: found } = done;
            sum_gradients(self.plan, &mut grads, found);
            losses.push(loss);
            weight += own;
        }
        state = self.update(state, grads, weight);
        let sum = read_number(Tensor::cat(losses, 0).sum());
        (f64::from(sum) / weight.max(1) as f64, state)
    }

    /// The samples of one forward, on the device.
    fn micro_batch(&self, sample: &Sample, state: &TrainState) -> MicroBatch {
        let (prompts, visuals) = sample.batch();
        let visuals = visuals.into_iter().map(|visual| vec![visual]).collect();
        seen(self.plan, &state.model, prompts, visuals, self.device).0
    }

    fn update(&self, mut state: TrainState, grads: NamedTensors, weight: usize) -> TrainState {
        let optimizer = &self.plan.recipe.optimizer;
        let grads = grads.divide(weight.max(1) as f64);
        let (grads, _) = clip_grad_norm(grads, optimizer.max_grad_norm);
        // A step behind the warm-up: its rate is not zero.
        let rate = |name: &str| self.plan.rate(self.plan.steps / 2, name);
        state.model = AdamW::of(self.plan).step(&mut state.optim, state.model, grads, rate);
        state
    }
}
