//! How long a sweep will take, said before it starts.

use std::path::Path;

use super::execute::{finished, is_finished};
use super::runs::Training;
use crate::error::Error;
use crate::show::numbers::duration;

/// FLOPs a second of one process until a training of the sweep has been timed: a tiny model on one core of a server.
const ASSUMED_FLOPS_PER_S: f64 = 3e10;

/// What is to do.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Trainings of the sweep, and those of them that are finished with their examinations.
    pub trainings: (usize, usize),
    /// Examinations.
    pub exams: usize,
    /// FLOPs that are left.
    pub flops: f64,
    /// FLOPs a second of one process, and whether they were measured here.
    pub speed: (f64, bool),
    /// Processes at a time.
    pub jobs: usize,
}

impl Estimate {
    /// Estimates what is left of a sweep; `bases` are trained first.
    ///
    /// # Errors
    /// If a finished training cannot be read.
    pub fn of(bases: Vec<&Training>, own: Vec<&Training>, jobs: usize) -> Result<Self, Error> {
        let all: Vec<&Training> = bases.into_iter().chain(own).collect();
        let done: Vec<&&Training> = all.iter().filter(|training| is_finished(training)).collect();
        let open = all.iter().filter(|training| !is_finished(training));
        let folders: Vec<&Path> = all.iter().map(|training| training.folder.as_path()).collect();
        Ok(Self {
            trainings: (all.len(), done.len()),
            exams: all.iter().map(|training| training.exams.len()).sum(),
            flops: open.map(|training| training.flops + training.exam_flops).sum(),
            speed: speed(&folders)?,
            jobs,
        })
    }

    /// Seconds that are left.
    pub fn seconds(&self) -> f64 {
        self.flops / self.speed.0 / self.jobs as f64
    }
}

/// FLOPs a second of the trainings that are finished.
fn speed(folders: &[&Path]) -> Result<(f64, bool), Error> {
    let (mut flops, mut seconds) = (0.0, 0.0);
    for folder in folders {
        if let Some(finished) = finished(folder)? {
            flops += finished.flops;
            seconds += finished.seconds;
        }
    }
    Ok(if flops > 0.0 { (flops / seconds, true) } else { (ASSUMED_FLOPS_PER_S, false) })
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { trainings: (all, done), exams, flops, speed: (speed, measured), jobs } = self;
        write!(f, "{all} trainings with {exams} examinations, {done} trainings are finished")?;
        if all == done {
            return Ok(());
        }
        write!(
            f,
            "\n{:.1} TFLOPs are left: about {} with {jobs} at a time, {} {:.1} GFLOP/s each",
            flops / 1e12,
            duration(self.seconds()),
            if *measured { "measured" } else { "assumed" },
            speed / 1e9
        )
    }
}
