//! Everything that is known before a run: made from the recipe and `config.json`, with no weight loaded.

mod change;
pub mod choice;
mod compression;
pub mod cost;
pub mod cut;
pub mod disk;
pub mod fit;
mod formats;
pub mod groups;
pub mod held;
pub mod lanes;
pub mod lr;
pub mod padding;
pub mod ranks;
pub mod report;
mod samples;
pub mod survey;
pub(crate) mod tapes;
pub mod text;
pub mod tuning;
mod unfit;
pub mod vst;

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::connector::GroupOrder;
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::cost::Kernels;
use xcomp_model::loss::LossNorm;
use xcomp_model::ops::on_cpu;
use xcomp_model::vision::frames::Encoding;

use crate::error::Error;
use crate::plan::choice::{Choice, Left};
use crate::plan::compression::elastic;
pub(crate) use crate::plan::compression::keep_rule;
pub use crate::plan::compression::{at_tokens, compression_plan};
use crate::plan::cost::SampleSize;
use crate::plan::cost::flops::{Flops, Work, of_sample};
use crate::plan::cost::layers::{LayerCost, of_layers};
use crate::plan::cost::memory::{Memory, of_step};
use crate::plan::cost::parameters::{PartCount, count};
use crate::plan::cost::running::Running;
use crate::plan::held::{process, running};
use crate::plan::lr::{LrSchedule, Rate};
pub use crate::plan::samples::Samples;
use crate::plan::survey::Survey;
use crate::plan::tuning::Tuning;
use crate::plan::unfit::unfit;
use crate::plan::vst::Windows;
use crate::recipe::Recipe;
use crate::recipe::tables::{CompressionTable, FloatWord, GroupOrderWord, LossNormWord};
use crate::recipe::tune::Part;
use crate::show::numbers::GIB;

/// A checked recipe with all that follows from it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The recipe.
    pub recipe: Recipe,
    /// Sizes of the model.
    pub config: ModelConfig,
    /// Tokens of a frame in every layer.
    pub compression: CompressionPlan,
    /// One for each budget, where one is drawn for every sample; [`Plan::compression`] is then that of the largest.
    pub elastic: Vec<CompressionPlan>,
    /// How samples are read in windows, if the model has learned tokens for them.
    pub vst: Option<Windows>,
    /// What is tuned.
    pub tuning: Tuning,
    /// Parameters by part.
    pub counts: Vec<PartCount>,
    /// Samples of the data.
    pub samples: Samples,
    /// Optimizer steps.
    pub steps: usize,
    /// The learning rate over them.
    pub lr: LrSchedule,
    /// Whether decoder layers are run again on the way back.
    pub recompute: bool,
    /// How a step runs on the device.
    pub running: Running,
    /// What became of keys that say "auto"; none where no key does.
    pub choice: Option<Choice>,
    /// Those keys.
    pub left: Left,
}

impl Plan {
    /// Plans a run; `counted` is the number of samples of the mixture where its files are there.
    ///
    /// # Errors
    /// If `config.json` cannot be read, or the recipe does not fit the model or the data.
    ///
    /// # Panics
    /// Never on a loaded recipe, whose parts are checked.
    pub fn new(recipe: Recipe, counted: Option<usize>) -> Result<Self, Error> {
        let mut config = model_config(Path::new(&recipe.model.config), &recipe.compression)?;
        let mismatch = |message| Error::Mismatch { path: recipe.path.clone(), message };
        let compression = compression_plan(&recipe.compression, &config, &recipe.path)?;

        let parts: Vec<Part> = recipe
            .tune
            .parts
            .iter()
            .map(|part| part.parse().expect("the recipe checked its parts"))
            .map(|part| recipe.vst.awake(part))
            .collect();
        let tuning = Tuning::of(&recipe.tune, &parts, &config);
        config.lora.clone_from(&tuning.lora);
        if let Some(message) = unfit(&recipe, &config, &tuning) {
            return Err(mismatch(message));
        }

        let samples = Samples::expected(&recipe, &config, counted);
        let steps = steps(&recipe, samples.count).map_err(mismatch)?;
        let lr = LrSchedule::new(&recipe.schedule, steps);
        if let Some(message) = lr.does_not_fit() {
            return Err(mismatch(message));
        }
        let mut plan = Self {
            lr,
            counts: count(&config, &tuning),
            recompute: false,
            running: running(&recipe, &tuning),
            vst: Windows::new(&recipe.vst, &config, recipe.train.seed),
            elastic: elastic(&recipe.compression, &config, &recipe.path)?,
            compression,
            config,
            tuning,
            samples,
            steps,
            choice: None,
            left: Left::of(&recipe),
            recipe,
        };
        plan.choose();
        Ok(plan)
    }

    /// The plan for samples as large as those of the mixture.
    #[must_use]
    pub fn for_mixture(mut self, survey: Option<&Survey>) -> Self {
        let Some(survey) = survey else { return self };
        let allowed = self.samples.worst.frames;
        let frames = if survey.frames_known { survey.largest.frames.min(allowed) } else { allowed };
        self.samples.mean = survey.mean;
        self.samples.worst = SampleSize { frames, ..survey.largest };
        self.samples.measured = true;
        self.samples.padding = survey.padding;
        self.choose();
        self
    }

    /// The plan for a device: the CPU, whose tensors lie on the heap of the process, or another.
    #[must_use]
    pub fn for_device(mut self, device: &Device) -> Self {
        let cpu = on_cpu(device);
        self.running.formats.kernels = match (cpu, self.recipe.train.dtype) {
            (true, FloatWord::F32) => Kernels::Loops,
            (true, _) => Kernels::Scores,
            (false, _) => Kernels::Fused,
        };
        self.running.process = cpu.then(|| process(&self.recipe));
        self.choose();
        self
    }

