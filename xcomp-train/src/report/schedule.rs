//! `xcomp schedule`: tokens of every layer under a budget, from what single drops cost the model of a run.
//!
//! A single drop to `n` tokens on entry to layer `l` is measured for every `l` and `n`; drops that follow each other are taken to pay
//! what each adds (`xcomp_model::compress::schedule::optimal`). Of all falling schedules within the budget the one that should raise
//! the loss least is found exactly. Whether the surrogate holds is measured, too: losses of that schedule, of the cosine of the same
//! budget, and of other schedules, best for drawn sensitivities.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use xcomp_model::compress::schedule::optimal::Paths;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::decoder::qwen2::DecoderLayer;

use super::Subject;
use super::sensitivity::{Cuts, Sensitivity, Whole};
use crate::error::Error;
use crate::machine::random::Random;
use crate::plan::vst::require_whole;
use crate::plan::{Plan, keep_rule};
use crate::recipe::tables::CompressionTable;
use crate::recipe::{Recipe, answer_compression};
use crate::show::numbers::{decimal, scaled};
use crate::show::table::Table;

/// Draws for each schedule that is wanted: many come out alike.
const TRIES: usize = 32;

/// What a schedule may cost, of a sample of the mixture's mean size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Tokens of a frame, in the mean over the layers.
    Tokens(f64),
    /// FLOPs of the decoder layers' forward.
    Flops(f64),
    /// Bytes of keys and values, in the dtype of the run's activations.
    KvBytes(f64),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// What it may cost.
    pub budget: Budget,
    /// Tokens of a frame in the last layer.
    pub end: usize,
    /// Samples that are looked at.
    pub samples: usize,
    /// Drawn schedules that are measured beside it.
    pub drawn: usize,
}

/// A schedule with what is thought and known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// `found`, `cosine`, or `drawn` with its number.
    pub name: String,
    /// Tokens of a frame in every layer.
    pub tokens: Vec<usize>,
    /// What it costs of the budget.
    pub cost: f64,
    /// What the surrogate says it raises the loss by.
    pub predicted: f64,
    /// What it raises the loss by.
    pub measured: f64,
}

/// A schedule under a budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// The run whose weights were looked at.
    pub run: PathBuf,
    /// The budget.
    pub budget: Budget,
    /// Samples that were looked at.
    pub samples: usize,
    /// What single drops cost.
    pub sensitivity: Sensitivity,
    /// The schedule, the cosine beside it, and the drawn ones.
    pub candidates: Vec<Candidate>,
    /// Rank correlation (Spearman) of predicted and measured rises over all candidates; none where all are alike.
    pub rank_correlation: Option<f64>,
    /// Samples that could not be used, and why.
    pub left_out: Vec<String>,
}

impl Subject {
    /// Finds the schedule.
    ///
    /// # Errors
    /// If no schedule is within the budget, the model reads samples in windows, or no sample can be used.
    pub fn schedule(&self, wanted: &Wanted) -> Result<Found, Error> {
        let (plan, model) = (&self.plan, &self.state.model);
        require_whole(plan, "a search for a schedule")?;
        let (tokens, layers) = (plan.compression.tokens_per_frame(), plan.compression.layers());
        let keep = keep_rule(&plan.recipe.compression);
        let mut cuts = Cuts::new(model, tokens, layers, keep);
        let left_out = self.look(wanted.samples, |sample| cuts.add(&sample))?;
        let none = || Error::BrokenSamples { broken: left_out.len(), samples: left_out.len() };
        let sensitivity = cuts.mean().ok_or_else(none)?;
        let costs = Costs::new(plan, wanted.budget, &sensitivity.levels);
        let candidates = costs.candidates(&sensitivity, wanted, keep, plan)?;
        let of = |(_, tokens): &(String, Vec<usize>)| {
            let plan = CompressionPlan::new(
                &Schedule::List(tokens.clone()),
                keep,
                sensitivity.levels[0],
                layers,
            );
            plan.expect("a schedule falls, and one token stays")
        };
        let mut whole = Whole::new(model, candidates.iter().map(of).collect());
        self.look(wanted.samples, |sample| whole.add(&sample))?;
        let paths = costs.paths(&sensitivity);
        let measured = whole.means();
        let candidate = |((name, tokens), loss): ((String, Vec<usize>), f64)| Candidate {
            predicted: paths.predict(&tokens),
            cost: costs.of(&tokens),
            measured: loss - sensitivity.loss,
            name,
            tokens,
        };
        let candidates: Vec<Candidate> =
            candidates.into_iter().zip(measured).map(candidate).collect();
        let pairs: Vec<[f64; 2]> = candidates.iter().map(|c| [c.predicted, c.measured]).collect();
        Ok(Found {
            run: self.run.clone(),
            budget: wanted.budget,
            samples: wanted.samples.min(self.data.mixture.len()) - left_out.len(),
            rank_correlation: rank_correlation(&pairs),
            candidates,
            sensitivity,
            left_out,
        })
    }
}

