//! A run's memory limit: a plan above it is refused, a run above it ends, both with the one key to change.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::tensor::Device;
use xcomp_model::ops::on_cpu;

use crate::error::Error;
use crate::machine::memory::{MemoryMeter, available_bytes, rss_bytes};
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::cost::memory::Memory;
use crate::show::numbers::{GIB, bytes};

/// The memory limit of a run, and what the process held before it.
#[derive(Debug, Clone)]
pub struct MemoryGuard {
    bytes: Option<u64>,
    /// Where the limit comes from, as a message says it.
    from: &'static str,
    /// What the process held before the run.
    before: u64,
    device: Device,
}

impl MemoryGuard {
    /// The recipe's limit; else what the machine can give to a CPU, or what a GPU has.
    pub fn of(plan: &Plan, device: &Device) -> Self {
        let (bytes, from) = match plan.recipe.train.memory_limit_gib {
            Some(gib) => (Some((gib * GIB) as u64), "[train] memory_limit_gib allows"),
            None if on_cpu(device) => (available_bytes(), "the machine has free"),
            None => (device.memory_capacity(), "the device has"),
        };
        Self { bytes, from, before: rss_bytes(), device: device.clone() }
    }

    /// Refuses a run whose mean step does not fit; a line if its largest step does not.
    ///
    /// # Errors
    /// If the plan of the mean step is above the limit.
    pub fn check(&self, plan: &Plan) -> Result<Option<String>, Error> {
        let (mean, worst) = (plan.batch(plan.samples.mean), plan.batch(plan.samples.worst));
        if !self.fits(plan, &mean) {
            return Err(self.error(plan, &mean, "the mean step does not fit"));
        }
        let told = || self.text(plan, &worst, "memory: the largest step would not fit");
        Ok((!self.fits(plan, &worst)).then(told))
    }

    /// Ends a run on a CPU that has grown above the limit; a GPU ends it itself.
    ///
    /// # Errors
    /// If the process has grown by more than the run may take.
    pub fn watch(&self, plan: &Plan, largest: &[SampleSize]) -> Result<(), Error> {
        if !on_cpu(&self.device) {
            return Ok(());
        }
        self.judge(plan, largest, rss_bytes().saturating_sub(self.before))
    }

    fn judge(&self, plan: &Plan, largest: &[SampleSize], grown: u64) -> Result<(), Error> {
        if self.bytes.is_none_or(|limit| grown <= limit) {
            return Ok(());
        }
        Err(self.error(plan, largest, &format!("the run has taken {}", bytes(grown))))
    }

    /// Does `work`; a panic of the backend because memory ran out becomes an error.
    ///
    /// # Errors
    /// As `work`, and if memory ran out.
    ///
    /// # Panics
    /// As `work`, for any other reason.
    pub fn guard<T>(
        &self,
        plan: &Plan,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result,
            Err(panic) if says_out_of_memory(&*panic) => {
                let held = MemoryMeter::of(&self.device).peak_bytes();
                let held = held.map_or("an unknown amount".into(), bytes);
                let what = format!("the device gave no more after {held}");
                Err(self.error(plan, &plan.batch(plan.samples.worst), &what))
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// What was predicted for the micro-batch that needed most, against what happened.
    pub fn predicted_and_actual(&self, plan: &Plan, largest: &[SampleSize]) -> String {
        let predicted = plan.needs(largest);
        let start = format!("memory: predicted {:.3} GiB", predicted as f64 / GIB);
        let peak = MemoryMeter::of(&self.device).peak_bytes();
        let (whose, before) = if on_cpu(&self.device) {
            ("the process grew by", self.before)
        } else {
            ("the device's pools reserved", 0)
        };
        let Some(actual) = peak.map(|peak| peak.saturating_sub(before)) else {
            return format!("{start}; this device does not tell what it held");
        };
        if actual == 0 {
            return format!("{start}, {whose} nothing that can be measured");
        }
        let off = 100.0 * (predicted as f64 / actual as f64 - 1.0);
        format!("{start}, {whose} {:.3} GiB ({off:+.1} %)", actual as f64 / GIB)
    }

    fn fits(&self, plan: &Plan, batch: &[SampleSize]) -> bool {
        self.bytes.is_none_or(|limit| plan.needs(batch) <= limit)
    }

    fn error(&self, plan: &Plan, batch: &[SampleSize], what: &str) -> Error {
        Error::Memory(self.text(plan, batch, what))
    }

    /// Plan against actual, and the key.
    fn text(&self, plan: &Plan, batch: &[SampleSize], what: &str) -> String {
        let largest = batch.iter().copied().reduce(SampleSize::max).unwrap_or_default();
        format!(
            "{what}; planned are {} for {} samples of up to {} frames ({}), {} {}; {}",
            bytes(plan.needs(batch)),
            batch.len(),
            largest.frames,
            parts(&plan.memory_of(batch)),
            self.from,
            self.bytes.map_or("an unknown amount".into(), bytes),
            self.advice(plan, batch)
        )
    }

    /// The one key that makes a step on such a micro-batch fit.
    fn advice(&self, plan: &Plan, batch: &[SampleSize]) -> String {
        let mut smaller = plan.clone();
        smaller.recompute = true;
        if !plan.recompute && self.fits(&smaller, batch) {
            return "set [train] recompute = \"layer\"".into();
        }
        let fewer = (1..batch.len()).rev().filter(|few| batch.len().is_multiple_of(*few));
        if let Some(few) = fewer.into_iter().find(|few| self.fits(&smaller, &batch[..*few])) {
            return format!("set [train] per_device_batch_size = {few}");
        }
        let clip = plan.recipe.data.clip_frames;
        let most = batch.iter().map(|size| size.frames).max().unwrap_or(0);
        let shorter = |frames: usize| -> Vec<SampleSize> {
            batch[..1].iter().map(|size| SampleSize { frames, ..*size }).collect()
        };
        match (clip..most).step_by(clip).rev().find(|few| self.fits(&smaller, &shorter(*few))) {
            Some(frames) => format!("set [data] max_frames = {frames}"),
            None => "tune fewer weights with [tune] parts".into(),
        }
    }
}

/// The parts that sum to a peak, largest first.
fn parts(memory: &Memory) -> String {
    let mut parts = [
        ("weights", memory.tuned_weights + memory.frozen_weights),
        ("gradients", memory.gradients),
        ("moments", memory.moments),
        ("activations", memory.activations),
        ("logits", memory.logits),
        ("work", memory.work),
        ("frames", memory.frames),
        ("process", memory.process),
    ];
    parts.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let parts = parts.iter().filter(|(_, size)| *size > 0);
    parts.map(|(name, size)| format!("{name} {}", bytes(*size))).collect::<Vec<_>>().join(", ")
}

/// Whether a panic's message is that of an allocation which failed (`cubecl-runtime`, `server/base.rs`; CUDA's own word).
fn says_out_of_memory(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    let text = text.to_lowercase().replace(['-', '_'], " ");
    ["out of memory", "out of device memory", "outofmemory"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests;
