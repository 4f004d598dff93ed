//! Records on disk: `metrics.jsonl` (the truth), TensorBoard events, Hugging Face's `trainer_state.json`.

mod line;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use xcomp_data::lines::{JsonLines, read_lines};

use crate::error::Error;
use crate::machine::files::{at, write_json};
use crate::plan::Plan;
use crate::recipe::tables::LogTable;
use crate::run::events::Events;
use crate::run::name::RunName;
use crate::show::progress::say;
use crate::train::held_out::HeldOut;
use crate::train::meter::Record;
use line::{Line, Written};

/// Its name in a run folder.
pub const METRICS: &str = "metrics.jsonl";
const TRAINER_STATE: &str = "trainer_state.json";

/// Where records go.
pub struct Metrics {
    folder: PathBuf,
    run: RunName,
    lines: JsonLines,
    events: Option<Events>,
    records: BTreeMap<usize, Record>,
    held_out: BTreeMap<usize, HeldOut>,
}

impl Metrics {
    /// Goes on with the records of a run; those after `step` belong to work that is done again.
    ///
    /// The file only grows: of several lines for a step the last counts.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn open(folder: &Path, step: usize, log: &LogTable) -> Result<Self, Error> {
        let path = folder.join(METRICS);
        let mut recorded = Recorded::of_run(folder)?;
        recorded.tell();
        recorded.records.retain(|recorded, _| *recorded <= step);
        recorded.held_out.retain(|recorded, _| *recorded <= step);
        let Recorded { records, held_out, .. } = recorded;
        let lines = JsonLines::open(&path).map_err(at("cannot open", &path))?;
        let run = RunName::of(log, folder);
        let events = log.tensorboard.then(|| Events::start(folder, step + 1, &run)).transpose()?;
        Ok(Self { folder: folder.into(), run, lines, events, records, held_out })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&mut self, record: &Record) -> Result<(), Error> {
        let path = self.folder.join(METRICS);
        let line = Written::step(&self.run, record);
        self.lines.push(&line).map_err(at("cannot write", &path))?;
        if let Some(events) = &mut self.events {
            events.add(record.step, &scalars(record))?;
        }
        self.records.insert(record.step, record.clone());
        Ok(())
    }

    /// Writes a line for the loss on held-out samples.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn validated(&mut self, held_out: &HeldOut) -> Result<(), Error> {
        let path = self.folder.join(METRICS);
        let line = Written::held_out(&self.run, held_out);
        self.lines.push(&line).map_err(at("cannot write", &path))?;
        if let Some(events) = &mut self.events {
            let own = held_out.eval_sources.iter();
            let own = own.map(|(name, loss)| (format!("eval_loss/{name}"), loss.0));
            let all = std::iter::once(("eval/loss".to_owned(), held_out.eval_loss.0)).chain(own);
            events.add(held_out.step, &all.collect::<Vec<_>>())?;
        }
        self.held_out.insert(held_out.step, held_out.clone());
        Ok(())
    }

    /// Writes `trainer_state.json`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn flush(&mut self, plan: &Plan) -> Result<(), Error> {
        let trained = self.records.values().map(|record| {
            let line = json!({
                "epoch": record.epoch, "grad_norm": record.grad_norm,
                "learning_rate": record.learning_rate, "loss": record.loss, "step": record.step,
            });
            (record.step, line)
        });
        let epoch = |step| self.records.get(&step).map(|record| record.epoch);
        let validated = self.held_out.values().map(|HeldOut { step, eval_loss, .. }| {
            (*step, json!({"epoch": epoch(*step), "eval_loss": eval_loss, "step": step}))
        });
        let mut log: Vec<_> = trained.chain(validated).collect();
        log.sort_by_key(|(step, _)| *step); // stable: a step's own line first
        let log: Vec<_> = log.into_iter().map(|(_, line)| line).collect();
        let last = self.records.values().next_back();
        let state = json!({
            "epoch": last.map_or(0.0, |record| record.epoch),
            "global_step": last.map_or(0, |record| record.step),
            "is_local_process_zero": true,
            "is_world_process_zero": true,
            "log_history": log,
            "logging_steps": plan.recipe.log.logging_steps,
            "max_steps": plan.steps,
            "num_train_epochs": plan.recipe.train.num_train_epochs,
            "save_steps": plan.recipe.checkpoint.save_steps,
            "train_batch_size": plan.recipe.train.per_device_batch_size,
        });
        write_json(&self.folder.join(TRAINER_STATE), &state)
    }
}