/// What layers cost of a budget.
struct Costs {
    /// `[layer][level]`.
    table: Vec<Vec<f64>>,
    /// Of one layer by its tokens of a frame.
    layer: Box<dyn Fn(usize) -> f64>,
    limit: f64,
}

impl Costs {
    fn new(plan: &Plan, budget: Budget, levels: &[usize]) -> Self {
        let (size, llm) = (plan.samples.mean, plan.config.llm.clone());
        let layers = plan.compression.layers();
        let all = move |tokens: usize| tokens * size.frames + size.text_tokens;
        let (layer, limit): (Box<dyn Fn(usize) -> f64>, f64) = match budget {
            // Whole tokens, as a schedule has them.
            Budget::Tokens(mean) => {
                (Box::new(|tokens| tokens as f64), (mean * layers as f64).round())
            }
            Budget::Flops(flops) => {
                (Box::new(move |tokens| DecoderLayer::flops(&llm, all(tokens)).all()), flops)
            }
            Budget::KvBytes(bytes) => {
                let row = 2 * llm.num_key_value_heads * llm.head_dim();
                let row = row as u64 * plan.running.formats.activation;
                (Box::new(move |tokens| (all(tokens) as u64 * row) as f64), bytes)
            }
        };
        let table = vec![levels.iter().map(|level| layer(*level)).collect(); layers];
        Self { table, layer, limit }
    }

    fn of(&self, tokens: &[usize]) -> f64 {
        tokens.iter().map(|tokens| (self.layer)(*tokens)).sum()
    }

    fn paths<'a>(&'a self, sensitivity: &'a Sensitivity) -> Paths<'a> {
        Paths { levels: &sensitivity.levels, rises: &sensitivity.rises, costs: &self.table }
    }

    /// The best schedule, the cosine, and drawn ones, each within the budget.
    fn candidates(
        &self,
        sensitivity: &Sensitivity,
        wanted: &Wanted,
        keep: KeepRule,
        plan: &Plan,
    ) -> Result<Vec<(String, Vec<usize>)>, Error> {
        let (levels, layers) = (&sensitivity.levels, self.table.len());
        let wrong = |message| Err(Error::Argument(message));
        let Some(end) = levels.iter().position(|level| *level == wanted.end) else {
            let levels: Vec<String> = levels.iter().map(usize::to_string).collect();
            return wrong(format!("--end {}: give one of {}", wanted.end, levels.join(", ")));
        };
        let Some(best) = self.paths(sensitivity).best(self.limit, end) else {
            let least = self.of(&vec![wanted.end; layers]);
            return wrong(format!(
                "no schedule that ends at {} tokens is within the budget of {}: {} are the least",
                wanted.end,
                scaled(self.limit),
                scaled(least)
            ));
        };
        let mut found = vec![("found".to_owned(), best)];
        found.extend(self.cosine(levels[0], keep).map(|tokens| ("cosine".to_owned(), tokens)));
        let mut random = Random::named(plan.recipe.train.seed, "schedules");
        let mut number = 0;
        for _ in 0..TRIES * wanted.drawn {
            let rises = drawn_rises(levels, layers, &mut random);
            let drawn = Paths { levels, rises: &rises, costs: &self.table }.best(self.limit, end);
            let new = drawn.filter(|tokens| found.iter().all(|(_, before)| before != tokens));
            let Some(tokens) = new.filter(|_| number < wanted.drawn) else { continue };
            number += 1;
            found.push((format!("drawn {number}"), tokens));
        }
        Ok(found)
    }

    /// The cosine, made as flat as the budget allows; none where the steepest is too dear.
    fn cosine(&self, tokens: usize, keep: KeepRule) -> Option<Vec<usize>> {
        let layers = self.table.len();
        let of_total = |total: usize| -> Option<Vec<usize>> {
            let mean = Schedule::Budget(total as f64 / layers as f64);
            let plan = CompressionPlan::new(&mean, keep, tokens, layers).ok()?;
            Some(plan.tokens_per_layer().iter().map(|tokens| *tokens as usize).collect())
        };
        let fits =
            |total: &usize| of_total(*total).is_some_and(|tokens| self.of(&tokens) <= self.limit);
        let totals: Vec<usize> = (layers..=layers * tokens).collect();
        let within = totals.partition_point(fits);
        of_total(totals[within.checked_sub(1)?])
    }
}

/// What drops cost made-up layers: more the more is dropped, steeply at first or at the end, and less from layer to layer, so that
/// the whole budget is used.
fn drawn_rises(levels: &[usize], layers: usize, random: &mut Random) -> Vec<Vec<f64>> {
    let (mut height, all) = (1.0, levels[0] as f64);
    let of_layer = |_| {
        height *= random.unit();
        let power = (2.0 * random.unit() - 1.0).exp2();
        levels.iter().map(|level| height * (1.0 - (*level as f64 / all).powf(power))).collect()
    };
    (0..layers).map(of_layer).collect()
}

