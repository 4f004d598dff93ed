//! What happened since the last record; the device is read once per record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::cost::SampleSize;
use crate::plan::Plan;

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Optimizer steps taken, this one included.
    pub step: usize,
    /// Mean loss of the steps since the last record.
    #[serde(with = "raw")]
    pub loss: f64,
    /// Global gradient norm of this step, before clipping.
    #[serde(with = "raw")]
    pub grad_norm: f64,
    /// As Hugging Face logs it: the rate of the *next* step.
    pub learning_rate: f64,
    /// The rate that this step used.
    pub lr_used: f64,
    /// Passes over the data.
    pub epoch: f64,
    /// Samples since the last record.
    pub samples: u64,
    /// Frames since the last record.
    pub frames: u64,
    /// Tokens before the first layer since the last record.
    pub tokens_in: u64,
    /// The same, mean over the layers.
    pub tokens_mean: f64,
    /// Seconds of a step.
    pub step_s: f64,
    /// Share of them spent waiting for data, in percent.
    pub data_wait_pct: f64,
    /// Seconds of a step spent waiting for data.
    #[serde(default)]
    pub data_s: f64,
    /// Seconds of a step spent on visual features: the tower, or taking them from the cache. A GPU may still work on them.
    #[serde(default)]
    pub vision_s: f64,
    /// Samples since the last record whose features were in the cache.
    #[serde(default)]
    pub cached: u64,
    /// Samples of a second.
    pub samples_per_sec: f64,
    /// Frames of a second.
    pub frames_per_sec: f64,
    /// Tokens before the first layer, of a second.
    pub tokens_per_sec: f64,
    /// Model FLOPs per second over the device's peak, in percent; none without `log.peak_tflops`.
    pub mfu_pct: Option<f64>,
    /// Peak memory of the process so far, in GiB.
    pub peak_gib: f64,
    /// Mean loss by dataset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Raw>,
}

/// A number that may not be finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(#[serde(with = "raw")] pub f64);

/// Numbers that may not be finite: JSON has no word for them, so they are written as strings.
mod raw {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            to.serialize_f64(*value)
        } else {
            to.serialize_str(&value.to_string())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Number(f64),
            Text(String),
        }
        match Value::deserialize(from)? {
            Value::Number(number) => Ok(number),
            Value::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// The loss of one micro-batch, still on the device.
#[derive(Debug)]
struct Part {
    /// Steps since the last record, before this part's.
    step: usize,
    source: Arc<str>,
    weight: usize,
    loss: Tensor<1>,
}

/// Counts since the last record.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    wait_s: f64,
    vision_s: f64,
    cached: u64,
    steps: usize,
    parts: Vec<Part>,
    samples: u64,
    frames: u64,
    tokens_in: u64,
    tokens_mean: f64,
    flops: f64,
    largest: SampleSize,
}

impl Meter {
    /// Starts to count now.
    pub fn start() -> Self {
        Self {
            since: Instant::now(),
            wait_s: 0.0,
            vision_s: 0.0,
            cached: 0,
            steps: 0,
            parts: vec![],
            samples: 0,
            frames: 0,
            tokens_in: 0,
            tokens_mean: 0.0,
            flops: 0.0,
            largest: SampleSize { frames: 0, text_tokens: 0, supervised_tokens: 0 },
        }
    }

    /// Notes a sample that is about to be trained on.
    pub fn count(&mut self, plan: &Plan, size: SampleSize) {
        let tokens_in = plan.tokens_in(size);
        self.samples += 1;
        self.frames += size.frames as u64;
        self.tokens_in += tokens_in as u64;
        self.tokens_mean +=
            size.frames as f64 * plan.compression.mean_tokens() + size.text_tokens as f64;
        self.flops += plan.flops(size).model();
        let largest = self.largest;
        self.largest = SampleSize {
            frames: largest.frames.max(size.frames),
            text_tokens: largest.text_tokens.max(size.text_tokens),
            supervised_tokens: largest.supervised_tokens.max(size.supervised_tokens),
        };
    }

    /// The most frames, text tokens and supervised tokens of any sample so far.
    pub fn largest(&self) -> SampleSize {
        self.largest
    }

    /// Notes seconds that the loop waited for data.
    pub fn waited(&mut self, seconds: f64) {
        self.wait_s += seconds;
    }

    /// Notes seconds spent on visual features, and how many samples had them in the cache.
    pub fn encoded(&mut self, seconds: f64, cached: usize) {
        self.vision_s += seconds;
        self.cached += cached as u64;
    }

    /// Notes the summed loss of a micro-batch; it is read later.
    pub fn loss(&mut self, source: Arc<str>, loss: Tensor<1>, weight: usize) {
        self.parts.push(Part { step: self.steps, source, weight, loss });
    }

