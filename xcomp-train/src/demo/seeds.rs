//! The demo with several training seeds: how far apart its answers and losses are.
//!
//! A seed orders the samples; world, base model and questions are the same in all runs.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::run::{Material, Report};
use crate::error::Error;
use crate::machine::device::Choice;

/// One number of all runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// Its mean.
    pub mean: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// The share of right answers to one kind of question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answers {
    /// The kind; the last is `all`.
    pub kind: String,
    /// What guessing gives.
    pub chance: f64,
    /// Right answers over those asked.
    pub right: Range,
}

/// What several seeds come to.
#[derive(Debug, Clone, Serialize)]
pub struct Spread {
    /// The training seeds; the run of each is in the folder `run-seed-SEED`.
    pub seeds: Vec<u64>,
    /// Answers of the tuned models.
    pub answers: Vec<Answers>,
    /// Mean loss of the steps up to the first record.
    pub loss_first: Range,
    /// Mean loss of the steps up to the last record.
    pub loss_last: Range,
    /// Each run; features that the first one kept serve the others.
    pub runs: Vec<Report>,
}

/// Runs the demo's training with `count` seeds, from that of its recipe on, on one world inside `folder`, with keys of its recipe overridden.
///
/// # Errors
/// If a run fails.
pub fn run(folder: &Path, count: u64, set: &[String], device: Choice) -> Result<Spread, Error> {
    let material = Material::make(folder)?;
    let first = material.recipe(set)?.train.seed;
    let seeds: Vec<u64> = (first..first + count).collect();
    let tune = |seed: &u64| {
        let set = [set, &[format!("train.seed={seed}")]].concat();
        material.tune(&format!("run-seed-{seed}"), &set, device)
    };
    let runs = seeds.iter().map(tune).collect::<Result<Vec<_>, _>>()?;
    Ok(Spread::new(seeds, runs))
}

impl Spread {
    /// Puts the runs of these seeds together; there is at least one.
    fn new(seeds: Vec<u64>, runs: Vec<Report>) -> Self {
        let range = |number: &dyn Fn(&Report) -> f64| {
            let numbers: Vec<f64> = runs.iter().map(number).collect();
            Range {
                mean: numbers.iter().sum::<f64>() / numbers.len() as f64,
                low: numbers.iter().copied().fold(f64::INFINITY, f64::min),
                high: numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            }
        };
        let rows = runs[0].rows.iter().enumerate();
        let answers = rows.map(|(at, row)| Answers {
            kind: row.kind.clone(),
            chance: row.chance,
            right: range(&|run| run.rows[at].after.accuracy()),
        });
        let answers = answers.collect();
        let (loss_first, loss_last) = (range(&|run| run.loss_first), range(&|run| run.loss_last));
        Self { seeds, answers, loss_first, loss_last, runs }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        writeln!(f, "held-out questions     chance     mean   lowest  highest")?;
        for Answers { kind, chance, right } in &self.answers {
            let [chance, mean] = [*chance, right.mean].map(percent);
            let [low, high] = [right.low, right.high].map(percent);
            writeln!(f, "{kind:<20} {chance:>8} {mean:>8} {low:>8} {high:>8}")?;
        }
        for (when, Range { mean, low, high }) in
            [("first", self.loss_first), ("last", self.loss_last)]
        {
            writeln!(f, "{when} loss: mean {mean:.3}, {low:.3} to {high:.3}")?;
        }
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        write!(f, "training seeds {} on one world and one base model", seeds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::quiz::Score;
    use super::super::run::Row;
    use super::*;

    #[test]
    fn the_spread_is_that_of_all_runs() {
        let run = |right: usize, loss: f64| Report {
            rows: vec![Row {
                kind: "all".into(),
                chance: 0.25,
                before: Score::default(),
                after: Score { right, asked: 10 },
            }],
            loss_first: 3.0,
            loss_last: loss,
            ..Report::default()
        };
        let spread = Spread::new(vec![42, 43], vec![run(8, 0.1), run(9, 0.3)]);
        insta::assert_snapshot!(spread.to_string(), @r"
        held-out questions     chance     mean   lowest  highest
        all                    25.0 %   85.0 %   80.0 %   90.0 %
        first loss: mean 3.000, 3.000 to 3.000
        last loss: mean 0.200, 0.100 to 0.300
        training seeds 42, 43 on one world and one base model
        ");
    }
}