/// Spearman's: the correlation of ranks, equal values sharing the mean of theirs; none where one side has one value alone.
fn rank_correlation(pairs: &[[f64; 2]]) -> Option<f64> {
    let ranks = |side: usize| -> Vec<f64> {
        let rank = |own: &[f64; 2]| {
            let below = pairs.iter().filter(|pair| pair[side] < own[side]).count();
            let equal =
                pairs.iter().filter(|pair| pair[side].total_cmp(&own[side]).is_eq()).count();
            below as f64 + (equal as f64 - 1.0) / 2.0
        };
        pairs.iter().map(rank).collect()
    };
    let (x, y) = (ranks(0), ranks(1));
    let middle = (pairs.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let spread = (product(&x, &x) * product(&y, &y)).sqrt();
    (spread > 0.0).then(|| product(&x, &y) / spread)
}

impl Found {
    /// The schedule itself.
    ///
    /// # Panics
    /// Never: it is there.
    pub fn tokens(&self) -> &[usize] {
        &self.candidates[0].tokens
    }

    /// The recipe of the run with this schedule as a list.
    ///
    /// # Errors
    /// If the run's recipe cannot be read.
    pub fn recipe(&self, lock: &Path) -> Result<String, Error> {
        let mut recipe = Recipe::load(lock, &[])?;
        let own = &recipe.compression;
        let (keep, group_order) = (own.keep.word(), own.group_order);
        let tokens = format!("tokens={:?}", self.tokens());
        let settings = ["schedule=list".into(), tokens, format!("keep={keep}")];
        recipe.compression = CompressionTable { group_order, ..answer_compression(&settings)? };
        let run = self.run.display().to_string();
        Ok(recipe.lock(&[("schedule found from".into(), run)]))
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sensitivity { levels, rises, loss } = &self.sensitivity;
        writeln!(f, "loss {loss:.4} without compression, over {} samples", self.samples)?;
        writeln!(f, "\nrise of the loss by one drop, on entry to each layer, to so many tokens")?;
        let tokens = levels[1..].iter().map(usize::to_string);
        let head = std::iter::once("layer".to_owned()).chain(tokens).collect();
        let row = |(layer, rises): (usize, &Vec<f64>)| {
            let rises = rises[1..].iter().map(|rise| format!("{rise:+.4}"));
            std::iter::once(layer.to_string()).chain(rises).collect::<Vec<_>>()
        };
        write!(f, "{}", Table::wide(head, rises.iter().enumerate().map(row)).text())?;
        let unit = match self.budget {
            Budget::Tokens(_) => "tokens of all layers",
            Budget::Flops(_) => "FLOPs",
            Budget::KvBytes(_) => "bytes of keys and values",
        };
        writeln!(f, "\nschedules, and what they raise the loss by")?;
        let row = |c: &Candidate| {
            let tokens: Vec<String> = c.tokens.iter().map(usize::to_string).collect();
            let cost = if matches!(self.budget, Budget::Tokens(_)) {
                decimal(c.cost)
            } else {
                scaled(c.cost)
            };
            let [predicted, measured] = [c.predicted, c.measured].map(|rise| format!("{rise:+.4}"));
            [c.name.clone(), cost, predicted, measured, tokens.join(" ")]
        };
        let head = ["schedule", unit, "predicted", "measured", "tokens of a frame in each layer"];
        write!(f, "{}", Table::new(head, self.candidates.iter().map(row)).text())?;
        match self.rank_correlation {
            None => writeln!(f, "all of them are alike: nothing to correlate"),
            Some(r) => writeln!(
                f,
                "rank correlation of predicted and measured: {r:.2} over {} schedules",
                self.candidates.len()
            ),
        }?;
        self.left_out.iter().try_for_each(|why| writeln!(f, "left out: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_correlated_as_spearman_does() {
        let of = |y: &[f64]| {
            let pairs: Vec<[f64; 2]> = y.iter().enumerate().map(|(x, y)| [x as f64, *y]).collect();
            rank_correlation(&pairs)
        };
        assert_eq!(of(&[1.0, 10.0, 100.0]), Some(1.0));
        assert_eq!(of(&[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(of(&[5.0, 5.0, 5.0]), None);
        // By hand: ranks 0 1 2 3 and 0 2 1 3, 1 - 6 * 2 / (4 * 15).
        assert!((of(&[1.0, 3.0, 2.0, 4.0]).unwrap() - 0.8).abs() < 1e-12);
        // Two of one value share ranks 1 and 2: 4.5 / sqrt(5 * 4.5).
        let tied = of(&[1.0, 2.0, 2.0, 4.0]).unwrap();
        assert!((tied - 4.5 / (5.0_f64 * 4.5).sqrt()).abs() < 1e-12, "{tied}");
    }
}
