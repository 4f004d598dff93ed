//! A plan as plain data: what `--format json` prints and `plan.json` holds.

use serde::Serialize;
use xcomp_model::compress::schedule::CompressionPlan;

use super::Plan;
use crate::plan::choice::Choice;
use crate::plan::cost::SampleSize;
use crate::plan::cost::flops::Flops;
use crate::plan::cost::layers::LayerCost;
use crate::plan::cost::memory::Memory;
use crate::plan::cost::parameters::PartCount;
use crate::plan::groups::Groups;
use crate::plan::lanes::Lanes;
use crate::plan::padding::Padding;
use crate::plan::ranks::Ranks;
use crate::plan::tuning::Adapters;
use crate::plan::vst::WindowsReport;
use crate::recipe::tables::{CompressionTable, ScheduleKind};
use crate::show::numbers::bytes;

/// A plan, every number in base units: values, tokens, FLOPs, bytes, seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanReport {
    /// The recipe file.
    pub recipe: String,
    /// The `config.json`.
    pub config: String,
    /// Parameters by part.
    pub parameters: Vec<PartCount>,
    /// Parameters that move.
    pub tuned: u64,
    /// All parameters.
    pub total: u64,
    /// Adapters, where these are tuned in the place of maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Adapters>,
    /// The compression schedule.
    pub schedule: &'static str,
    /// Which tokens survive, in words.
    pub keep: &'static str,
    /// Tokens of a frame inside each layer; where a video is ranked the mean over its frames.
    pub tokens_per_layer: Vec<f64>,
    /// Their mean.
    pub mean_tokens_per_frame: f64,
    /// Budgets of which every sample draws one; what stands beside is of the largest, but for the FLOPs and seconds of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<f64>,
    /// Samples of an epoch.
    pub samples: usize,
    /// Whether they were counted, or are the recipe's expectation.
    pub samples_counted: bool,
    /// Whether the sizes of mean and worst sample are those of the mixture, or the recipe's expectation.
    pub sizes_measured: bool,
    /// Samples of one optimizer step.
    pub samples_per_step: usize,
    /// How samples are read in windows; none where they are read whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<WindowsReport>,
    /// What padding adds to forwards of several samples; none where they have one, or the mixture is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<Padding>,
    /// Optimizer steps.
    pub steps: usize,
    /// Of which warm up.
    pub warmup_steps: usize,
    /// The mean sample.
    pub mean: SampleCost,
    /// The largest sample.
    pub worst: SampleCost,
    /// Model FLOPs of the run.
    pub run_flops: f64,
    /// FLOPs of the run that the device does.
    pub run_hardware_flops: f64,
    /// Whether decoder layers are run again on the way back.
    pub recompute: bool,
    /// What became of keys that say "auto"; none where no key does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Clips that go through the tower together.
    pub clips_at_once: usize,
    /// Peak bytes on the device, of the largest step.
    pub memory: Memory,
    /// Their sum.
    pub memory_peak: u64,
    /// Why `train.memory_limit_gib` does not hold it, and what would; nothing where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub does_not_fit: Option<String>,
    /// Bytes on the host beside them: frames that wait, and a tensor on its way to the disk.
    pub host_bytes: u64,
    /// Bytes of one checkpoint.
    pub checkpoint_bytes: u64,
    /// Bytes of an export.
    pub export_bytes: u64,
    /// Bytes on disk of the whole run at its largest: checkpoints, and the export behind the last.
    pub disk_bytes: u64,
    /// Seconds of the run at 40 % of the peak named in the recipe; none without one.
    pub run_s_at_40_percent: Option<f64>,
    /// Frames of a second that the data path must give for that.
    pub frames_per_sec_at_40_percent: Option<f64>,
    /// The run at a rate that was measured; none unless one is named.
    pub measured: Option<Measured>,
    /// How evenly lanes share a step; none where there is one lane, or no mixture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Lanes>,
    /// The run on many ranks; none unless their number is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<Ranks>,
    /// Tuned tensors by learning rate and decay.
    pub groups: Groups,
}

/// A run at a measured rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// Samples of a second.
    pub samples_per_sec: f64,
    /// Seconds of the run.
    pub run_s: f64,
    /// Frames of a second that the data path must give.
    pub frames_per_sec: f64,
}