/// What a `metrics.jsonl` holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// By step; of several lines for a step the last counts.
    pub records: BTreeMap<usize, Record>,
    /// Losses on held-out samples, by step in the same way.
    pub held_out: BTreeMap<usize, HeldOut>,
    /// Numbers of lines that are no record, from 1: half lines, and what a lost machine left.
    pub broken_lines: Vec<usize>,
}

/// Reads the records of a `metrics.jsonl`.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> Result<Recorded, Error> {
    let lines = read_lines::<Line>(path).map_err(at("cannot read", path))?;
    let mut recorded = Recorded { broken_lines: lines.broken, ..Recorded::default() };
    for line in lines.values {
        match line {
            Line::Step(record) => drop(recorded.records.insert(record.step, *record)),
            Line::HeldOut(held_out) => drop(recorded.held_out.insert(held_out.step, held_out)),
        }
    }
    Ok(recorded)
}

impl Recorded {
    /// What the folder of a run holds; nothing before its first record.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_run(run: &Path) -> Result<Self, Error> {
        let path = run.join(METRICS);
        if path.is_file() { read(&path) } else { Ok(Self::default()) }
    }

    /// The records; of lines that are none a user hears.
    pub fn told(self) -> BTreeMap<usize, Record> {
        self.tell();
        self.records
    }

    fn tell(&self) {
        if let Some(note) = broken(&self.broken_lines) {
            say(&note);
        }
    }
}

/// What is said of lines that are no record; nothing where there is none.
pub fn broken(lines: &[usize]) -> Option<String> {
    const NAMED: usize = 8;
    let named: Vec<String> = lines.iter().take(NAMED).map(usize::to_string).collect();
    let more = if lines.len() > NAMED { ", ..." } else { "" };
    (!lines.is_empty()).then(|| {
        format!(
            "{METRICS}: {} of its lines cannot be read and are left out (line {}{more}); a kill, a full disk or a lost machine left them",
            lines.len(),
            named.join(", ")
        )
    })
}

