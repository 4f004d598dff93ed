//! What a `[compression]` table asks of a model: reductions, layer by layer, for the run or for each of its samples.

use std::borrow::Cow;
use std::path::Path;

use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, RankStage, Schedule, Stage};

use super::Plan;
use crate::error::Error;
use crate::machine::random::Random;
use crate::recipe::tables::{CompressionTable, Keep, ScheduleKind};

impl Plan {
    /// The plan of the sample with this number among all of the run: under `elastic` with the budget that is drawn for it.
    pub fn of_sample(&self, number: u64) -> Cow<'_, Self> {
        if self.elastic.is_empty() {
            return Cow::Borrowed(self);
        }
        let name = format!("budget of sample {number}");
        let drawn = Random::named(self.recipe.train.seed, &name).within(0..self.elastic.len());
        Cow::Owned(self.under(&self.elastic[drawn]))
    }

    /// The same plan under one compression for all samples.
    fn under(&self, compression: &CompressionPlan) -> Self {
        Self { compression: compression.clone(), elastic: vec![], ..self.clone() }
    }

    /// The mean over the budgets that samples draw from; the value itself where none is drawn.
    pub(super) fn mean_over_budgets(&self, value: impl Fn(&Self) -> f64) -> f64 {
        match self.elastic.len() {
            0 => value(self),
            n => self.elastic.iter().map(|own| value(&self.under(own))).sum::<f64>() / n as f64,
        }
    }
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
    let keep = keep_rule(table);
    let (tokens, layers) = (config.tokens_per_frame(), config.llm.num_hidden_layers);
    CompressionPlan::new(&schedule(table), keep, tokens, layers)
        .map_err(|source| Error::Schedule { path: path.into(), source })
}

/// The same table asked for so many tokens of a frame in the mean over the layers (`--tokens`).
#[must_use]
pub fn at_tokens(stated: &CompressionTable, tokens: f64) -> CompressionTable {
    CompressionTable {
        schedule: ScheduleKind::Budget,
        keep: stated.keep,
        budgets: vec![tokens],
        group_order: stated.group_order,
        ..CompressionTable::default()
    }
}

/// Which tokens of a frame a table keeps.
pub(crate) fn keep_rule(table: &CompressionTable) -> KeepRule {
    match table.keep {
        Keep::Suffix => KeepRule::Suffix,
        Keep::Uniform => KeepRule::Uniform,
    }
}

/// The reductions of each budget of an elastic `[compression]` table; none for other schedules.
pub(super) fn elastic(
    table: &CompressionTable,
    config: &ModelConfig,
    path: &Path,
) -> Result<Vec<CompressionPlan>, Error> {
    let drawn = table.budgets.iter().filter(|_| table.schedule == ScheduleKind::Elastic);
    let of = |budget: &f64| {
        let alone = CompressionTable { budgets: vec![*budget], ..table.clone() };
        compression_plan(&alone, config, path)
    };
    drawn.map(of).collect()
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
        ScheduleKind::Budget | ScheduleKind::Elastic => {
            Schedule::Budget(table.budgets.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
    }
}
