//! The tables of a sweep as data: means with intervals, differences to an arm, and what became of each claim.

use serde::Serialize;

use super::base::BaseReport;
use super::cost::QuestionCost;
use super::outcome::Outcome;
use super::sweep::{Claim, Sweep, TableSpec};
use crate::eval::crossed::{Draw, SeedEstimate, estimate_difference, estimate_seeds};
use crate::eval::interval::{LEVEL, holm};
use crate::eval::statistics::Verdict;

/// The report of a sweep as data, in its folder.
pub const REPORT: &str = "table.json";

/// Means of tokens that differ by less than this share count as equal.
const SAME_TOKENS: f64 = 0.05;

/// Everything a sweep found.
#[derive(Debug, Clone, Serialize)]
pub struct SweepReport {
    /// The sweep's file.
    pub sweep: String,
    /// Where, when and on what.
    pub facts: Vec<(String, String)>,
    /// What the base knows.
    pub base: Option<BaseReport>,
    /// Every table.
    pub tables: Vec<Table>,
}

/// Arms beside each other.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// What is shown.
    pub title: String,
    /// What the others are compared with.
    pub reference: String,
    /// One row for each arm.
    pub rows: Vec<Row>,
    /// Names of the tasks, in the order of the rows' shares.
    pub tasks: Vec<String>,
    /// What became of the claims.
    pub claims: Vec<Claimed>,
    /// Whether the arms use as many tokens as each other, where they are meant to.
    pub same_tokens: Option<bool>,
}

/// One arm.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub arm: String,
    /// Tokens of a frame in the mean over the layers.
    pub mean_tokens: f64,
    /// Frames that stand in the prompt, if that is said.
    pub frames: Option<usize>,
    /// What a question costs, where that is known.
    pub cost: Option<QuestionCost>,
    /// What the ideal observer would score behind the same frames, where that is known.
    pub ceiling: Option<f64>,
    /// The same for each task.
    pub task_ceilings: Vec<Option<f64>>,
    /// Share of right answers; none if no run of it is finished.
    pub accuracy: Option<SeedEstimate>,
    /// The same for each task.
    pub tasks: Vec<Option<f64>>,
    /// Less that of the reference, question by question.
    pub difference: Option<SeedEstimate>,
    /// What the difference says.
    pub verdict: Option<Verdict>,
    /// Bases and seeds whose runs are not finished.
    pub missing: Vec<Draw>,
}

impl Row {
    /// Visual tokens of a video in the mean over the layers; of a frame where frames are not said.
    fn visual_tokens(&self) -> f64 {
        self.mean_tokens * self.frames.unwrap_or(1) as f64
    }
}

/// A claim and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Claimed {
    /// The claim in words.
    pub text: String,
    /// The arm that is claimed to be better.
    pub better: String,
    /// Than this one.
    pub than: String,
    /// The tasks that it is about; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// The first less the second.
    pub difference: Option<SeedEstimate>,
    /// The difference's p-value, corrected for the number of claims of its table (Holm).
    pub p_value: Option<f64>,
    /// What became of it.
    pub outcome: ClaimOutcome,
}

impl Claimed {
    /// What is compared, on which tasks.
    pub fn pair(&self) -> String {
        pair_words(&self.better, &self.than, &self.tasks)
    }
}

/// What is compared, on which tasks.
pub fn pair_words(better: &str, than: &str, tasks: &[String]) -> String {
    let of = if tasks.is_empty() { String::new() } else { format!(" on {}", tasks.join("; ")) };
    format!("`{better}` less `{than}`{of}")
}

/// What can become of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimOutcome {
    /// The difference is told from zero, and lies on its side.
    Holds,
    /// It lies on the other side.
    Contradicted,
    /// The difference is not told from zero.
    NotShown,
    /// Runs are missing.
    Open,
}

impl ClaimOutcome {
    /// The outcome in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds at this scale",
            Self::Contradicted => "does not hold at this scale: the opposite is found",
            Self::NotShown => "not shown at this scale: the two are not distinguishable",
            Self::Open => "open: runs are missing",
        }
    }
}

/// The tables of a sweep as it asks for them; one with every arm if it names none.
pub fn specs(sweep: &Sweep) -> Vec<TableSpec> {
    let every = TableSpec {
        title: "All arms".into(),
        arms: sweep.arms.iter().map(|arm| arm.name.clone()).collect(),
        reference: None,
        same_tokens: false,
        claim: vec![],
    };
    if sweep.tables.is_empty() { vec![every] } else { sweep.tables.clone() }
}

/// The tables of a sweep.
pub fn tables(sweep: &Sweep, outcomes: &[Outcome]) -> Vec<Table> {
    specs(sweep).iter().map(|spec| table(spec, &sweep.head.reference, outcomes)).collect()
}

fn table(spec: &TableSpec, usual: &str, outcomes: &[Outcome]) -> Table {
    let find = |name: &str| outcomes.iter().find(|outcome| outcome.arm == name);
    let reference = spec.reference.as_deref().unwrap_or(usual);
    let shown: Vec<&Outcome> = spec.arms.iter().filter_map(|name| find(name)).collect();
    let mut tasks: Vec<String> =
        shown.iter().flat_map(|outcome| outcome.tasks.keys().cloned()).collect();
    tasks.sort();
    tasks.dedup();
    let rows: Vec<Row> =
        shown.iter().map(|outcome| row(outcome, find(reference), &tasks)).collect();
    let same_tokens = spec.same_tokens.then(|| {
        let means = || rows.iter().map(Row::visual_tokens);
        let (low, high) = (means().fold(f64::INFINITY, f64::min), means().fold(0.0, f64::max));
        high - low <= SAME_TOKENS * low
    });
    let claims = judged(spec.claim.iter().map(|claim| claimed(claim, &find)).collect());
    Table {
        title: spec.title.clone(),
        reference: reference.into(),
        rows,
        tasks,
        claims,
        same_tokens,
    }
}

