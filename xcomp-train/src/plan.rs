//! Everything that is known before a run: made from the recipe and `config.json`, with no weight loaded.

pub mod report;
mod text;

use std::path::Path;

use xcomp_model::config::ModelConfig;
use xcomp_model::schedule::{CompressionPlan, KeepRule, Schedule, Stage};

use crate::cost::SampleSize;
use crate::cost::flops::{Flops, Work, of_sample};
use crate::cost::memory::{Formats, Memory, checkpoint_bytes, of_step};
use crate::cost::parameters::{PartCount, count};
use crate::error::Error;
use crate::lr::LrSchedule;
use crate::recipe::Recipe;
use crate::recipe::tables::{CompressionTable, FloatWord, Keep, RecomputeWord, ScheduleKind};
use crate::tune::Part;

/// A checked recipe with all that follows from it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The recipe.
    pub recipe: Recipe,
    /// Sizes of the model.
    pub config: ModelConfig,
    /// Tokens of a frame in every layer.
    pub compression: CompressionPlan,
    /// What is tuned.
    pub parts: Vec<Part>,
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
    /// How tensors are held on the device.
    pub formats: Formats,
}

/// How many samples there are, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// Samples of an epoch.
    pub count: usize,
    /// Whether they were counted in the mixture, or are the recipe's expectation.
    pub counted: bool,
    /// The mean sample.
    pub mean: SampleSize,
    /// The largest sample the recipe allows.
    pub worst: SampleSize,
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
        let config = ModelConfig::from_file(Path::new(&recipe.model.config))?;
        let mismatch = |message| Error::Mismatch { path: recipe.path.clone(), message };
        let compression = compression_plan(&recipe.compression, &config, &recipe.path)?;

        let parts: Vec<Part> = recipe
            .tune
            .parts
            .iter()
            .map(|part| part.parse().expect("the recipe checked its parts"))
            .collect();
        for (part, word) in parts.iter().zip(&recipe.tune.parts) {
            if count(&config, std::slice::from_ref(part)).iter().all(|c| c.tuned == 0) {
                let message = format!(
                    "[tune] parts: `{word}` matches no tensor of this model of {} layers{}",
                    config.llm.num_hidden_layers,
                    if *part == Part::Head { ", whose head is tied to the embeddings" } else { "" }
                );
                return Err(mismatch(message));
            }
        }

        let samples = samples(&recipe, &config, counted);
        let steps = steps(&recipe, samples.count).map_err(mismatch)?;
        let mut plan = Self {
            lr: LrSchedule::new(&recipe.schedule, steps),
            counts: count(&config, &parts),
            recompute: recipe.train.recompute == RecomputeWord::Layer,
            formats: formats(&recipe),
            compression,
            config,
            parts,
            samples,
            steps,
            recipe,
        };
        if plan.recipe.train.recompute == RecomputeWord::Auto {
            plan.recompute = !plan.fits();
        }
        Ok(plan)
    }

    /// Samples of one optimizer step.
    pub fn samples_per_step(&self) -> usize {
        samples_per_step(&self.recipe)
    }

    /// FLOPs of a sample of this size.
    pub fn flops(&self, size: SampleSize) -> Flops {
        of_sample(&self.work(), size)
    }

    /// Memory of a step whose micro-batches hold samples of this size.
    pub fn memory(&self, size: SampleSize) -> Memory {
        let batch = vec![size; self.recipe.train.per_device_batch_size];
        of_step(&self.work(), &self.counts, &batch, self.formats)
    }

    /// Bytes on the host beside the device's: frames that wait, and a checkpoint on its way to the disk.
    pub fn host_bytes(&self) -> u64 {
        let saves_meanwhile = (1..self.steps).contains(&self.recipe.checkpoint.save_steps);
        let snapshot = if saves_meanwhile { checkpoint_bytes(&self.counts) } else { 0 };
        (self.recipe.data.prefetch_mib << 20) + snapshot
    }

    /// Tokens of a sample before the first layer.
    pub fn tokens_in(&self, size: SampleSize) -> usize {
        size.frames * self.compression.tokens_per_frame() + size.text_tokens
    }

    fn work(&self) -> Work<'_> {
        Work {
            config: &self.config,
            compression: &self.compression,
            parts: &self.parts,
            recompute: self.recompute,
        }
    }

    /// Whether the largest step fits the memory limit with nothing recomputed.
    fn fits(&self) -> bool {
        let limit_gib = self.recipe.train.memory_limit_gib.unwrap_or(f64::INFINITY);
        self.memory(self.samples.worst).peak() as f64 <= limit_gib * GIB
    }
}

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// The reductions that a `[compression]` table asks of a model; `path` is the file that errors name.
///
/// # Errors
/// If the schedule does not fit the model.
pub fn compression_plan(
    table: &CompressionTable,
    config: &ModelConfig,
    path: &Path,
) -> Result<CompressionPlan, Error> {
    let keep = match table.keep {
        Keep::Suffix => KeepRule::Suffix,
        Keep::Uniform => KeepRule::Uniform,
    };
    let (tokens, layers) = (config.projector.tokens_per_frame, config.llm.num_hidden_layers);
    CompressionPlan::new(&schedule(table), keep, tokens, layers)
        .map_err(|source| Error::Schedule { path: path.into(), source })
}

/// The recipe's words as the model's schedule.
fn schedule(table: &CompressionTable) -> Schedule {
    let stages = || {
        let pairs = table.step_layers.iter().zip(&table.step_strides);
        pairs.map(|(layer, stride)| Stage { layer: *layer, stride: *stride }).collect()
    };
    match table.schedule {
        ScheduleKind::None => Schedule::None,
        ScheduleKind::Cosine => Schedule::Cosine,
        ScheduleKind::Ceil => Schedule::Ceil,
        ScheduleKind::AlgorithmB => Schedule::AlgorithmB,
        ScheduleKind::Step => Schedule::Step(stages()),
        ScheduleKind::Pool => Schedule::Pool(stages()),
        ScheduleKind::Uniform => Schedule::Uniform(table.uniform_tokens.unwrap_or(0)),
        ScheduleKind::List => Schedule::List(table.tokens.clone()),
    }
}

fn samples(recipe: &Recipe, config: &ModelConfig, counted: Option<usize>) -> Samples {
    let data = &recipe.data;
    let mean = SampleSize {
        frames: data.expected_frames,
        text_tokens: data.expected_text_tokens,
        supervised_tokens: data.expected_supervised_tokens,
    };
    let room = recipe.model.model_max_length / config.projector.tokens_per_frame;
    let frames = data.max_frames.min(room.max(1));
    Samples {
        count: counted.unwrap_or(data.expected_samples),
        counted: counted.is_some(),
        mean,
        worst: SampleSize { frames, ..mean },
    }
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

fn formats(recipe: &Recipe) -> Formats {
    let bytes = |dtype| if dtype == FloatWord::F32 { 4 } else { 2 };
    Formats {
        activation: bytes(recipe.train.dtype),
        gradient: bytes(recipe.train.accumulate_dtype),
        keeps_scores: recipe.train.dtype == FloatWord::F32,
        accumulates: recipe.train.gradient_accumulation_steps > 1,
    }
}

#[cfg(test)]
mod tests;
