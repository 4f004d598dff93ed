//! How many samples, frames, tokens and operations each dataset brings, and how evenly ranks share them.

use std::sync::Arc;

use serde::Serialize;

use super::Histogram;
use crate::mixture::annotation::{Media, Record};
use crate::prompt::template::Template;
use crate::prompt::templates::{LabelRule, render_chat};
use crate::sample::load::check_record;
use crate::stream::cost::{CostModel, assign, imbalance, predict_frames};
use crate::stream::{Order, epoch_order};
use crate::{DataError, Mixture, Tokenizer};

/// What is counted, and with what.
#[derive(Debug, Clone)]
pub struct StatsOptions {
    /// Operations of frames and tokens; its frame options choose the frames.
    pub cost: CostModel,
    /// Counts text tokens; without it, words stand for them.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// How turns are written.
    pub template: Template,
    /// Samples of each dataset that are tokenized.
    pub max_tokenized: usize,
    /// Order of the samples, for the imbalance of steps.
    pub order: Order,
    /// Seed of the order.
    pub seed: u64,
    /// Samples of one optimizer step.
    pub step_samples: usize,
    /// Ranks that share a step.
    pub world: usize,
}

/// One dataset.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStats {
    /// Its name.
    pub source: String,
    /// Records in its annotation file.
    pub total: usize,
    /// Samples of the mixture.
    pub samples: usize,
    /// Samples whose record alone says that they cannot be used.
    pub broken: usize,
    /// Pictures that they show.
    pub images: usize,
    /// Videos that they show.
    pub videos: usize,
    /// Frames of a sample.
    pub frames: Histogram,
    /// For how many samples the frames are known from a scan, not assumed.
    pub frames_known: usize,
    /// Text tokens of a sample.
    pub text_tokens: Histogram,
    /// Predicted operations of all its samples.
    pub flops: f64,
}

/// The costliest rank of a step over the average rank, 1 being perfect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Imbalance {
    /// Averaged over the steps of an epoch.
    pub mean: f64,
    /// Of the worst step.
    pub max: f64,
}

/// What a mixture holds.
#[derive(Debug, Clone, Serialize)]
pub struct StatsReport {
    /// SHA-256 of the mixture.
    pub hash: String,
    /// Samples of an epoch.
    pub samples: usize,
    /// Pictures that they show.
    pub images: usize,
    /// Videos that they show.
    pub videos: usize,
    /// Predicted operations of an epoch.
    pub flops: f64,
    /// Steps when ranks take samples in turn.
    pub in_turn: Imbalance,
    /// Steps when samples are assigned by predicted cost.
    pub by_cost: Imbalance,
    /// Dataset after dataset, in the order of the mixture.
    pub sources: Vec<SourceStats>,
    /// What is odd about the mixture, and how many records it leaves out.
    pub notes: Vec<String>,
}

/// Counts a mixture.
///
/// # Errors
/// When the tokenizer fails.
pub fn stats(mixture: &Mixture, options: &StatsOptions) -> Result<StatsReport, DataError> {
    let predicted = predict_frames(mixture, &options.cost.frames);
    let costs: Vec<f64> = mixture
        .records()
        .iter()
        .zip(&predicted)
        .map(|(record, frames)| options.cost.of(frames.count, record.words))
        .collect();
    let mut sources: Vec<SourceStats> = Vec::new();
    let mut start = 0;
    // Samples lie dataset after dataset; two entries may share a name.
    let usable = |record: &&Record| check_record(record, mixture.visuals()).is_ok();
    for run in mixture.records().chunk_by(|a, b| Arc::ptr_eq(&a.dataset, &b.dataset)) {
        let range = start..start + run.len();
        start = range.end;
        let frames = &predicted[range.clone()];
        let shown = |kind| {
            run.iter().flat_map(|record| &record.media).filter(|file| file.kind == kind).count()
        };
        sources.push(SourceStats {
            source: run[0].source().to_string(),
            total: run[0].dataset.total,
            samples: run.len(),
            broken: run.iter().filter(|record| !usable(record)).count(),
            images: shown(Media::Image),
            videos: shown(Media::Video),
            frames: Histogram::of(frames.iter().map(|frames| frames.count).collect()),
            frames_known: frames.iter().filter(|frames| frames.known).count(),
            text_tokens: Histogram::of(text_tokens(run, options)?),
            flops: costs[range].iter().sum(),
        });
    }
    let &StatsOptions { order, seed, step_samples, world, .. } = options;
    let steps = StepOrder { order, seed, step_samples, world };
    let (in_turn, by_cost) = imbalances(mixture, &costs, &steps);
    Ok(StatsReport {
        hash: mixture.hash().to_owned(),
        samples: mixture.len(),
        images: sources.iter().map(|source| source.images).sum(),
        videos: sources.iter().map(|source| source.videos).sum(),
        flops: costs.iter().sum(),
        in_turn,
        by_cost,
        sources,
        notes: mixture.notes().to_vec(),
    })
}

/// Tokens of the conversations of evenly spread samples.
fn text_tokens(run: &[Record], options: &StatsOptions) -> Result<Vec<usize>, DataError> {
    let Some(tokenizer) = &options.tokenizer else {
        return Ok(run.iter().map(|record| record.words).collect());
    };
    let step = run.len().div_ceil(options.max_tokenized.max(1));
    let tokens = run.iter().step_by(step).map(|record| {
        render_chat(&options.template, tokenizer, &record.turns, &[], LabelRule::Reference)
            .map(|prompt| prompt.input_ids.len())
    });
    tokens.collect()
}

/// Which samples make a step, and how many ranks or lanes share it.
#[derive(Debug, Clone, Copy)]
pub struct StepOrder {
    /// Order of the samples.
    pub order: Order,
    /// Seed of the order.
    pub seed: u64,
    /// Samples of one optimizer step.
    pub step_samples: usize,
    /// Who share it.
    pub world: usize,
}

/// Steps of the first epoch, samples taken in turn and assigned by cost.
pub fn imbalances(mixture: &Mixture, costs: &[f64], options: &StepOrder) -> (Imbalance, Imbalance) {
    if options.world < 2 || !options.step_samples.is_multiple_of(options.world) {
        return (Imbalance { mean: 1.0, max: 1.0 }, Imbalance { mean: 1.0, max: 1.0 });
    }
    let order = epoch_order(mixture, options.order, options.seed, 0);
    let steps = order.chunks_exact(options.step_samples).map(|step| {
        let costs: Vec<f64> = step.iter().map(|&index| costs[index as usize]).collect();
        let turns: Vec<Vec<usize>> = (0..options.world)
            .map(|rank| (rank..costs.len()).step_by(options.world).collect())
            .collect();
        (imbalance(&costs, &turns), imbalance(&costs, &assign(&costs, options.world)))
    });
    let (in_turn, by_cost): (Vec<f64>, Vec<f64>) = steps.unzip();
    (Imbalance::of(&in_turn), Imbalance::of(&by_cost))
}

impl Imbalance {
    fn of(steps: &[f64]) -> Self {
        let mean = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
        Self { mean, max: steps.iter().copied().fold(0.0, f64::max) }
    }
}