/// TensorBoard's tags.
fn scalars(record: &Record) -> Vec<(String, f64)> {
    let mut scalars: Vec<(String, f64)> = [
        ("train/loss", record.loss),
        ("train/grad_norm", record.grad_norm),
        ("train/learning_rate", record.learning_rate),
        ("train/epoch", record.epoch),
        ("perf/samples_per_sec", record.samples_per_sec),
        ("perf/frames_per_sec", record.frames_per_sec),
        ("perf/tokens_per_sec", record.tokens_per_sec),
        ("time/data_wait_pct", record.data_wait_pct),
        ("time/step_s", record.step_s),
        ("memory/rss_gib", record.rss_gib),
        ("compress/tokens_in", record.tokens_in as f64),
        ("compress/tokens_mean", record.tokens_mean),
    ]
    .map(|(tag, value)| (tag.to_owned(), value))
    .into();
    scalars.extend(record.peak_gib.map(|gib| ("memory/peak_gib".to_owned(), gib)));
    scalars.extend(record.exchange.into_iter().flat_map(|spent| {
        let named =
            [("wait", spent.wait_s), ("reduce", spent.reduce_s), ("gather", spent.gather_s)];
        named.map(|(name, seconds)| (format!("time/ranks_{name}_s"), seconds))
    }));
    scalars.extend(record.lane_imbalance.map(|most| ("perf/lane_imbalance".to_owned(), most)));
    scalars.extend(record.mfu_pct.map(|mfu| ("perf/mfu".to_owned(), mfu)));
    scalars.extend(record.sources.iter().map(|(name, loss)| (format!("loss/{name}"), loss.0)));
    scalars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize, loss: f64) -> Record {
        let json = json!({
            "step": step, "loss": loss, "grad_norm": 1.0, "learning_rate": 0.1, "lr_used": 0.0,
            "epoch": 0.5, "samples": 1, "frames": 8, "tokens_in": 128, "tokens_mean": 66.0,
            "step_s": 1.0, "data_wait_pct": 0.0, "samples_per_sec": 1.0, "frames_per_sec": 8.0,
            "tokens_per_sec": 128.0, "mfu_pct": null, "peak_gib": 0.1, "sources": {"a": loss},
        });
        serde_json::from_value(json).unwrap()
    }

    fn quiet() -> LogTable {
        LogTable { tensorboard: false, ..LogTable::default() }
    }

    #[test]
    fn the_last_line_of_a_step_counts_and_half_a_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METRICS);
        let mut first = Metrics::open(folder.path(), 0, &quiet()).unwrap();
        for step in 1..=3 {
            first.write(&record(step, step as f64)).unwrap();
        }
        drop(first);
        let text = std::fs::read_to_string(&path).unwrap() + "{\"step\": 4, \"lo\n";
        std::fs::write(&path, text).unwrap();
        let mut second = Metrics::open(folder.path(), 2, &quiet()).unwrap();
        assert_eq!(second.records.keys().copied().collect::<Vec<_>>(), [1, 2]);
        second.write(&record(3, 30.0)).unwrap();
        let Recorded { records, broken_lines, .. } = read(&path).unwrap();
        assert!((records[&3].loss - 30.0).abs() < 1e-12);
        assert_eq!((records.len(), broken_lines), (3, vec![4]));
    }

    #[test]
    fn lines_that_are_no_record_are_counted() {
        assert_eq!(broken(&[]), None);
        let note = |lines: &[usize]| broken(lines).unwrap();
        assert!(note(&[4]).starts_with("metrics.jsonl: 1 of its lines cannot be read"));
        assert!(note(&(1..=9).collect::<Vec<_>>()).contains("9 of its lines"));
        assert!(note(&(1..=9).collect::<Vec<_>>()).contains("(line 1, 2, 3, 4, 5, 6, 7, 8, ...)"));
    }

    #[test]
    fn a_loss_that_is_not_finite_is_written_down_and_read_again() {
        for loss in [f64::NAN, f64::INFINITY] {
            let mut given = record(1, 1.0);
            given.loss = loss;
            given.sources.insert("b".into(), crate::train::meter::Raw(loss));
            let text = serde_json::to_string(&given).unwrap();
            let read: Record = serde_json::from_str(&text).unwrap();
            assert_eq!(read.loss.to_bits(), loss.to_bits(), "{text}");
        }
    }

    #[test]
    fn tensorboard_gets_every_tag() {
        let mut given = record(1, 1.0);
        given.mfu_pct = Some(3.0);
        let tags: Vec<String> = scalars(&given).into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags.len(), 15);
        assert!(tags.contains(&"loss/a".into()) && tags.contains(&"perf/mfu".into()));
    }

    #[test]
    fn events_are_written_where_tensorboard_looks() {
        let folder = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(folder.path(), 0, &LogTable::default()).unwrap();
        metrics.write(&record(1, 1.0)).unwrap();
        drop(metrics);
        let events =
            crate::machine::files::entries(folder.path()).unwrap().into_iter().find(|path| {
                path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents")
            });
        assert!(std::fs::metadata(events.unwrap()).unwrap().len() > 100);
    }
}
