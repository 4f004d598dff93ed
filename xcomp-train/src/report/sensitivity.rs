//! What a single drop costs, for every layer and number of tokens: forward passes over samples of a run.

use burn::module::Module;
use serde::Serialize;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::pass::Pass;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::decoder::qwen2::DecoderLayer;
use xcomp_model::vlm::Vlm;

use super::drops::loss;
use crate::train::samples::Sample;

/// Most levels that are measured.
const LEVELS: usize = 16;

/// Losses of a model under drops to `levels` tokens of a frame, all others left out; tables are `[layer][level]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Tokens of a frame, from all of them down to one.
    pub levels: Vec<usize>,
    /// Mean loss over the samples with one drop, on entry to a layer, less that with none.
    pub rises: Vec<Vec<f64>>,
    /// Mean loss with none.
    pub loss: f64,
}

/// Sums of losses while samples go by.
pub(super) struct Cuts {
    model: Vlm,
    levels: Vec<usize>,
    none: CompressionPlan,
    /// The plan of each single drop, with the sum of what it adds to the loss.
    single: Vec<Vec<(CompressionPlan, f64)>>,
    losses: Vec<f64>,
}

impl Cuts {
    /// For a model of `layers` layers that sees `tokens` tokens of a frame, of which `keep` says which stay.
    pub(super) fn new(model: &Vlm, tokens: usize, layers: usize, keep: KeepRule) -> Self {
        let plan = |counts: Vec<usize>| {
            let plan = CompressionPlan::new(&Schedule::List(counts), keep, tokens, layers);
            plan.expect("tokens fall, and one stays")
        };
        let levels = levels(tokens);
        let cut = |layer: usize, level: &usize| {
            let counts = [vec![tokens; layer], vec![*level; layers - layer]].concat();
            (plan(counts), 0.0)
        };
        let of_layer = |layer| levels[1..].iter().map(|level| cut(layer, level)).collect();
        let single = (0..layers).map(of_layer).collect();
        let none = plan(vec![tokens; layers]);
        Self { model: model.valid(), levels, none, single, losses: vec![] }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let Self { model, none, single, losses, .. } = self;
        let prompts = &sample.batch.prompts;
        let (x, layout) = model.embed(prompts, sample.batch.merged.clone());
        let mut below = Pass::start(&model.llm.model, x.clone(), layout.clone(), 0);
        let own = loss(model, prompts, &through(model, below.clone(), none, 0));
        for (layer, cuts) in single.iter_mut().enumerate() {
            for (plan, sum) in cuts {
                let last = through(model, below.clone(), plan, layer);
                *sum += loss(model, prompts, &last) - own;
            }
            below = below.through(&model.llm.model, layer, none, DecoderLayer::forward);
        }
        losses.push(own);
    }

    /// The means; none without a sample.
    pub(super) fn mean(self) -> Option<Sensitivity> {
        let count = (!self.losses.is_empty()).then_some(self.losses.len() as f64)?;
        let of = |cuts: Vec<(CompressionPlan, f64)>| {
            let rises = cuts.into_iter().map(|(_, sum)| sum / count);
            std::iter::once(0.0).chain(rises).collect()
        };
        let loss = self.losses.iter().sum::<f64>() / count;
        Some(Sensitivity {
            levels: self.levels,
            rises: self.single.into_iter().map(of).collect(),
            loss,
        })
    }
}

/// Mean losses of samples under whole schedules.
pub(super) struct Whole {
    model: Vlm,
    plans: Vec<(CompressionPlan, f64)>,
    samples: usize,
}

impl Whole {
    pub(super) fn new(model: &Vlm, plans: Vec<CompressionPlan>) -> Self {
        let plans = plans.into_iter().map(|plan| (plan, 0.0)).collect();
        Self { model: model.valid(), plans, samples: 0 }
    }

    pub(super) fn add(&mut self, sample: &Sample) {
        let prompts = &sample.batch.prompts;
        let (x, layout): (_, Layout) = self.model.embed(prompts, sample.batch.merged.clone());
        let first = Pass::start(&self.model.llm.model, x, layout, 0);
        for (plan, sum) in &mut self.plans {
            *sum += loss(&self.model, prompts, &through(&self.model, first.clone(), plan, 0));
        }
        self.samples += 1;
    }

    pub(super) fn means(self) -> Vec<f64> {
        let count = self.samples.max(1) as f64;
        self.plans.into_iter().map(|(_, sum)| sum / count).collect()
    }
}

/// The layers from `from` on under a plan.
fn through(model: &Vlm, mut pass: Pass, plan: &CompressionPlan, from: usize) -> Pass {
    for layer in from..plan.layers() {
        pass = pass.through(&model.llm.model, layer, plan, DecoderLayer::forward);
    }
    pass
}

/// All numbers of tokens from all down to one; of many the evenly spread ones.
fn levels(tokens: usize) -> Vec<usize> {
    if tokens <= LEVELS {
        return (1..=tokens).rev().collect();
    }
    let at = |step: usize| 1 + ((tokens - 1) * step + (LEVELS - 1) / 2) / (LEVELS - 1);
    (0..LEVELS).rev().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_fall_from_all_tokens_to_one() {
        assert_eq!(levels(4), [4, 3, 2, 1]);
        assert_eq!(levels(16).len(), 16);
        for tokens in [17, 144, 196, 210] {
            let levels = levels(tokens);
            assert_eq!((levels[0], levels[15], levels.len()), (tokens, 1, 16));
            assert!(levels.windows(2).all(|pair| pair[0] > pair[1]), "{levels:?}");
        }
    }
}
