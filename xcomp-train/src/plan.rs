//! Everything that is known before a run: made from the recipe and `config.json`, with no weight loaded.

pub mod cost;
pub mod disk;
pub mod fit;
pub mod groups;
pub mod lr;
pub mod report;
pub mod survey;
pub mod text;

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::connector::GroupOrder;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, RankStage, Schedule, Stage};
use xcomp_model::cost::{Formats, Kernels};
use xcomp_model::loss::LossNorm;
use xcomp_model::ops::on_cpu;
use xcomp_model::vision::frames::Encoding;

use crate::error::Error;
use crate::plan::cost::SampleSize;
use crate::plan::cost::flops::{Flops, Work, of_sample};
use crate::plan::cost::layers::{LayerCost, of_layers};
use crate::plan::cost::memory::{Memory, Process, Running, of_step};
use crate::plan::cost::parameters::tensors;
use crate::plan::cost::parameters::{PartCount, count};
use crate::plan::groups::peak_rate;
use crate::plan::lr::{LrSchedule, Rate};
use crate::plan::survey::Survey;
use crate::recipe::Recipe;
use crate::recipe::tables::{
    CompressionTable, FloatWord, GroupOrderWord, Keep, LossNormWord, RecomputeWord, ScheduleKind,
};
use crate::recipe::tune::{Part, tuned};
use crate::show::numbers::{GIB, bytes};

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
    /// How a step runs on the device.
    pub running: Running,
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
    /// The largest sample of the mixture; where its frames are not known, the largest that the recipe allows.
    pub worst: SampleSize,
    /// Whether these sizes are those of the mixture, or the recipe's expectation.
    pub measured: bool,
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
        let config = model_config(Path::new(&recipe.model.config), &recipe.compression)?;
        let mismatch = |message| Error::Mismatch { path: recipe.path.clone(), message };
        let compression = compression_plan(&recipe.compression, &config, &recipe.path)?;

        let parts: Vec<Part> = recipe
            .tune
            .parts
            .iter()
            .map(|part| part.parse().expect("the recipe checked its parts"))
            .collect();
        let wrong = group_without_tensors(&recipe, &config, &parts);
        if let Some(message) = wrong.or_else(|| other_clips(&recipe, &config)) {
            return Err(mismatch(message));
        }

        let samples = samples(&recipe, &config, counted);
        let steps = steps(&recipe, samples.count).map_err(mismatch)?;
        let lr = LrSchedule::new(&recipe.schedule, steps);
        if let Some(message) = lr.does_not_fit() {
            return Err(mismatch(message));
        }
        let mut plan = Self {
            lr,
            counts: count(&config, &parts),
            recompute: recipe.train.recompute == RecomputeWord::Layer,
            running: running(&recipe),
            compression,
            config,
            parts,
            samples,
            steps,
            recipe,
        };
        plan.choose_recompute();
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
        self.choose_recompute();
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
        self.choose_recompute();
        self
    }

    fn choose_recompute(&mut self) {
        if self.recipe.train.recompute == RecomputeWord::Auto {
            self.recompute = false;
            self.recompute = !self.fits();
        }
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
        self.memory_of(&self.batch(size))
    }

    /// A micro-batch of samples of one size.
    pub fn batch(&self, size: SampleSize) -> Vec<SampleSize> {
        vec![size; self.recipe.train.per_device_batch_size]
    }

    /// Memory of a step whose largest micro-batch holds samples of these sizes.
    pub fn memory_of(&self, batch: &[SampleSize]) -> Memory {
        of_step(&self.work(), batch, self.running)
    }

    /// What each decoder layer costs for a sample of this size.
    pub fn layers(&self, size: SampleSize) -> Vec<LayerCost> {
        of_layers(&self.work(), size, self.running.formats)
    }

    /// Bytes on the host beside the device's: frames of samples of this size that wait, and a tensor on its way to the disk.
    pub fn host_bytes(&self, size: SampleSize) -> u64 {
        let tuned = tensors(&self.config).into_iter().filter(|tensor| self.tunes(&tensor.name));
        let largest = tuned.map(|tensor| tensor.count).max().unwrap_or(0);
        // As it was read, and as it is written.
        let saved = 2 * 4 * largest as u64;
        let data = &self.recipe.data;
        let side = self.config.vision.image_size as u64;
        let sample = (size.frames as u64 * 3 * side * side).max(1);
        let waiting = (data.workers * xcomp_data::stream::WAITING_PER_WORKER) as u64;
        // Whole samples wait, and one always may.
        sample * waiting.min((data.prefetch_mib << 20) / sample).max(1) + saved
    }

    /// Tokens of a sample before the first layer.
    pub fn tokens_in(&self, size: SampleSize) -> usize {
        size.frames * self.compression.tokens_per_frame() + size.text_tokens
    }

    /// Whether the tensor of this name in a checkpoint moves.
    pub fn tunes(&self, name: &str) -> bool {
        self.config.family.place(name).is_some_and(|place| tuned(&self.parts, place))
    }

    /// How the tower runs: all activations that follow take the dtype of the visual features.
    pub fn encoding(&self) -> Encoding {
        let dtype = match self.recipe.train.dtype {
            FloatWord::F32 => FloatDType::F32,
            FloatWord::Bf16 => FloatDType::BF16,
            FloatWord::F16 => FloatDType::F16,
        };
        Encoding { dtype, ..Encoding::default() }
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
        let peak = peak_rate(&self.recipe.optimizer, place, name);
        Rate { lr: peak.lr * self.lr.factor(step), ..peak }
    }

    fn work(&self) -> Work<'_> {
        Work {
            config: &self.config,
            compression: &self.compression,
            parts: &self.parts,
            recompute: self.recompute,
        }
    }

    /// Why the largest step does not fit the memory limit, and what would hold it; nothing where it does or none is given.
    fn does_not_fit(&self) -> Option<String> {
        let limit = self.recipe.train.memory_limit_gib.filter(|_| !self.fits())?;
        let again = Self { recompute: true, ..self.clone() };
        let least = again.memory(self.samples.worst);
        let found = format!("the worst step does not fit memory_limit_gib = {limit}");
        if again.fits() {
            let peak = bytes(least.peak());
            return Some(format!("{found}: with recompute = \"layer\" it takes {peak}"));
        }
        let weights = least.peak() - least.of_samples() - least.process;
        Some(format!(
            "{found}: a device of {} would hold it with recompute = \"layer\"; weights, gradients and moments alone take {}, less where fewer parts are tuned",
            bytes(least.peak()),
            bytes(weights)
        ))
    }

    /// Whether the largest step fits the memory limit with nothing recomputed.
    fn fits(&self) -> bool {
        let limit_gib = self.recipe.train.memory_limit_gib.unwrap_or(f64::INFINITY);
        self.memory(self.samples.worst).peak() as f64 <= limit_gib * GIB
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

/// The reductions that a checked `[compression]` table asks of a model; `path` is the file that errors name.
///
/// # Errors
/// If the schedule does not fit the model.
///
/// # Panics
/// If the keys of the table do not fit its schedule: a loaded recipe is checked.
pub fn compression_plan(
    table: &CompressionTable,
    config: &ModelConfig,
    path: &Path,
) -> Result<CompressionPlan, Error> {
    let keep = match table.keep {
        Keep::Suffix => KeepRule::Suffix,
        Keep::Uniform => KeepRule::Uniform,
    };
    let (tokens, layers) = (config.tokens_per_frame(), config.llm.num_hidden_layers);
    CompressionPlan::new(&schedule(table), keep, tokens, layers)
        .map_err(|source| Error::Schedule { path: path.into(), source })
}

/// The recipe's words as the model's schedule.
fn schedule(table: &CompressionTable) -> Schedule {
    let stages = || {
        let pairs = table.step_layers.iter().zip(&table.step_strides);
        pairs.map(|(layer, stride)| Stage { layer: *layer, stride: *stride }).collect()
    };
    let rank_stages = || {
        let pairs = table.step_layers.iter().zip(&table.step_shares);
        pairs.map(|(layer, share)| RankStage { layer: *layer, share: *share })
    };
    match table.schedule {
        ScheduleKind::None => Schedule::None,
        ScheduleKind::Cosine => Schedule::Cosine,
        ScheduleKind::CosineFullFirst => Schedule::CosineFullFirst,
        ScheduleKind::Ceil => Schedule::Ceil,
        ScheduleKind::AlgorithmB => Schedule::AlgorithmB,
        ScheduleKind::Step => Schedule::Step(stages()),
        ScheduleKind::Pool => Schedule::Pool(stages()),
        ScheduleKind::Rank => Schedule::Rank(rank_stages().collect()),
        ScheduleKind::FastV => Schedule::FastV(rank_stages().next().expect("the table is checked")),
        ScheduleKind::Uniform => Schedule::Uniform(table.uniform_tokens.unwrap_or(0)),
        ScheduleKind::List => Schedule::List(table.tokens.clone()),
    }
}

/// What names no tuned tensor: a part, or a learning rate of one.
fn group_without_tensors(recipe: &Recipe, config: &ModelConfig, parts: &[Part]) -> Option<String> {
    let none = |parts: &[Part]| count(config, parts).iter().all(|count| count.tuned == 0);
    for (part, word) in parts.iter().zip(&recipe.tune.parts) {
        if none(std::slice::from_ref(part)) {
            let tied = *part == Part::Head;
            return Some(format!(
                "[tune] parts: `{word}` matches no tensor of this model of {} layers{}",
                config.llm.num_hidden_layers,
                if tied { ", whose head is tied to the embeddings" } else { "" }
            ));
        }
    }
    let optimizer = &recipe.optimizer;
    let rates = [
        ("mm_projector_lr", optimizer.mm_projector_lr, Part::Projector, "projector"),
        ("mm_vision_tower_lr", optimizer.mm_vision_tower_lr, Part::Vision, "vision"),
    ];
    let idle = |part: &Part| !parts.contains(part);
    let (key, _, _, word) =
        rates.into_iter().find(|(_, rate, part, _)| rate.is_some() && idle(part))?;
    Some(format!(
        "[optimizer] {key}: no tensor of {word} is tuned; add \"{word}\" to [tune] parts, or leave the key out"
    ))
}

/// Clips that the tower has no positions for: it sees those of its own length, or single frames.
fn other_clips(recipe: &Recipe, config: &ModelConfig) -> Option<String> {
    let (asked, own) = (recipe.data.clip_frames, config.vision.clip_frames);
    (own > 1 && asked != own && asked != 1).then(|| {
        format!(
            "[data] clip_frames = {asked}: the tower sees clips of {own} frames, or single ones; set it to {own} or 1, or state other clips in {}",
            recipe.model.config
        )
    })
}

fn samples(recipe: &Recipe, config: &ModelConfig, counted: Option<usize>) -> Samples {
    let data = &recipe.data;
    let mean = SampleSize {
        frames: data.expected_frames,
        text_tokens: data.expected_text_tokens,
        supervised_tokens: data.expected_supervised_tokens,
    };
    let room = recipe.model.model_max_length / config.tokens_per_frame();
    let frames = data.max_frames.min(room.max(1));
    Samples {
        count: counted.unwrap_or(data.expected_samples),
        counted: counted.is_some(),
        mean,
        worst: SampleSize { frames, ..mean },
        measured: false,
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

fn running(recipe: &Recipe) -> Running {
    let bytes = |dtype| if dtype == FloatWord::F32 { 4 } else { 2 };
    // Until a device is named: who trains in f32 trains on a CPU.
    let cpu = recipe.train.dtype == FloatWord::F32;
    let kernels = if cpu { Kernels::Loops } else { Kernels::Fused };
    Running {
        formats: Formats { activation: bytes(recipe.train.dtype), kernels },
        process: cpu.then(|| process(recipe)),
        accumulates: recipe.train.gradient_accumulation_steps > 1,
    }
}

fn process(recipe: &Recipe) -> Process {
    let computing_threads = std::thread::available_parallelism().map_or(1, usize::from);
    Process { computing_threads, decoding_threads: recipe.data.workers }
}

#[cfg(test)]
mod tests;
