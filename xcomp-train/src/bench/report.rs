//! Rows of a measurement as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::{Bench, Parts};
use crate::machine::device::Opened;
use crate::machine::memory::{peak_rss_bytes, reserved_bytes};
use crate::plan::Plan;
use crate::show::numbers::GIB;

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// The recipe.
    pub recipe: String,
    /// The device.
    pub device: String,
    /// Version of the program.
    pub version: &'static str,
    /// Format of the activations.
    pub dtype: &'static str,
    /// Samples of one forward.
    pub batch: usize,
    /// Forwards of one optimizer step.
    pub accumulation: usize,
    /// Whether layers are run again on the way back.
    pub recompute: bool,
    /// Tuned parameters.
    pub tuned: u64,
    /// One for each number of frames.
    pub rows: Vec<Row>,
}

/// The smallest, middle and largest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even number the lower of the two.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

/// One number of frames.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Frames of a sample.
    pub frames: usize,
    /// Whether the tower was left out.
    pub cached: bool,
    /// Whether frames lost tokens over the layers.
    pub compressed: bool,
    /// Text tokens of a sample.
    pub text_tokens: usize,
    /// Of which supervised.
    pub supervised_tokens: usize,
    /// Tokens before the first layer.
    pub tokens_in: usize,
    /// Timed steps.
    pub steps: usize,
    /// Seconds of a step.
    pub step_s: Spread,
    /// Seconds of its parts (medians), timed in as many further steps that wait after each part.
    pub parts: Parts,
    /// Seconds of the forward pass behind the tower, the same way.
    pub forward_s: f64,
    /// Samples of a second.
    pub samples_per_sec: f64,
    /// Frames of a second.
    pub frames_per_sec: f64,
    /// Tokens before the first layer, of a second.
    pub tokens_per_sec: f64,
    /// FLOPs of a sample that the mathematics needs.
    pub model_flops: f64,
    /// These over the device's peak, in percent; none without `log.peak_tflops`.
    pub mfu_pct: Option<f64>,
    /// Peak memory of the process so far, in GiB.
    pub peak_gib: f64,
    /// Memory that the device's allocator holds, in GiB; none on a processor, which shares that of the process.
    pub device_gib: Option<f64>,
    /// Loss of the last step.
    pub loss: f64,
}

impl Spread {
    /// Of at least one number.
    pub fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len() - 1;
        Self { min: sorted[0], median: sorted[last / 2], max: sorted[last] }
    }
}

impl Row {
    pub(super) fn new(bench: &Bench, seconds: &[f64], parts: &[Parts], loss: f64) -> Self {
        let (plan, size) = (bench.plan, bench.size);
        let step_s = Spread::of(seconds);
        let samples = plan.samples_per_step() as f64;
        let flops = plan.flops(size);
        let tower = if bench.options.cached { flops.vision + flops.merge } else { 0.0 };
        let model_flops = flops.model() - tower;
        let peak = plan.recipe.log.peak_tflops * 1e12;
        let parts = medians(parts);
        Self {
            frames: size.frames,
            cached: bench.options.cached,
            compressed: bench.options.compressed,
            text_tokens: size.text_tokens,
            supervised_tokens: size.supervised_tokens,
            tokens_in: plan.tokens_in(size),
            steps: seconds.len(),
            step_s,
            parts,
            forward_s: parts.forward_s(),
            samples_per_sec: samples / step_s.median,
            frames_per_sec: samples * size.frames as f64 / step_s.median,
            tokens_per_sec: samples * plan.tokens_in(size) as f64 / step_s.median,
            model_flops,
            mfu_pct: (peak > 0.0).then(|| 100.0 * samples * model_flops / step_s.median / peak),
            peak_gib: peak_rss_bytes() as f64 / GIB,
            device_gib: reserved_bytes(bench.device).map(|bytes| bytes as f64 / GIB),
            loss,
        }
    }
}

