//! The base of a sweep: trained once, before any arm, and shown to be above guessing before anything is compared on top of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::blind::blind_accuracy;
use super::execute::{Workers, ask, export_step, work};
use super::material::Material;
use super::outcome::seed_scores;
use super::process::Ended;
use super::runs::{Exam, Training, exam, training};
use super::sweep::Sweep;
use crate::error::Error;
use crate::eval::crossed::{Draw, SeedEstimate, estimate_seeds};
use crate::eval::responses::Record;
use crate::eval::results::{RESULTS, read_results};
use crate::run::launch::EXPORT;
use crate::run::metrics::{self, METRICS};
use crate::show::progress::Progress;
use crate::train::checkpoint::Checkpoints;

/// What the base knows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaseReport {
    /// Its recipe.
    pub recipe: PathBuf,
    /// Every task, and all together.
    pub tasks: Vec<BaseTask>,
    /// Step and share of right answers on the validation questions.
    pub curve: Vec<(f64, f64)>,
    /// Step and loss.
    pub losses: Vec<(f64, f64)>,
}

/// How well the base does one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaseTask {
    /// Its name.
    pub task: String,
    /// What guessing gives.
    pub guess: f64,
    /// What the base gives.
    pub estimate: SeedEstimate,
    /// Whether the whole 95 % interval is above guessing.
    pub clear: bool,
}

/// The base of a sweep as a run.
#[derive(Debug, Clone)]
pub struct Base {
    training: Training,
    recipe: PathBuf,
    steps: Option<(PathBuf, PathBuf)>,
    ask: Vec<String>,
}

impl Base {
    /// Resolves the base of a sweep, if it has one.
    ///
    /// # Errors
    /// If its recipe does not fit, or the questions cannot be read.
    pub fn of(sweep: &Sweep, material: &Material, out: &Path) -> Result<Option<Self>, Error> {
        let Some(recipe) = &sweep.head.base else { return Ok(None) };
        let set = [sweep.head.base_set.clone(), material.settings()].concat();
        let mut training = training(recipe, set, out)?;
        let mut ask = sweep.head.ask.clone();
        let frames = sweep.head.frames.first().copied();
        ask.extend(frames.into_iter().flat_map(|n| ["--frames".into(), n.to_string()]));
        let exam = exam(material.examination(), ask.clone(), &training.folder)?;
        training.add(exam, frames);
        let videos = material.examination().1.to_owned();
        let steps = material.validation.clone().map(|questions| (questions, videos));
        Ok(Some(Self { training, recipe: recipe.clone(), steps, ask }))
    }

    /// The run.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// The checkpoint that arms start from.
    pub fn checkpoint(&self) -> PathBuf {
        self.training.folder.join(EXPORT)
    }

    /// Trains and examines the base; `None` if it was stopped.
    ///
    /// # Errors
    /// If it fails.
    pub fn make(&self, workers: Workers) -> Result<Option<BaseReport>, Error> {
        let alone = Workers { jobs: 1, ..workers };
        let worked = work(&[&self.training], alone)?;
        if let Some(log) = worked.failed.first() {
            return Err(failed(log));
        }
        if worked.done == 0 {
            return Ok(None);
        }
        let Some(curve) = self.curve(alone)? else { return Ok(None) };
        let losses = metrics::read(&self.training.folder.join(METRICS))?.told().into_values();
        Ok(Some(BaseReport {
            recipe: self.recipe.clone(),
            tasks: tasks(&read_results(&self.training.exams[0].folder)?),
            curve,
            losses: losses.map(|record| (record.step as f64, record.loss)).collect(),
        }))
    }

    /// Right answers at every kept checkpoint; `None` if it was stopped.
    fn curve(&self, workers: Workers) -> Result<Option<Vec<(f64, f64)>>, Error> {
        let Some((questions, videos)) = &self.steps else { return Ok(Some(vec![])) };
        let mut curve = vec![];
        let kept = Checkpoints::open(&self.training.folder).folders()?;
        let progress = Progress::new("checkpoints examined", kept.len());
        for step in kept.into_iter().map(|saved| saved.step) {
            let folder = self.training.folder.join(format!("step-{step}"));
            let exam = exam((questions, videos), self.ask.clone(), &folder)?;
            if !exam.folder.join(RESULTS).is_file() {
                match self.examine(step, &folder, &exam, workers)? {
                    (Ended::Done, _) => {}
                    (Ended::Stopped, _) => return Ok(None),
                    (Ended::Failed, log) => return Err(failed(&log)),
                }
            }
            let scores = seed_scores(read_results(&exam.folder)?.iter());
            let right: f64 = scores.values().map(|(_, score)| score).sum();
            curve.push((step as f64, right / scores.len().max(1) as f64));
            progress.step();
        }
        Ok(Some(curve))
    }

    fn examine(
        &self,
        step: usize,
        folder: &Path,
        exam: &Exam,
        workers: Workers,
    ) -> Result<(Ended, PathBuf), Error> {
        let (checkpoint, log) = (folder.join(EXPORT), folder.join("export.log"));
        let ended = export_step(&self.training.folder, step, &checkpoint, &log, workers)?;
        if ended != Ended::Done {
            return Ok((ended, log));
        }
        let log = exam.folder.join("eval.log");
        Ok((ask(&checkpoint, exam, &log, workers)?, log))
    }
}

fn failed(log: &Path) -> Error {
    Error::Argument(format!("the base cannot be made; {} says why", log.display()))
}

/// Every task, and `all`, beside guessing.
fn tasks(records: &[Record]) -> Vec<BaseTask> {
    let mut by_task: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in records {
        for task in &record.tasks {
            by_task.entry(task.clone()).or_default().push(record);
        }
    }
    let all = ("all".to_owned(), records.iter().collect());
    by_task
        .into_iter()
        .chain([all])
        .filter_map(|(task, records)| base_task(task, &records))
        .collect()
}

fn base_task(task: String, records: &[&Record]) -> Option<BaseTask> {
    let scores = [(Draw::default(), seed_scores(records.iter().copied()))].into();
    let estimate = estimate_seeds(&scores)?.as_share();
    let guess = blind_accuracy(records.iter().copied());
    Some(BaseTask { task, guess, clear: estimate.low > guess, estimate })
}
