//! The demo from nothing to a table: make a world, tune on it, export, reload, ask.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use xcomp_data::give_back_freed_memory;

use super::base::{BaseOptions, write_base};
use super::clip::DrawnClip;
use super::error::DemoError;
use super::question::Question;
use super::quiz::{Score, ask, questions};
use super::scene::Scene;
use super::world::{HeldOut, World};
use crate::answer::Answerer;
use crate::error::Error;
use crate::machine::device::{self, Choice};
use crate::machine::memory::peak_rss_bytes;
use crate::machine::stop::Stop;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::run::launch::{EXPORT, train_recipe};
use crate::run::metrics::{METRICS, read};
use crate::show::numbers::{GIB, decimal};
use crate::train::Summary;
use crate::train::meter::Record;

/// The recipe that the demo trains, in the repository as `recipes/demo.toml`.
const RECIPE: &str = include_str!("../../../recipes/demo.toml");

/// Clips to train on.
const TRAIN_CLIPS: usize = 800;
/// Clips that are only asked about.
const HELD_OUT_CLIPS: usize = 60;
/// Fixes every scene and the order of questions.
const WORLD_SEED: u64 = 0;

/// What the demo shows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// One row for each kind of question, and one for all.
    pub rows: Vec<Row>,
    /// Mean loss of the steps up to the first record.
    pub loss_first: f64,
    /// Mean loss of the steps up to the last record.
    pub loss_last: f64,
    /// Optimizer steps.
    pub steps: usize,
    /// Tokens of a frame in each layer.
    pub tokens_per_layer: Vec<f64>,
    /// Milliseconds of training on a sample that is met for the first time: its clip goes through the tower.
    pub first_sample_ms: f64,
    /// Milliseconds of training on a sample whose features are kept.
    pub kept_sample_ms: f64,
    /// Seconds of training.
    pub train_s: f64,
    /// Seconds of everything.
    pub total_s: f64,
    /// Largest memory of the process, in GiB.
    pub peak_gib: f64,
}

/// Accuracy on held-out questions of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The kind.
    pub kind: String,
    /// What guessing among the possible answers gives.
    pub chance: f64,
    /// The base model under the same compression.
    pub before: Score,
    /// The tuned model, exported and reloaded.
    pub after: Score,
}

/// Everything that a run of the demo starts from.
#[derive(Debug)]
pub struct Material {
    folder: PathBuf,
    recipe: PathBuf,
    asked: Vec<HeldOut>,
    started: Instant,
}

impl Material {
    /// Makes the world, the base checkpoint and the recipe inside `folder`.
    ///
    /// # Errors
    /// If something cannot be made.
    pub fn make(folder: &Path) -> Result<Self, Error> {
        let started = Instant::now();
        let (train, held_out) = (("train", TRAIN_CLIPS), [("held-out", HELD_OUT_CLIPS)]);
        let world = World::draw_lots(0, train, &held_out, WORLD_SEED, Scene::draw_lot);
        let files = world.write(&folder.join("world"))?;
        let (base, config) = (folder.join("base"), BaseOptions::default().config());
        write_base(&base, &Scene::vocabulary(), config, WORLD_SEED)?;
        let recipe = folder.join("demo.toml");
        std::fs::write(&recipe, RECIPE).map_err(DemoError::write(&recipe))?;
        let asked = questions(&files.questions[0])?;
        Ok(Self { folder: folder.into(), recipe, asked, started })
    }

    /// The demo's recipe, with keys overridden.
    ///
    /// # Errors
    /// If a key is wrong.
    pub fn recipe(&self, set: &[String]) -> Result<Recipe, Error> {
        Ok(Recipe::load(&self.recipe, set)?)
    }

    /// Tunes on it into its folder `name`, with keys of the recipe overridden, then exports, reloads and asks.
    ///
    /// # Errors
    /// If a step fails, or the loss does not fall to half.
    pub fn tune(&self, name: &str, set: &[String], device: Choice) -> Result<Report, Error> {
        let recipe = self.recipe(set)?;
        let plan = Plan::new(recipe.clone(), Some(TRAIN_CLIPS))?;
        let run = self.folder.join(name);
        // Before any question is asked, and without what the encoders left: what the run says of memory is a training's alone.
        give_back_freed_memory();
        let summary = train_recipe(recipe, &run, device, Stop::never())?;

        let (world, opened) = (self.folder.join("world"), device::open(device)?.device);
        let untuned = Answerer::open(&self.folder.join("base"), &opened)?;
        let before = ask(&untuned.with_compression(plan.compression), &world, &self.asked)?;
        let tuned = Answerer::open(&run.join(EXPORT), &opened)?;
        let after = ask(&tuned, &world, &self.asked)?;

        let mut report = Report::of(&run, &summary)?;
        report.rows = rows(&before, &after);
        report.tokens_per_layer = tuned.compression().tokens_per_layer().to_vec();
        report.total_s = self.started.elapsed().as_secs_f64();
        report.learnt()
    }
}

