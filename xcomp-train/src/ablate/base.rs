//! The bases of a sweep: trained before any arm, one for each seed, and shown to be above guessing before anything is compared on top of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::blind::blind_accuracy;
use super::execute::{Workers, ask, at_once, export_step, is_finished, work};
use super::material::Material;
use super::outcome::{Outcome, seed_scores};
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
    /// Step and share of right answers of the first base on the validation questions.
    pub curve: Vec<(f64, f64)>,
    /// Step and loss of each base.
    pub losses: Vec<Losses>,
}

/// The losses of one base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Losses {
    /// Its seed; 0 for a base as its recipe says.
    pub seed: u64,
    /// Step and loss.
    pub curve: Vec<(f64, f64)>,
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

/// The bases of a sweep as runs.
#[derive(Debug, Clone)]
pub struct Bases {
    trainings: Vec<Training>,
    recipe: PathBuf,
    steps: Option<(PathBuf, PathBuf)>,
    ask: Vec<String>,
}

impl Bases {
    /// Resolves the bases of a sweep, if it has any.
    ///
    /// # Errors
    /// If their recipe does not fit, or the questions cannot be read.
    pub fn of(sweep: &Sweep, material: &Material, out: &Path) -> Result<Option<Self>, Error> {
        let Some(recipe) = &sweep.head.base else { return Ok(None) };
        let mut ask = sweep.head.ask.clone();
        let frames = sweep.head.frames.first().copied();
        ask.extend(frames.into_iter().flat_map(|n| ["--frames".into(), n.to_string()]));
        let seeds =
            sweep.head.base_seeds.iter().map(|seed| (*seed, Some(format!("train.seed={seed}"))));
        let seeds =
            if sweep.head.base_seeds.is_empty() { vec![(0, None)] } else { seeds.collect() };
        let of = |(base, seed): (u64, Option<String>)| -> Result<Training, Error> {
            let own = [&sweep.head.base_set[..], &Vec::from_iter(seed)].concat();
            let settings = material.of_base(base).settings();
            let mut training = training(recipe, [own, settings].concat(), out)?;
            let exam = exam(material.examination(), ask.clone(), &training.folder)?;
            training.base = base;
            training.add(exam, frames);
            Ok(training)
        };
        let trainings = seeds.into_iter().map(of).collect::<Result<_, _>>()?;
        let videos = material.examination().1.to_owned();
        let steps = material.validation.clone().map(|questions| (questions, videos));
        Ok(Some(Self { trainings, recipe: recipe.clone(), steps, ask }))
    }

    /// The runs.
    pub fn trainings(&self) -> Vec<&Training> {
        self.trainings.iter().collect()
    }

    /// By seed the checkpoints that arms start from, of those bases that are made.
    pub fn made(&self) -> BTreeMap<u64, PathBuf> {
        let made = self.trainings.iter().filter(|training| is_finished(training));
        made.map(|training| (training.base, training.folder.join(EXPORT))).collect()
    }

    /// What the bases answered, as an arm; `None` until all are made.
    ///
    /// # Errors
    /// If results cannot be read.
    pub fn outcome(&self) -> Result<Option<Outcome>, Error> {
        if !self.trainings.iter().all(is_finished) {
            return Ok(None);
        }
        let mut outcome = Outcome::default();
        for Training { base, exams, .. } in &self.trainings {
            let draw = Draw { base: *base, seed: 0 };
            outcome.add(draw, &read_results(&exams[0].folder)?);
        }
        Ok(Some(outcome))
    }

    /// Trains and examines the bases; `None` if it was stopped.
    ///
    /// # Errors
    /// If one fails.
    pub fn make(&self, workers: Workers) -> Result<Option<BaseReport>, Error> {
        let jobs = workers.jobs.min(self.trainings.len());
        let worked = work(&self.trainings(), Workers { jobs, ..workers })?;
        if let Some(log) = worked.failed.first() {
            return Err(failed(log));
        }
        if worked.done < self.trainings.len() {
            return Ok(None);
        }
        let Some(curve) = self.curve(workers)? else { return Ok(None) };
        let mut records = BTreeMap::new();
        let mut losses = vec![];
        for Training { base, folder, exams, .. } in &self.trainings {
            records.insert(*base, read_results(&exams[0].folder)?);
            let told = metrics::read(&folder.join(METRICS))?.told().into_values();
            let curve = told.map(|record| (record.step as f64, record.loss)).collect();
            losses.push(Losses { seed: *base, curve });
        }
        Ok(Some(BaseReport { recipe: self.recipe.clone(), tasks: tasks(&records), curve, losses }))
    }

