//! The runs in a folder: how far each is, and what it takes on the disk.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::folder::{LOCK, PLAN, RECIPE};
use super::metrics::{Recorded, broken};
use crate::error::Error;
use crate::machine::files::{entries, read_text};
use crate::run::launch::EXPORT;
use crate::show::numbers::bytes;
use crate::show::table::Table;
use crate::train::checkpoint::Checkpoints;

/// Folders inside folders that are searched: those of a sweep's trainings are the deepest.
const DEPTH: usize = 3;

/// What became of a run, as far as its folder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A process holds the folder.
    Running,
    /// Steps are missing and nobody works on them.
    Stopped,
    /// The checkpoint of the last step is there.
    Finished,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its folder.
    pub folder: PathBuf,
    /// Steps that are recorded or saved.
    pub steps: usize,
    /// Steps of the whole run.
    pub planned: Option<usize>,
    /// Loss of the last record.
    pub loss: Option<f64>,
    /// Numbers of lines of its metrics that cannot be read, from 1.
    pub broken_lines: Vec<usize>,
    /// What became of it.
    pub state: State,
    /// Bytes of all files in it.
    pub bytes: u64,
}

/// The runs of a folder, by name.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Runs(pub Vec<Listed>);

impl Runs {
    /// Finds the runs in a folder and in folders inside of it.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let mut runs = vec![];
        find(folder, DEPTH, &mut runs)?;
        Ok(Self(runs))
    }
}

fn find(folder: &Path, depth: usize, runs: &mut Vec<Listed>) -> Result<(), Error> {
    if folder.join(RECIPE).is_file() {
        runs.push(Listed::of(folder)?);
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir() && !path.is_symlink());
    folders.into_iter().try_for_each(|inner| find(&inner, depth - 1, runs))
}

impl Listed {
    /// The run in a folder.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let Recorded { records, broken_lines, .. } = Recorded::of_run(folder)?;
        let last = records.last_key_value();
        let saved = Checkpoints::open(folder).folders()?.last().map_or(0, |saved| saved.step);
        let planned = planned(folder);
        let ended_early = folder.join(EXPORT).join("config.json").is_file();
        let state = match planned {
            _ if is_held(folder) => State::Running,
            Some(planned) if saved >= planned || ended_early => State::Finished,
            _ => State::Stopped,
        };
        Ok(Self {
            folder: folder.into(),
            steps: last.map_or(0, |(step, _)| *step).max(saved),
            planned,
            loss: last.map(|(_, record)| record.loss),
            broken_lines,
            state,
            bytes: size(folder)?,
        })
    }
}

/// Steps of the plan that was written beside the run.
fn planned(folder: &Path) -> Option<usize> {
    let plan: serde_json::Value =
        serde_json::from_str(&read_text(&folder.join(PLAN)).ok()?).ok()?;
    Some(plan["steps"].as_u64()? as usize)
}

/// Whether a process has the folder's lock; the lock is asked for, and left at once.
fn is_held(folder: &Path) -> bool {
    let file = File::open(folder.join(LOCK));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Bytes of all files; a file that goes away meanwhile, as checkpoints do, counts nothing.
fn size(folder: &Path) -> Result<u64, Error> {
    let mut sum = 0;
    for path in entries(folder)? {
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => sum += size(&path)?,
            Ok(data) if data.is_file() => sum += data.len(),
            _ => (),
        }
    }
    Ok(sum)
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "?".to_owned();
        let row = |run: &Listed| {
            [
                run.folder.display().to_string(),
                format!("{}/{}", run.steps, run.planned.map_or_else(none, |n| n.to_string())),
                run.loss.map_or_else(none, |loss| format!("{loss:.4}")),
                format!("{:?}", run.state).to_lowercase(),
                bytes(run.bytes),
            ]
        };
        let table = Table::new(["run", "steps", "loss", "state", "disk"], self.0.iter().map(row));
        write!(f, "{}", table.text())?;
        let mut notes = self.0.iter().filter_map(|run| Some((run, broken(&run.broken_lines)?)));
        notes.try_for_each(|(run, note)| writeln!(f, "{}/{note}", run.folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::metrics::METRICS;

    fn write(folder: &Path, name: &str, text: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn a_run_is_running_stopped_or_finished() {
        let root = tempfile::tempdir().unwrap();
        let (held, half) = (root.path().join("sweep/runs/held"), root.path().join("half"));
        for folder in [&held, &half] {
            write(folder, RECIPE, "");
            write(folder, PLAN, r#"{"steps": 4}"#);
            write(folder, LOCK, "");
        }
        write(&half.join("checkpoint-2"), "model.safetensors", "12345");
        write(&root.path().join("no-run"), "notes.txt", "");
        let lock = File::open(held.join(LOCK)).unwrap();
        lock.lock().unwrap();
        let states = || -> Vec<_> {
            let runs = Runs::of(root.path()).unwrap().0;
            runs.into_iter().map(|run| (run.steps, run.planned, run.state, run.bytes)).collect()
        };
        let (running, stopped) = ((0, Some(4), State::Running, 12), State::Stopped);
        assert_eq!(states(), [(2, Some(4), stopped, 17), running]);
        write(&half.join("checkpoint-4"), "model.safetensors", "");
        assert_eq!(states()[0], (4, Some(4), State::Finished, 17));
        write(&half, METRICS, "{\"step\": 1, \"lo\n\0\0\0\n");
        let runs = Runs::of(root.path()).unwrap();
        assert_eq!(runs.0[0].broken_lines, [1, 2]);
        let text = runs.to_string();
        assert!(text.contains("half/metrics.jsonl: 2 of its lines cannot be read"), "{text}");
    }
}
