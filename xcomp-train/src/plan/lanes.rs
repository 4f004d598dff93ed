//! How evenly the lanes of a step share its cost, and what each sample is predicted to cost.

use std::fmt;

use serde::Serialize;
use xcomp_data::report::{Imbalance, StepOrder, imbalances};
use xcomp_data::stream::cost::CostModel;
use xcomp_data::{Mixture, Order};

use super::Plan;
use crate::error::Error;
use crate::plan::cost::SampleSize;
use crate::plan::survey::{frame_options, present_mixture};
use crate::recipe::Recipe;
use crate::recipe::tables::Order as OrderWord;

/// Steps of the first epoch, shared by so many lanes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lanes {
    /// Lanes.
    pub lanes: usize,
    /// The costliest lane over the mean, samples taken in turn.
    pub in_turn: Imbalance,
    /// The same with `train.balance`.
    pub by_cost: Imbalance,
}

impl Lanes {
    /// The plan's steps in so many lanes; `None` where the mixture is not there, or does not fill a step.
    ///
    /// # Errors
    /// If the mixture is there and cannot be used.
    pub fn of(plan: &Plan, lanes: usize) -> Result<Option<Self>, Error> {
        let per_step = plan.samples_per_step();
        let Some(mixture) = present_mixture(&plan.recipe)? else { return Ok(None) };
        if mixture.len() < per_step || !per_step.is_multiple_of(lanes) {
            return Ok(None);
        }
        let order = StepOrder {
            order: order(&plan.recipe),
            seed: plan.recipe.train.seed,
            step_samples: per_step,
            world: lanes,
        };
        let costs = cost_model(plan).predict(&mixture);
        let (in_turn, by_cost) = imbalances(&mixture, &costs, &order);
        Ok(Some(Self { lanes, in_turn, by_cost }))
    }
}

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, in_turn, by_cost } = self;
        writeln!(
            f,
            "lanes        {lanes}: the costliest of a step takes {:.2} times the mean in turn ({:.2} at most), {:.2} with [train] balance ({:.2} at most), by predicted cost",
            in_turn.mean, in_turn.max, by_cost.mean, by_cost.max
        )
    }
}

/// Predicted FLOPs of every sample of a mixture, where the recipe assigns samples to lanes by them: the same on every rank.
pub fn predicted(plan: &Plan, mixture: &Mixture) -> Option<Vec<f64>> {
    plan.recipe.train.balance.then(|| cost_model(plan).predict(mixture))
}

/// The order of samples within an epoch.
pub fn order(recipe: &Recipe) -> Order {
    let train = &recipe.train;
    match recipe.data.order {
        OrderWord::Grouped => {
            Order::Blocks(train.per_device_batch_size * train.gradient_accumulation_steps)
        }
        OrderWord::Shuffled => Order::Shuffled,
        OrderWord::Listed => Order::Sequential,
    }
}

/// The plan's FLOPs as a formula over frames and tokens, with a constant mean of tokens per frame over the layers.
pub fn cost_model(plan: &Plan) -> CostModel {
    let flops = |frames: usize, text_tokens: usize| {
        plan.flops(SampleSize { frames, text_tokens, supervised_tokens: 0 })
    };
    let clip = plan.recipe.data.clip_frames;
    let (frame, token) = (flops(clip, 0), flops(0, 1));
    let per_token = token.llm_forward_matmul + token.llm_backward_matmul;
    let pairs = flops(0, 1000);
    CostModel {
        per_frame: (frame.vision + frame.merge + frame.projector) / clip as f64,
        per_token,
        per_token_pair: (pairs.llm_forward_attention + pairs.llm_backward_attention) / 1e6,
        tokens_per_frame: plan.compression.mean_tokens(),
        frames: frame_options(&plan.recipe, &plan.config),
    }
}