fn row(outcome: &Outcome, reference: Option<&Outcome>, tasks: &[String]) -> Row {
    let other = reference.filter(|reference| reference.arm != outcome.arm);
    let difference = other.and_then(|other| estimate_difference(&other.scores, &outcome.scores));
    let of_task = |task: &String| Some(estimate_seeds(outcome.tasks.get(task)?)?.mean);
    Row {
        arm: outcome.arm.clone(),
        mean_tokens: outcome.mean_tokens,
        frames: outcome.frames,
        cost: outcome.cost,
        ceiling: outcome.ceiling,
        task_ceilings: tasks.iter().map(|task| outcome.task_ceilings.get(task).copied()).collect(),
        accuracy: estimate_seeds(&outcome.scores).map(SeedEstimate::as_share),
        tasks: tasks.iter().map(of_task).collect(),
        verdict: difference.map(|difference| difference.verdict()),
        difference,
        missing: outcome.missing.clone(),
    }
}

fn claimed<'a>(claim: &Claim, find: &impl Fn(&str) -> Option<&'a Outcome>) -> Claimed {
    let scores = |arm: &str| find(arm)?.of_tasks(&claim.tasks);
    let difference = match (scores(&claim.better), scores(&claim.than)) {
        (Some(better), Some(than)) => estimate_difference(&than, &better),
        _ => None,
    };
    let Claim { text, better, than, tasks } = claim.clone();
    Claimed { text, better, than, tasks, difference, p_value: None, outcome: ClaimOutcome::Open }
}

/// Judges the claims of a table together: the chance that any of them is wrongly held is 5 %.
fn judged(mut claims: Vec<Claimed>) -> Vec<Claimed> {
    let known = claims.iter_mut().filter_map(|claim| Some((claim.difference?, claim)));
    let (differences, known): (Vec<SeedEstimate>, Vec<&mut Claimed>) = known.unzip();
    let p_values: Vec<f64> = differences.iter().map(SeedEstimate::p_value).collect();
    for ((claim, difference), p) in known.into_iter().zip(differences).zip(holm(&p_values)) {
        claim.p_value = Some(p);
        claim.outcome = match () {
            () if p >= LEVEL => ClaimOutcome::NotShown,
            () if difference.mean > 0.0 => ClaimOutcome::Holds,
            () => ClaimOutcome::Contradicted,
        };
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::ClaimOutcome::{Contradicted, Holds, NotShown, Open};
    use super::*;
    use crate::eval::crossed::{DrawScores, Scores};

    /// An arm whose seeds answer the same four questions, each about a video of its own.
    fn arm(name: &str, mean_tokens: f64, right: &[[u8; 4]]) -> Outcome {
        let seed = |scores: &[u8; 4]| -> DrawScores {
            let cell = |(at, score): (usize, &u8)| {
                (format!("q{at}"), (format!("v{at}"), f64::from(*score)))
            };
            scores.iter().enumerate().map(cell).collect()
        };
        let scores: Scores = right
            .iter()
            .enumerate()
            .map(|(at, s)| (Draw { base: 0, seed: at as u64 }, seed(s)))
            .collect();
        let tasks = [("count".to_owned(), scores.clone())].into();
        Outcome { arm: name.into(), scores, tasks, mean_tokens, ..Outcome::default() }
    }

    fn spec(claims: &[(&str, &str)]) -> TableSpec {
        let claim = |(better, than): &(&str, &str)| Claim {
            text: format!("{better} beats {than}"),
            better: (*better).into(),
            than: (*than).into(),
            tasks: vec![],
        };
        TableSpec {
            title: "T".into(),
            arms: ["plain", "all", "some"].map(String::from).to_vec(),
            reference: None,
            same_tokens: true,
            claim: claims.iter().map(claim).collect(),
        }
    }

    #[test]
    fn hand_made_answers_are_scored_compared_and_judged() {
        let outcomes = [
            arm("plain", 16.0, &[[0, 0, 0, 0], [0, 0, 0, 0]]),
            arm("all", 8.0, &[[1, 1, 1, 1], [1, 1, 1, 1]]),
            arm("some", 8.2, &[[1, 0, 0, 0], [0, 0, 0, 0]]),
        ];
        let claims = [("all", "plain"), ("plain", "all"), ("some", "plain"), ("all", "absent")];
        let table = table(&spec(&claims), "plain", &outcomes);
        let percent = |at: usize| format!("{:.1}", 100.0 * table.rows[at].accuracy.unwrap().mean);
        assert_eq!([percent(0), percent(1), percent(2)], ["0.0", "100.0", "12.5"]);
        assert_eq!(table.rows[2].tasks, [Some(0.125)]);
        let verdicts: Vec<_> = table.rows.iter().map(|row| row.verdict).collect();
        let none = Some(Verdict::NotDistinguishable);
        assert_eq!(verdicts, [None, Some(Verdict::Better), none]);
        assert!((table.rows[1].difference.unwrap().mean - 1.0).abs() < 1e-12);
        let outcomes: Vec<_> = table.claims.iter().map(|claim| claim.outcome).collect();
        assert_eq!(outcomes, [Holds, Contradicted, NotShown, Open]);
        assert_eq!(table.same_tokens, Some(false), "16 and 8 are not equal");
    }
}
