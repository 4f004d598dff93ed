//! What happened since the last record; the device is read once per record.

mod means;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::machine::memory::{MemoryMeter, rss_bytes};
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::show::numbers::GIB;
use crate::train::meter::means::{by_source, lane_imbalance, means};
use crate::train::owners::Exchange;
use xcomp_model::transfer::read;

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
    /// Seconds of a step that ranks spend on each other, of the rank that spends most; none where there is one rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
    /// FLOPs of the costliest lane of a step over the mean lane: what ranks can gain from `train.balance`; none where there is one lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane_imbalance: Option<f64>,
    /// Samples since the last record whose features were in the cache.
    #[serde(default)]
    pub cached: u64,
    /// Samples since the last record of which a video has the most frames that fit (`data.too_long = "drop_frames"`).
    #[serde(default, skip_serializing_if = "is_none")]
    pub limited: u64,
    /// Samples of a second.
    pub samples_per_sec: f64,
    /// Frames of a second.
    pub frames_per_sec: f64,
    /// Tokens before the first layer, of a second.
    pub tokens_per_sec: f64,
    /// Model FLOPs per second over the device's peak, in percent; none without `log.peak_tflops`.
    pub mfu_pct: Option<f64>,
    /// Peak memory of the device so far, in GiB; on a CPU that of the process, none where the device does not say.
    pub peak_gib: Option<f64>,
    /// Memory that the process holds on the host now, in GiB.
    #[serde(default)]
    pub rss_gib: f64,
    /// Mean loss by dataset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Raw>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
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
    flops: f64,
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
    norms: Vec<Option<Tensor<1>>>,
    samples: u64,
    limited: u64,
    frames: u64,
    tokens_in: u64,
    tokens_mean: f64,
    flops: f64,
    /// Of which the micro-batch whose loss is not noted yet.
    open_flops: f64,
    exchange: Option<Exchange>,
    largest: Vec<SampleSize>,
    needed: u64,
    memory: MemoryMeter,
}

/// What the device said of the steps since the last record.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The record; if a step was not sound, the record of the first such step.
    pub record: Record,
    /// Mean loss of each step, up to the record's.
    pub losses: Vec<f64>,
}

impl Reading {
    /// Whether every number is finite.
    pub fn is_sound(&self) -> bool {
        self.record.loss.is_finite() && self.record.grad_norm.is_finite()
    }
}

impl Meter {
    /// Starts to count now, on a device.
    pub fn start(device: &Device) -> Self {
        Self {
            since: Instant::now(),
            wait_s: 0.0,
            vision_s: 0.0,
            cached: 0,
            steps: 0,
            parts: vec![],
            norms: vec![],
            samples: 0,
            limited: 0,
            frames: 0,
            tokens_in: 0,
            tokens_mean: 0.0,
            flops: 0.0,
            open_flops: 0.0,
            exchange: None,
            largest: vec![],
            needed: 0,
            memory: MemoryMeter::of(device),
        }
    }

    /// Forgets all but what is kept over the whole run.
    fn restart(&mut self) {
        let fresh = Self::start(&self.memory.device());
        let old = std::mem::replace(self, fresh);
        (self.largest, self.needed, self.memory) = (old.largest, old.needed, old.memory);
    }

    /// Notes the samples of a micro-batch that is about to be trained on.
    pub fn count(&mut self, plan: &Plan, batch: Vec<SampleSize>) {
        self.open_flops = batch.iter().map(|size| plan.flops(*size).model()).sum();
        self.flops += self.open_flops;
        for size in &batch {
            self.samples += 1;
            self.frames += size.frames as u64;
            self.tokens_in += plan.tokens_in(*size) as u64;
            self.tokens_mean +=
                size.frames as f64 * plan.compression.mean_tokens() + size.text_tokens as f64;
        }
        let needed = plan.memory_of(&batch).peak();
        if needed > self.needed {
            (self.needed, self.largest) = (needed, batch);
        }
    }

    /// Notes a sample of which a video has the most frames that fit.
    pub fn limited(&mut self) {
        self.limited += 1;
    }

    /// The micro-batch so far that needs most memory.
    pub fn largest(&self) -> &[SampleSize] {
        &self.largest
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
        let flops = self.open_flops;
        self.parts.push(Part { step: self.steps, source, weight, loss, flops });
    }

    /// Notes what ranks have spent on each other in a step; nothing where there is one.
    pub fn exchanged(&mut self, spent: Option<Exchange>) {
        let Some(spent) = spent else { return };
        let sum = self.exchange.get_or_insert_default();
        sum.wait_s += spent.wait_s;
        sum.reduce_s += spent.reduce_s;
        sum.gather_s += spent.gather_s;
    }