    /// Right answers of the first base at every kept checkpoint; `None` if it was stopped.
    fn curve(&self, workers: Workers) -> Result<Option<Vec<(f64, f64)>>, Error> {
        let Some((questions, videos)) = &self.steps else { return Ok(Some(vec![])) };
        let run = &self.trainings[0].folder;
        let exam_of = |step: usize| {
            let folder = run.join(format!("step-{step}"));
            Ok((step, exam((questions, videos), self.ask.clone(), &folder)?, folder))
        };
        let kept = Checkpoints::open(run).folders()?.into_iter().map(|saved| saved.step);
        let exams: Vec<(usize, Exam, PathBuf)> = kept.map(exam_of).collect::<Result<_, Error>>()?;
        let progress = Progress::new("checkpoints examined", exams.len());
        at_once(&exams, workers, |(step, exam, folder)| {
            if !exam.folder.join(RESULTS).is_file() {
                match examine((run, *step), folder, exam, workers)? {
                    (Ended::Done, _) => {}
                    (Ended::Stopped, _) => return Ok(ControlFlow::Break(())),
                    (Ended::Failed, log) => return Err(failed(&log)),
                }
            }
            progress.step();
            Ok(ControlFlow::Continue(()))
        })?;
        let mut curve = vec![];
        for (step, exam, _) in exams {
            if !exam.folder.join(RESULTS).is_file() {
                return Ok(None);
            }
            let scores = seed_scores(read_results(&exam.folder)?.iter());
            let right: f64 = scores.values().map(|(_, score)| score).sum();
            curve.push((step as f64, right / scores.len().max(1) as f64));
        }
        Ok(Some(curve))
    }
}

/// Examines a checkpoint of a run, which is written into `folder` before.
fn examine(
    (run, step): (&Path, usize),
    folder: &Path,
    exam: &Exam,
    workers: Workers,
) -> Result<(Ended, PathBuf), Error> {
    let (checkpoint, log) = (folder.join(EXPORT), folder.join("export.log"));
    let ended = export_step(run, step, &checkpoint, &log, workers)?;
    if ended != Ended::Done {
        return Ok((ended, log));
    }
    let log = exam.folder.join("eval.log");
    Ok((ask(&checkpoint, exam, &log, workers)?, log))
}

fn failed(log: &Path) -> Error {
    Error::Argument(format!("the base cannot be made; {} says why", log.display()))
}

/// Every task, and `all`, beside guessing; answers come base by base.
fn tasks(records: &BTreeMap<u64, Vec<Record>>) -> Vec<BaseTask> {
    let named = records.values().flatten().flat_map(|record| &record.tasks);
    let names: BTreeSet<&String> = named.collect();
    let of = |task: Option<&String>| {
        let asked = |record: &&Record| task.is_none_or(|task| record.tasks.contains(task));
        let own = |of: &'_ [Record]| -> Vec<Record> { of.iter().filter(asked).cloned().collect() };
        let records = records.iter().map(|(base, of)| (*base, own(of))).collect();
        base_task(task.map_or("all", String::as_str), &records)
    };
    names.into_iter().map(Some).chain([None]).filter_map(of).collect()
}

fn base_task(task: &str, records: &BTreeMap<u64, Vec<Record>>) -> Option<BaseTask> {
    let scores =
        |(base, of): (&u64, &Vec<Record>)| (Draw { base: *base, seed: 0 }, seed_scores(of.iter()));
    let estimate = estimate_seeds(&records.iter().map(scores).collect())?.as_share();
    let guess = blind_accuracy(records.values().next()?);
    Some(BaseTask { task: task.into(), guess, clear: estimate.low > guess, estimate })
}