    /// Closes a step; gives the summed weights of its losses.
    pub fn close_step(&mut self) -> usize {
        let own = self.parts.iter().filter(|part| part.step == self.steps);
        let weight = own.map(|part| part.weight).sum();
        self.steps += 1;
        weight
    }

    /// Reads losses and gradient norm, the loop's only wait for the device, and starts anew.
    pub fn record(&mut self, plan: &Plan, step: usize, grad_norm: Option<Tensor<1>>) -> Record {
        let (losses, grad_norm) = self.read(grad_norm);
        let seconds = self.since.elapsed().as_secs_f64();
        let rate = plan.recipe.optimizer.learning_rate;
        let per_step = plan.samples_per_step();
        let peak_flops = plan.recipe.log.peak_tflops * 1e12;
        let record = Record {
            step,
            loss: mean_of_steps(&self.parts, &losses, self.steps),
            grad_norm,
            learning_rate: rate * plan.lr.factor(step),
            lr_used: rate * plan.lr.factor(step - 1),
            epoch: (step * per_step) as f64 / plan.samples.count.max(1) as f64,
            samples: self.samples,
            frames: self.frames,
            tokens_in: self.tokens_in,
            tokens_mean: self.tokens_mean,
            step_s: seconds / self.steps.max(1) as f64,
            data_wait_pct: 100.0 * self.wait_s / seconds,
            data_s: self.wait_s / self.steps.max(1) as f64,
            vision_s: self.vision_s / self.steps.max(1) as f64,
            cached: self.cached,
            samples_per_sec: self.samples as f64 / seconds,
            frames_per_sec: self.frames as f64 / seconds,
            tokens_per_sec: self.tokens_in as f64 / seconds,
            mfu_pct: (peak_flops > 0.0).then(|| 100.0 * self.flops / seconds / peak_flops),
            peak_gib: peak_rss_bytes() as f64 / crate::plan::GIB,
            sources: by_source(&self.parts, &losses),
        };
        *self = Self { largest: self.largest, ..Self::start() };
        record
    }

    /// One transfer for all numbers.
    fn read(&self, grad_norm: Option<Tensor<1>>) -> (Vec<f64>, f64) {
        let mut all: Vec<Tensor<1>> = self.parts.iter().map(|part| part.loss.clone()).collect();
        all.extend(grad_norm);
        if all.is_empty() {
            return (vec![], 0.0);
        }
        let count = self.parts.len();
        let read: Vec<f64> = Tensor::cat(all, 0).into_data().iter::<f32>().map(f64::from).collect();
        let norm = read.get(count).copied().unwrap_or(0.0);
        (read[..count].to_vec(), norm)
    }
}

/// Losses are weighted within a step and averaged over steps, as Hugging Face's trainer does.
fn mean_of_steps(parts: &[Part], losses: &[f64], steps: usize) -> f64 {
    let of_step = |step: usize| {
        let own = parts.iter().zip(losses).filter(|(part, _)| part.step == step);
        let (sum, weight) =
            own.fold((0.0, 0), |(sum, weight), (part, loss)| (sum + loss, weight + part.weight));
        sum / weight.max(1) as f64
    };
    (0..steps).map(of_step).sum::<f64>() / steps.max(1) as f64
}

fn by_source(parts: &[Part], losses: &[f64]) -> BTreeMap<String, Raw> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (part, loss) in parts.iter().zip(losses) {
        let sum = sums.entry(part.source.to_string()).or_default();
        *sum = (sum.0 + loss, sum.1 + part.weight);
    }
    let mean = |(sum, weight): (f64, usize)| Raw(sum / weight.max(1) as f64);
    sums.into_iter().map(|(source, sum)| (source, mean(sum))).collect()
}

/// The most memory this process has held, in bytes (`VmHWM` of Linux); 0 where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    status_kib("VmHWM:") * 1024
}

/// The memory this process holds now, in bytes.
pub fn rss_bytes() -> u64 {
    status_kib("VmRSS:") * 1024
}

fn status_kib(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn part(step: usize, source: &str, weight: usize) -> Part {
        let loss = Tensor::from_data(TensorData::new(vec![0.0_f32], [1]), &Device::flex());
        Part { step, source: source.into(), weight, loss }
    }

    #[test]
    fn steps_are_weighted_inside_and_averaged_outside() {
        let parts = [part(0, "a", 1), part(0, "b", 3), part(1, "a", 2)];
        let losses = [1.0, 7.0, 8.0];
        assert!((mean_of_steps(&parts, &losses, 2) - 3.0).abs() < 1e-12);
        let sources = by_source(&parts, &losses);
        assert!((sources["a"].0 - 3.0).abs() < 1e-12 && (sources["b"].0 - 7.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn memory_of_the_process_is_known() {
        assert!(peak_rss_bytes() >= rss_bytes() && rss_bytes() > 0);
    }
}