impl Measured {
    /// A plan at so many samples a second.
    pub fn new(plan: &Plan, samples_per_sec: f64) -> Self {
        let samples = (plan.steps * plan.samples_per_step()) as f64;
        let frames_per_sec = samples_per_sec * plan.samples.mean.frames as f64;
        Self { samples_per_sec, run_s: samples / samples_per_sec, frames_per_sec }
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleCost {
    /// Frames.
    pub frames: usize,
    /// Text tokens.
    pub text_tokens: usize,
    /// Text tokens that carry loss.
    pub supervised_tokens: usize,
    /// Tokens before the first layer.
    pub tokens_in: usize,
    /// Tokens that leave the last layer.
    pub tokens_out: usize,
    /// FLOPs by part.
    pub flops: Flops,
    /// Of which the mathematics needs.
    pub model_flops: f64,
    /// What the device does.
    pub hardware_flops: f64,
    /// Bytes at the peak of a step on such a sample alone, beside what weights and their moments and gradients take.
    pub bytes: u64,
    /// Every decoder layer.
    pub layers: Vec<LayerCost>,
}

impl Plan {
    /// The plan as plain data.
    pub fn report(&self) -> PlanReport {
        let (mean, worst) = (self.cost(self.samples.mean), self.cost(self.samples.worst));
        let used = (self.steps * self.samples_per_step()) as f64;
        let memory = self.memory(self.samples.worst);
        let tuned = self.counts.iter().map(|count| count.tuned).sum();
        let on_disk = self.sizes_on_disk();
        let peak_flops = self.recipe.log.peak_tflops * 1e12;
        let of_run = |count: fn(&Flops) -> f64| {
            self.mean_over_budgets(|plan| count(&plan.flops(plan.samples.mean)))
        };
        let run_flops = used * of_run(Flops::model);
        let seconds = (peak_flops > 0.0).then(|| run_flops / (0.4 * peak_flops));
        PlanReport {
            recipe: self.recipe.path.display().to_string(),
            config: self.recipe.model.config.clone(),
            parameters: self.counts.clone(),
            tuned,
            total: self.counts.iter().map(|count| count.tuned + count.frozen).sum(),
            adapters: self.tuning.adapters(self.running.held.frozen),
            schedule: self.recipe.compression.schedule.word(),
            keep: kept(&self.recipe.compression),
            tokens_per_layer: self.compression.tokens_per_layer().to_vec(),
            mean_tokens_per_frame: self.compression.mean_tokens(),
            budgets: self.elastic.iter().map(CompressionPlan::mean_tokens).collect(),
            samples: self.samples.count,
            samples_counted: self.samples.counted,
            sizes_measured: self.samples.measured,
            samples_per_step: self.samples_per_step(),
            padding: self.padding(),
            steps: self.steps,
            warmup_steps: self.lr.warmup(),
            run_flops,
            run_hardware_flops: used * of_run(Flops::hardware),
            run_s_at_40_percent: seconds,
            frames_per_sec_at_40_percent: seconds
                .map(|seconds| used * mean.frames as f64 / seconds),
            measured: None,
            lanes: None,
            ranks: None,
            groups: Groups::of(self),
            windows: self.vst.as_ref().map(|vst| vst.report(&self.config)),
            mean,
            worst,
            recompute: self.recompute,
            choice: self.choice.clone(),
            clips_at_once: self.running.clips_at_once,
            memory,
            memory_peak: memory.peak(),
            does_not_fit: self.does_not_fit(),
            host_bytes: self.host_bytes(self.samples.worst),
            checkpoint_bytes: on_disk.checkpoint,
            export_bytes: on_disk.export,
            disk_bytes: self.checkpoints_behind(0, 0).bytes(on_disk),
        }
    }

    /// Why the largest step does not fit the memory limit, and what would hold it; nothing where it does or none is given.
    fn does_not_fit(&self) -> Option<String> {
        let limit = self.recipe.train.memory_limit_gib.filter(|_| !self.fits())?;
        let again = Self { recompute: self.may_recompute(), ..self.clone() };
        let least = again.memory(self.samples.worst);
        let found = format!("the worst step does not fit memory_limit_gib = {limit}");
        let how = if again.recompute { " with recompute = \"layer\"" } else { "" };
        if again.fits() {
            return Some(format!("{found}:{how} it takes {}", bytes(least.peak())));
        }
        let weights = least.peak() - least.of_samples() - least.process;
        Some(format!(
            "{found}: a device of {} would hold it{how}; weights, gradients and moments alone take {}, less where fewer parts are tuned",
            bytes(least.peak()),
            bytes(weights)
        ))
    }

    fn cost(&self, size: SampleSize) -> SampleCost {
        let flops = self.flops(size);
        let last = self.compression.layers() - 1;
        SampleCost {
            frames: size.frames,
            text_tokens: size.text_tokens,
            supervised_tokens: size.supervised_tokens,
            tokens_in: self.tokens_in(size),
            tokens_out: self.compression.visual_tokens(last, size.frames) + size.text_tokens,
            flops,
            model_flops: flops.model(),
            hardware_flops: flops.hardware(),
            bytes: self.memory_of(&[size]).of_samples(),
            layers: self.layers(size),
        }
    }
}

/// Which tokens survive, in words.
fn kept(table: &CompressionTable) -> &'static str {
    match table.schedule {
        ScheduleKind::None => "all",
        ScheduleKind::Step => "last of each stride",
        ScheduleKind::Pool => "means",
        ScheduleKind::Rank | ScheduleKind::FastV => "most attended",
        _ => table.keep.word(),
    }
}