/// Runs the whole demo inside `folder`, with keys of its recipe overridden.
///
/// # Errors
/// If a step fails, or the loss does not fall to half.
pub fn run(folder: &Path, set: &[String], device: Choice) -> Result<Report, Error> {
    Material::make(folder)?.tune("run", set, device)
}

impl Report {
    /// What a run's records say.
    fn of(run: &Path, summary: &Summary) -> Result<Self, Error> {
        let records: Vec<Record> = read(&run.join(METRICS))?.told().into_values().collect();
        let loss = |record: Option<&Record>| record.map_or(f64::NAN, |record| record.loss);
        let whole = |record: &&Record| record.cached == record.samples;
        Ok(Self {
            loss_first: loss(records.first()),
            loss_last: loss(records.last()),
            steps: summary.step,
            first_sample_ms: sample_ms(records.iter().filter(|record| record.cached == 0)),
            kept_sample_ms: sample_ms(records.iter().filter(whole)),
            train_s: summary.seconds,
            peak_gib: peak_rss_bytes() as f64 / GIB,
            ..Self::default()
        })
    }

    /// The same, unless the loss stayed up; one that is not a number has not fallen.
    fn learnt(self) -> Result<Self, Error> {
        if self.loss_last <= self.loss_first / 2.0 {
            return Ok(self);
        }
        Err(DemoError::NotLearnt { first: self.loss_first, last: self.loss_last }.into())
    }
}

/// Milliseconds of a sample over these records.
fn sample_ms<'a>(records: impl Iterator<Item = &'a Record>) -> f64 {
    let (seconds, samples) = records.fold((0.0, 0.0), |(seconds, samples), record| {
        let own = record.samples as f64;
        (seconds + own / record.samples_per_sec, samples + own)
    });
    1e3 * seconds / samples
}

fn rows(before: &BTreeMap<String, Score>, after: &BTreeMap<String, Score>) -> Vec<Row> {
    let of = |scores: &BTreeMap<String, Score>, kind: &str| {
        scores.get(kind).copied().unwrap_or_default()
    };
    let mut rows: Vec<Row> = Question::ALL
        .into_iter()
        .map(|question| Row {
            kind: question.kind().to_owned(),
            chance: 1.0 / question.candidates().len() as f64,
            before: of(before, question.kind()),
            after: of(after, question.kind()),
        })
        .collect();
    let sum = |score: fn(&Row) -> Score| Score {
        right: rows.iter().map(|row| score(row).right).sum(),
        asked: rows.iter().map(|row| score(row).asked).sum(),
    };
    let chance = rows.iter().map(|row| row.chance).sum::<f64>() / rows.len() as f64;
    rows.push(Row {
        kind: "all".into(),
        chance,
        before: sum(|row| row.before),
        after: sum(|row| row.after),
    });
    rows
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens: Vec<String> = self.tokens_per_layer.iter().copied().map(decimal).collect();
        writeln!(f, "held-out questions     chance   before    after   right/asked")?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<20} {:>7.0} % {:>6.0} % {:>6.0} % {:>9}/{}",
                row.kind,
                100.0 * row.chance,
                100.0 * row.before.accuracy(),
                100.0 * row.after.accuracy(),
                row.after.right,
                row.after.asked
            )?;
        }
        writeln!(
            f,
            "loss {:.3} -> {:.3} in {} steps",
            self.loss_first, self.loss_last, self.steps
        )?;
        writeln!(
            f,
            "a sample takes {:.1} ms while its clip goes through the tower, {:.1} ms when its features are kept ({:.1} times less)",
            self.first_sample_ms,
            self.kept_sample_ms,
            self.first_sample_ms / self.kept_sample_ms
        )?;
        writeln!(f, "tokens of a frame in each layer: {}", tokens.join(" "))?;
        write!(
            f,
            "{:.0} s, of which training {:.0} s; peak memory {:.2} GiB",
            self.total_s, self.train_s, self.peak_gib
        )
    }
}