    /// Samples of one optimizer step.
    pub fn samples_per_step(&self) -> usize {
        samples_per_step(&self.recipe)
    }

    /// FLOPs of a sample of this size.
    pub fn flops(&self, size: SampleSize) -> Flops {
        let whole = of_sample(&self.work(), size);
        match &self.vst {
            None => whole,
            Some(windows) => windows.flops(self, whole, size),
        }
    }

    /// Memory of a step whose micro-batches hold samples of this size.
    pub fn memory(&self, size: SampleSize) -> Memory {
        self.memory_of(&self.batch(size))
    }

    /// A micro-batch of samples of one size.
    pub fn batch(&self, size: SampleSize) -> Vec<SampleSize> {
        vec![size; self.recipe.train.per_device_batch_size]
    }

    /// Memory of a step whose largest micro-batch holds samples of these sizes.
    pub fn memory_of(&self, batch: &[SampleSize]) -> Memory {
        let whole = || of_step(&self.work(), batch, self.running);
        self.vst.as_ref().map_or_else(whole, |windows| windows.memory(self, batch))
    }

    /// The device's peak over such a step; where that is the process's own memory, with what waits on the host.
    pub fn needs(&self, batch: &[SampleSize]) -> u64 {
        let largest = batch.iter().copied().reduce(SampleSize::max).unwrap_or_default();
        let host = if self.running.process.is_some() { self.host_bytes(largest) } else { 0 };
        self.memory_of(batch).peak() + host
    }

    /// What each decoder layer costs for a sample of this size.
    pub fn layers(&self, size: SampleSize) -> Vec<LayerCost> {
        of_layers(&self.work(), size, self.running.formats)
    }

    /// Tokens of a sample before the first layer.
    pub fn tokens_in(&self, size: SampleSize) -> usize {
        size.frames * self.compression.tokens_per_frame() + size.text_tokens
    }

    /// Whether decoder layers can be run again on the way back: a model that reads in windows runs whole windows again.
    pub fn may_recompute(&self) -> bool {
        self.vst.is_none()
    }

    /// Whether the tensor of this name in a checkpoint moves.
    pub fn tunes(&self, name: &str) -> bool {
        self.config.family.place(name).is_some_and(|place| self.tuning.moves(name, place))
    }

    /// How the tower runs: all activations that follow take the dtype of the visual features.
    pub fn encoding(&self) -> Encoding {
        let dtype = match self.recipe.train.dtype {
            FloatWord::F32 => FloatDType::F32,
            FloatWord::Bf16 => FloatDType::BF16,
            FloatWord::F16 => FloatDType::F16,
        };
        Encoding { dtype, clips_at_once: self.running.clips_at_once }
    }

    /// How the samples of a forward stand in it.
    pub fn arrangement(&self) -> Arrangement {
        self.running.arrangement
    }

    /// How the losses of a step are averaged.
    pub fn loss_norm(&self) -> LossNorm {
        match self.recipe.train.loss_norm {
            LossNormWord::Sample => LossNorm::Sample,
            LossNormWord::Token => LossNorm::Token,
        }
    }

    /// Learning rate and decay of a parameter in the update of 0-based `step`.
    pub fn rate(&self, step: usize, name: &str) -> Rate {
        let place = self.config.family.place(name).expect("a parameter has a place");
        let peak = self.peak_rate(place, name);
        Rate { lr: peak.lr * self.lr.factor(step), ..peak }
    }

    fn work(&self) -> Work<'_> {
        Work {
            config: &self.config,
            compression: &self.compression,
            tuning: &self.tuning,
            recompute: self.recompute,
        }
    }

    /// Whether the largest step fits the memory limit.
    fn fits(&self) -> bool {
        let limit_gib = self.recipe.train.memory_limit_gib.unwrap_or(f64::INFINITY);
        self.needs(&self.batch(self.samples.worst)) as f64 <= limit_gib * GIB
    }
}

/// The sizes in a `config.json`, with the order of tokens that a `[compression]` table asks for.
///
/// # Errors
/// If the file cannot be read or describes no model.
pub fn model_config(path: &Path, table: &CompressionTable) -> Result<ModelConfig, Error> {
    let mut config = ModelConfig::from_file(path)?;
    config.connector.set_group_order(match table.group_order {
        GroupOrderWord::Reference => GroupOrder::Reference,
        GroupOrderWord::Frame => GroupOrder::Frame,
    });
    Ok(config)
}

fn samples_per_step(recipe: &Recipe) -> usize {
    recipe.train.per_device_batch_size * recipe.train.gradient_accumulation_steps
}

/// `max_steps`, or whole steps of every epoch as Hugging Face counts them: what does not fill a step is dropped.
fn steps(recipe: &Recipe, samples: usize) -> Result<usize, String> {
    if recipe.train.max_steps > 0 {
        return Ok(recipe.train.max_steps);
    }
    let per_step = samples_per_step(recipe);
    let per_epoch = samples / per_step;
    if per_epoch == 0 {
        return Err(format!(
            "{samples} samples do not fill one optimizer step of {per_step}; lower [train] gradient_accumulation_steps, or set max_steps"
        ));
    }
    Ok((recipe.train.num_train_epochs * per_epoch as f64).ceil() as usize)
}

#[cfg(test)]
mod tests;
