//! Works a sweep off: a few processes at a time, finished work is kept.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::process::{self, Ended};
use super::runs::{Exam, Training};
use crate::error::Error;
use crate::eval::niah::run::CELLS;
use crate::eval::results::RESULTS;
use crate::machine::device::Choice;
use crate::machine::files::{read_text, write_json};
use crate::machine::stop::Stop;
use crate::run::folder::{LOCK, turn};
use crate::run::launch::EXPORT;
use crate::show::progress::Progress;

/// File of a finished training, written last.
pub const FINISHED: &str = "finished.json";
/// What the process that trains and examines in the folder of a training has locked.
const WORK: &str = ".work";

/// What a finished training took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Seconds of its last start.
    pub seconds: f64,
    /// FLOPs that it did, all starts together.
    pub flops: f64,
}

/// How processes are run.
#[derive(Debug, Clone, Copy)]
pub struct Workers<'a> {
    /// Processes at a time.
    pub jobs: usize,
    /// Where they compute.
    pub device: Choice,
    /// Who may ask them to stop.
    pub stop: &'a Stop,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Worked {
    /// Trainings with all their examinations.
    pub done: usize,
    /// Logs of those that failed.
    pub failed: Vec<PathBuf>,
}

/// Whether a training and all its examinations are finished.
pub fn is_finished(training: &Training) -> bool {
    training.folder.join(FINISHED).is_file() && training.exams.iter().all(Exam::is_finished)
}

impl Exam {
    /// Whether all of it is answered.
    fn is_finished(&self) -> bool {
        self.folder.join(if self.asks_a_run() { RESULTS } else { CELLS }).is_file()
    }

    /// Whether its verb takes a run for its newest checkpoint; else an export.
    fn asks_a_run(&self) -> bool {
        self.verb == "eval"
    }
}

/// What a finished training took, if it is finished.
///
/// # Errors
/// If the file that says so cannot be read.
pub fn finished(folder: &Path) -> Result<Option<Finished>, Error> {
    let path = folder.join(FINISHED);
    if !path.is_file() {
        return Ok(None);
    }
    let parsed = serde_json::from_str(&read_text(&path)?);
    parsed.map(Some).map_err(|error| crate::machine::files::at("cannot read", &path)(error.into()))
}

/// Does every training that is not finished, and its examinations.
///
/// A training that fails does not keep others from being done.
///
/// # Errors
/// If a process cannot be started or a file not be written.
pub fn work(trainings: &[&Training], workers: Workers) -> Result<Worked, Error> {
    let open: Vec<&&Training> = trainings.iter().filter(|t| !is_finished(t)).collect();
    let worked = Mutex::new(Worked { done: trainings.len() - open.len(), failed: vec![] });
    let progress = Progress::new("runs", trainings.len()).from(trainings.len() - open.len());
    at_once(&open, workers, |training| {
        let ended = train_and_ask(training, workers)?;
        let mut worked = worked.lock().expect("no worker panics while it counts");
        match ended {
            None => worked.done += 1,
            Some((Ended::Failed, log)) => {
                progress.line(&format!("failed, see {}", log.display()));
                worked.failed.push(log);
            }
            Some(_) => return Ok(ControlFlow::Break(())),
        }
        progress.step();
        progress.note(&format!("last {}", training.folder.display()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(worked.into_inner().expect("no worker panics while it counts"))
}

/// Does each of `all`, `workers.jobs` at a time, until there is a wish to stop or `one` breaks off.
///
/// # Errors
/// The first of `one`; what others have begun is ended before.
pub fn at_once<T: Sync>(
    all: &[T],
    workers: Workers,
    one: impl Fn(&T) -> Result<ControlFlow<()>, Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), Error> {
        while workers.stop.asked().is_none() {
            let Some(item) = all.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            if one(item)?.is_break() {
                break;
            }
        }
        Ok(())
    };
    let ends: Vec<Result<(), Error>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers.jobs).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().map(|handle| handle.join().expect("a worker does not panic")).collect()
    });
    ends.into_iter().collect()
}

/// What kept a training or one of its examinations from its end, with the log; nothing if all is done.
fn train_and_ask(training: &Training, workers: Workers) -> Result<Option<(Ended, PathBuf)>, Error> {
    let folder = &training.folder;
    let log = folder.join("train.log");
    let Some(_work) = turn(&folder.join(WORK), workers.stop)? else {
        return Ok(Some((Ended::Stopped, log)));
    };
    if !folder.join(FINISHED).is_file() {
        // A training whose starter was killed may still be saving.
        let Some(idle) = turn(&folder.join(LOCK), workers.stop)? else {
            return Ok(Some((Ended::Stopped, log)));
        };
        drop(idle);
        let begun = Instant::now();
        let out = ["--out".to_owned(), folder.to_string_lossy().into_owned()];
        let ended = verb("train", &[&training.arguments[..], &out], &log, workers)?;
        if ended != Ended::Done {
            return Ok(Some((ended, log)));
        }
        let took = Finished { seconds: begun.elapsed().as_secs_f64(), flops: training.flops };
        write_json(&folder.join(FINISHED), &took)?;
    }
    for exam in training.exams.iter().filter(|exam| !exam.is_finished()) {
        let log = exam.folder.join("eval.log");
        let ended = ask(folder, exam, &log, workers)?;
        if ended != Ended::Done {
            return Ok(Some((ended, log)));
        }
    }
    Ok(None)
}

/// Puts an examination to the newest checkpoint of a run, or to an exported folder.
///
/// # Errors
/// If the process cannot be started.
pub fn ask(subject: &Path, exam: &Exam, log: &Path, workers: Workers) -> Result<Ended, Error> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let subject = if exam.asks_a_run() { text(subject) } else { text(&subject.join(EXPORT)) };
    let subject = [subject];
    let out = ["--out".to_owned(), text(&exam.folder)];
    verb(exam.verb, &[&subject, &exam.arguments, &out], log, workers)
}

/// Writes a checkpoint of a run as a folder that can be examined; one that is there is kept.
///
/// # Errors
/// If the process cannot be started.
pub fn export_step(
    run: &Path,
    step: usize,
    folder: &Path,
    log: &Path,
    workers: Workers,
) -> Result<Ended, Error> {
    if folder.join("generation_config.json").is_file() {
        return Ok(Ended::Done);
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let arguments = ["export", &text(run), "--out", &text(folder), "--step", &step.to_string()];
    process::run(&arguments.map(str::to_owned), 1, log, workers.stop)
}

fn verb(verb: &str, arguments: &[&[String]], log: &Path, workers: Workers) -> Result<Ended, Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let device =
        ["--device".to_owned(), workers.device.to_string(), "--until-input-ends".to_owned()];
    let all = [&[verb.to_owned()], &arguments.concat()[..], &device].concat();
    process::run(&all, (cores / workers.jobs).max(1), log, workers.stop)
}
