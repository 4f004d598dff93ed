//! What a run measures: losses and norms, samples and tokens, time and waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::trainer::Sample;

/// One logged step: a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Optimizer steps done, this one included.
    pub step: usize,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss since the last record.
    pub loss: f64,
    /// Gradient norm of this step, before clipping.
    pub grad_norm: f64,
    /// Rate of the update after this one, as Hugging Face logs it.
    pub learning_rate: f64,
    /// Rate of this update.
    pub learning_rate_used: f64,
    /// Samples since the last record.
    pub samples: usize,
    /// Frames since the last record.
    pub frames: usize,
    /// Tokens that entered the decoder since the last record.
    pub tokens_in: usize,
    /// Mean tokens over the decoder layers since the last record.
    pub tokens_mean: f64,
    /// Seconds since the last record.
    pub elapsed_s: f64,
    /// Share of that time spent waiting for data.
    pub data_wait: f64,
    /// FLOPs of the plan since the last record, forward and backward without recompute.
    pub model_flops: f64,
    /// Mean loss by dataset since the last record.
    pub loss_by_source: BTreeMap<String, f64>,
}

impl StepRecord {
    /// Whether loss and gradient are finite.
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.grad_norm.is_finite()
    }

    /// Samples per second.
    pub fn samples_per_s(&self) -> f64 {
        self.samples as f64 / self.elapsed_s
    }

    /// Frames per second.
    pub fn frames_per_s(&self) -> f64 {
        self.frames as f64 / self.elapsed_s
    }

    /// Decoder tokens per second.
    pub fn tokens_per_s(&self) -> f64 {
        self.tokens_in as f64 / self.elapsed_s
    }
}

/// A micro-batch's summed loss, still on the device.
struct Pending {
    sources: Vec<Arc<str>>,
    loss: Tensor<1>,
    weight: usize,
}

/// Sums up what happens between two records.
pub struct Meter {
    plan: Plan,
    window: Window,
}

/// What has happened since the last record.
struct Window {
    since: Instant,
    waited: Duration,
    samples: usize,
    frames: usize,
    tokens_in: usize,
    tokens_mean: f64,
    model_flops: f64,
    losses: Vec<Pending>,
}

impl Window {
    fn open() -> Self {
        Self {
            since: Instant::now(),
            waited: Duration::ZERO,
            samples: 0,
            frames: 0,
            tokens_in: 0,
            tokens_mean: 0.0,
            model_flops: 0.0,
            losses: vec![],
        }
    }
}

impl Meter {
    /// A meter at zero.
    pub fn start(plan: &Plan) -> Self {
        Self { plan: plan.clone(), window: Window::open() }
    }

    /// Time that the loop stood still for want of data.
    pub fn waited(&mut self, time: Duration) {
        self.window.waited += time;
    }

    /// Counts what a micro-batch holds.
    pub fn count(&mut self, samples: &[Sample]) {
        let (window, compression) = (&mut self.window, &self.plan.compression);
        for sample in samples {
            let size = sample.size();
            window.samples += 1;
            window.frames += size.frames;
            window.tokens_in += self.plan.tokens_in(size);
            window.tokens_mean +=
                size.frames as f64 * compression.mean_tokens() + size.text_tokens as f64;
            window.model_flops += self.plan.flops(size).model();
        }
    }

    /// Notes a micro-batch's loss without reading it.
    pub fn loss(&mut self, samples: &[Sample], loss: Tensor<1>, weight: usize) {
        let sources = samples.iter().map(|sample| sample.source.clone()).collect();
        self.window.losses.push(Pending { sources, loss, weight });
    }

    /// Reads the losses and the norm of the step after `steps_done` from the device, and starts over.
    pub fn record(&mut self, steps_done: usize, grad_norm: Option<Tensor<1>>) -> StepRecord {
        let mut window = std::mem::replace(&mut self.window, Window::open());
        let (loss, loss_by_source) = read_losses(std::mem::take(&mut window.losses));
        let grad_norm = grad_norm.map_or(0.0, |norm| f64::from(norm.into_scalar::<f32>()));
        let elapsed_s = window.since.elapsed().as_secs_f64();
        let (plan, step) = (&self.plan, steps_done + 1);
        let peak = plan.recipe.optimizer.learning_rate;
        StepRecord {
            step,
            epoch: (step * plan.samples_per_step()) as f64 / plan.samples.count.max(1) as f64,
            loss,
            grad_norm,
            learning_rate: peak * plan.lr.factor(step),
            learning_rate_used: peak * plan.lr.factor(steps_done),
            samples: window.samples,
            frames: window.frames,
            tokens_in: window.tokens_in,
            tokens_mean: window.tokens_mean,
            elapsed_s,
            data_wait: window.waited.as_secs_f64() / elapsed_s,
            model_flops: window.model_flops,
            loss_by_source,
        }
    }
}

/// The mean loss, and that of each dataset whose samples fill micro-batches of their own; one read for all.
fn read_losses(losses: Vec<Pending>) -> (f64, BTreeMap<String, f64>) {
    let all = Tensor::cat(losses.iter().map(|pending| pending.loss.clone()).collect(), 0);
    let values: Vec<f64> = all.into_data().iter::<f64>().collect();
    let (mut sum, mut weight) = (0.0, 0);
    let mut by_source: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (value, pending) in values.iter().zip(&losses) {
        sum += value;
        weight += pending.weight;
        if let Some(first) =
            pending.sources.first().filter(|first| pending.sources.iter().all(|s| s == *first))
        {
            let entry = by_source.entry(first.to_string()).or_default();
            entry.0 += value;
            entry.1 += pending.weight;
        }
    }
    let mean = |(sum, weight): (f64, usize)| sum / weight.max(1) as f64;
    (
        mean((sum, weight)),
        by_source.into_iter().map(|(source, sums)| (source, mean(sums))).collect(),
    )
}
