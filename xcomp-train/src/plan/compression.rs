//! What a `[compression]` table asks of a model: reductions, layer by layer.

use std::path::Path;

use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, RankStage, Schedule, Stage};

use crate::error::Error;
use crate::recipe::tables::{CompressionTable, Keep, ScheduleKind};

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
