//! What the runs of a sweep came to, read from their folders.

use std::collections::BTreeMap;

use super::ceiling::{by_task, of_records};
use super::cost::QuestionCost;
use super::runs::{Asked, Runs};
use super::sweep::{Arm, Sweep};
use crate::error::Error;
use crate::eval::crossed::{Draw, DrawScores, Scores};
use crate::eval::responses::Record;
use crate::eval::results::{RESULTS, read_results};
use crate::run::metrics::{self, METRICS};

/// What is known of one arm.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Its name.
    pub arm: String,
    /// Scores of the examination of the table.
    pub scores: Scores,
    /// Scores by task.
    pub tasks: BTreeMap<String, Scores>,
    /// Scores by number of frames.
    pub by_frames: BTreeMap<usize, Scores>,
    /// Tokens of a frame in the mean over the layers.
    pub mean_tokens: f64,
    /// Frames that stand in the prompt, if that is said.
    pub frames: Option<usize>,
    /// Tokens of a frame in each layer.
    pub tokens_per_layer: Vec<f64>,
    /// The curve that it belongs to where accuracy is drawn over cost.
    pub curve: Option<String>,
    /// What a question of the table costs, where that is known.
    pub cost: Option<QuestionCost>,
    /// The best share of right answers behind the frames of the table, where that is known: what the ideal observer would score.
    pub ceiling: Option<f64>,
    /// The same by task.
    pub task_ceilings: BTreeMap<String, f64>,
    /// The same by number of frames.
    pub ceilings: BTreeMap<usize, f64>,
    /// Step and loss of the first seed's training.
    pub losses: Vec<(f64, f64)>,
    /// Bases and seeds whose runs are not finished.
    pub missing: Vec<Draw>,
}

/// Outcomes in the order of the arms.
///
/// # Errors
/// If a results file cannot be read.
pub fn outcomes(sweep: &Sweep, runs: &Runs) -> Result<Vec<Outcome>, Error> {
    sweep.arms.iter().map(|arm| outcome(sweep, arm, runs)).collect()
}

fn outcome(sweep: &Sweep, arm: &Arm, runs: &Runs) -> Result<Outcome, Error> {
    let (name, curve) = (arm.name.clone(), arm.curve.clone());
    let mut outcome = Outcome { arm: name, curve, ..Outcome::default() };
    for cell in runs.cells.iter().filter(|cell| cell.arm == arm.name) {
        let (training, draw) = (&runs.trainings[cell.training], cell.draw);
        outcome.mean_tokens = cell.tokens.iter().sum::<f64>() / cell.tokens.len() as f64;
        outcome.tokens_per_layer.clone_from(&cell.tokens);
        outcome.frames = cell.frames;
        outcome.cost = cell.exams[0].cost;
        if !cell.exams.iter().all(|exam| exam.folder.join(RESULTS).is_file()) {
            outcome.missing.push(draw);
            continue;
        }
        for (at, Asked { frames, folder, .. }) in cell.exams.iter().enumerate() {
            let records = read_results(folder)?;
            if at == 0 {
                outcome.add(draw, &records);
            }
            let Some(frames) = *frames else { continue };
            let of_frames = outcome.by_frames.entry(frames).or_default();
            of_frames.insert(draw, seed_scores(records.iter()));
            if let Some(best) = by_task(sweep, training.config(), frames)? {
                outcome.limit((at == 0, frames), &records, best);
            }
        }
        let metrics = training.folder.join(METRICS);
        if outcome.losses.is_empty() && metrics.is_file() {
            let records = metrics::read(&metrics)?.told().into_values();
            outcome.losses = records.map(|r| (r.step as f64, r.loss)).collect();
        }
    }
    Ok(outcome)
}

impl Outcome {
    /// Scores of these tasks alone; of all if none is named, and none if one has not been asked.
    pub fn of_tasks(&self, tasks: &[String]) -> Option<Scores> {
        if tasks.is_empty() {
            return Some(self.scores.clone());
        }
        let mut scores = Scores::new();
        for task in tasks {
            for (draw, of) in self.tasks.get(task)? {
                scores.entry(*draw).or_default().extend(of.clone());
            }
        }
        Some(scores)
    }

    /// Notes what the ideal observer would score by task.
    fn limit(
        &mut self,
        (of_table, frames): (bool, usize),
        records: &[Record],
        by_task: BTreeMap<String, f64>,
    ) {
        let Some(all) = of_records(records, &by_task) else { return };
        self.ceilings.insert(frames, all);
        if of_table {
            (self.ceiling, self.task_ceilings) = (Some(all), by_task);
        }
    }

    /// Adds the answers of a training to the examination of the table.
    pub fn add(&mut self, draw: Draw, records: &[Record]) {
        self.scores.insert(draw, seed_scores(records.iter()));
        let mut tasks: Vec<&String> = records.iter().flat_map(|record| &record.tasks).collect();
        tasks.sort();
        tasks.dedup();
        for task in tasks {
            let own = records.iter().filter(|record| record.tasks.contains(task));
            self.tasks.entry(task.clone()).or_default().insert(draw, seed_scores(own));
        }
    }
}

/// Questions that count, by what was asked about which video.
pub fn seed_scores<'a>(records: impl Iterator<Item = &'a Record>) -> DrawScores {
    let scored = records.filter_map(|record| {
        let question = format!("{}\n{}", record.video, record.input);
        Some((question, (record.video.clone(), record.score?)))
    });
    scored.collect()
}