fn medians(parts: &[Parts]) -> Parts {
    let of =
        |field: fn(&Parts) -> f64| Spread::of(&parts.iter().map(field).collect::<Vec<_>>()).median;
    Parts {
        data_s: of(|parts| parts.data_s),
        vision_s: of(|parts| parts.vision_s),
        merge_s: of(|parts| parts.merge_s),
        connector_s: of(|parts| parts.connector_s),
        llm_s: of(|parts| parts.llm_s),
        head_s: of(|parts| parts.head_s),
        backward_s: of(|parts| parts.backward_s),
        optimizer_s: of(|parts| parts.optimizer_s),
    }
}

impl BenchReport {
    pub(super) fn new(plan: &Plan, opened: &Opened, rows: Vec<Row>) -> Self {
        Self {
            recipe: plan.recipe.path.display().to_string(),
            device: format!("{}: {}", opened.choice, opened.about),
            version: env!("CARGO_PKG_VERSION"),
            dtype: plan.recipe.train.dtype.word(),
            batch: plan.recipe.train.per_device_batch_size,
            accumulation: plan.recipe.train.gradient_accumulation_steps,
            recompute: plan.recompute,
            tuned: plan.counts.iter().map(|part| part.tuned).sum(),
            rows,
        }
    }

    /// The parts of a step in milliseconds, one line a row.
    pub fn profile(&self) -> String {
        let head = ["data", "vision", "merge", "connector", "llm", "head", "backward", "optimizer"];
        let first = head.map(|name| format!("{name:>11}")).concat();
        let lines = self.rows.iter().map(|row| {
            let p = &row.parts;
            let cells = [
                p.data_s,
                p.vision_s,
                p.merge_s,
                p.connector_s,
                p.llm_s,
                p.head_s,
                p.backward_s,
                p.optimizer_s,
            ];
            let cells = cells.map(|seconds| format!("{:>8.2} ms", 1e3 * seconds)).concat();
            format!("{:>6}{cells}", row.frames)
        });
        let lines: Vec<String> = lines.collect();
        format!("frames{first}\n{}", lines.join("\n"))
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = if self.recompute { ", layers run again" } else { "" };
        writeln!(
            f,
            "xcomp {} on {}: {}, {} activations, batch {} x {}{again}",
            self.version, self.device, self.recipe, self.dtype, self.batch, self.accumulation
        )?;
        writeln!(
            f,
            "{:>6} {:>7} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>22} {:>8} {:>8} {:>9} {:>6} {:>7}",
            "frames",
            "tower",
            "compressed",
            "data",
            "vision",
            "forward",
            "backward",
            "optimizer",
            "step (min, max) ms",
            "smp/s",
            "fr/s",
            "tokens/s",
            "mfu",
            "GiB"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |seconds: f64| 1e3 * seconds;
        let step = format!(
            "{:.1} ({:.1}, {:.1})",
            ms(self.step_s.median),
            ms(self.step_s.min),
            ms(self.step_s.max)
        );
        write!(
            f,
            "{:>6} {:>7} {:>10} {:>9.2} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {step:>22} {:>8.2} {:>8.1} {:>9.0} {:>6} {:>7.2}",
            self.frames,
            if self.cached { "cached" } else { "run" },
            if self.compressed { "yes" } else { "no" },
            ms(self.parts.data_s),
            ms(self.parts.vision_s + self.parts.merge_s),
            ms(self.forward_s),
            ms(self.parts.backward_s),
            ms(self.parts.optimizer_s),
            self.samples_per_sec,
            self.frames_per_sec,
            self.tokens_per_sec,
            self.mfu_pct.map_or("-".into(), |mfu| format!("{mfu:.1} %")),
            self.device_gib.unwrap_or(self.peak_gib)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_a_number_that_was_measured_in_its_middle() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 9.0]);
        assert_eq!(spread, Spread { min: 1.0, median: 2.0, max: 9.0 });
    }
}