    /// The losses of the step that is open, unread.
    pub fn open_losses(&self) -> impl Iterator<Item = Tensor<1>> {
        self.of_step(self.steps).map(|part| part.loss.clone())
    }

    /// The summed weights of the losses of the step that is open.
    pub fn open_weight(&self) -> usize {
        self.of_step(self.steps).map(|part| part.weight).sum()
    }

    fn of_step(&self, step: usize) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.step == step)
    }

    /// Leaves out time that is no part of a step.
    pub fn pause(&mut self, time: Duration) {
        self.since += time;
    }

    /// Closes a step with its gradient norm, which is read later.
    pub fn close_step(&mut self, grad_norm: Option<Tensor<1>>) {
        self.norms.push(grad_norm);
        self.steps += 1;
    }

    /// Reads losses and gradient norms, the loop's only wait for the device, and starts anew; `step` is the last one closed.
    ///
    /// # Panics
    /// If no step was closed.
    pub fn read(&mut self, plan: &Plan, step: usize) -> Reading {
        assert!(self.steps > 0, "a record follows a step");
        self.parts.retain(|part| part.step < self.steps); // a step that was given up has no loss
        let (losses, norms) = self.numbers();
        let finite = |place: &usize| {
            let own = self.parts.iter().zip(&losses).filter(|(part, _)| part.step == *place);
            norms[*place].is_finite() && own.map(|(_, loss)| loss).all(|loss| loss.is_finite())
        };
        let count = (0..self.steps).find(|place| !finite(place)).map_or(self.steps, |bad| bad + 1);
        let step = step - (self.steps - count);
        let of_steps = means(&self.parts, &losses, count);
        let record = self.record(plan, step, &of_steps, norms[count - 1], &losses);
        self.restart();
        Reading { record, losses: of_steps }
    }

    fn record(
        &mut self,
        plan: &Plan,
        step: usize,
        of_steps: &[f64],
        grad_norm: f64,
        losses: &[f64],
    ) -> Record {
        let seconds = self.since.elapsed().as_secs_f64();
        let rate = plan.recipe.optimizer.learning_rate;
        let per_step = plan.samples_per_step();
        let peak_flops = plan.recipe.log.peak_tflops * 1e12;
        Record {
            step,
            loss: of_steps.iter().sum::<f64>() / of_steps.len() as f64,
            grad_norm,
            learning_rate: rate * plan.lr.factor(step),
            lr_used: rate * plan.lr.factor(step - 1),
            epoch: (step * per_step) as f64 / plan.samples.count.max(1) as f64,
            samples: self.samples,
            frames: self.frames,
            tokens_in: self.tokens_in,
            tokens_mean: self.tokens_mean,
            step_s: seconds / self.steps as f64,
            data_wait_pct: 100.0 * self.wait_s / seconds,
            data_s: self.wait_s / self.steps.max(1) as f64,
            vision_s: self.vision_s / self.steps.max(1) as f64,
            exchange: self.exchange.map(|sum| {
                let each = |seconds: f64| seconds / self.steps.max(1) as f64;
                let Exchange { wait_s, reduce_s, gather_s } = sum;
                Exchange {
                    wait_s: each(wait_s),
                    reduce_s: each(reduce_s),
                    gather_s: each(gather_s),
                }
            }),
            lane_imbalance: lane_imbalance(&self.parts, of_steps.len(), plan.recipe.train.lanes),
            cached: self.cached,
            limited: self.limited,
            samples_per_sec: self.samples as f64 / seconds,
            frames_per_sec: self.frames as f64 / seconds,
            tokens_per_sec: self.tokens_in as f64 / seconds,
            mfu_pct: (peak_flops > 0.0).then(|| 100.0 * self.flops / seconds / peak_flops),
            peak_gib: self.memory.peak_bytes().map(|bytes| bytes as f64 / GIB),
            rss_gib: rss_bytes() as f64 / GIB,
            sources: by_source(&self.parts, losses),
        }
    }

    /// One transfer for all numbers: losses of the parts, norms of the steps (0 where nothing has a gradient).
    fn numbers(&self) -> (Vec<f64>, Vec<f64>) {
        let losses = self.parts.iter().map(|part| part.loss.clone());
        let all: Vec<Tensor<1>> = losses.chain(self.norms.iter().flatten().cloned()).collect();
        if all.is_empty() {
            return (vec![], vec![0.0; self.steps]);
        }
        let read = read(Tensor::cat(all, 0));
        let mut read = read.iter::<f32>().map(f64::from);
        let losses = read.by_ref().take(self.parts.len()).collect();
        let mut norm = |norm: &Option<_>| norm.as_ref().and_then(|_| read.next()).unwrap_or(0.0);
        (losses, self.norms.iter().map(&mut norm).collect())
    }
}
