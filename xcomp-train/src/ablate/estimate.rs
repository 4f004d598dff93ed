//! How long a sweep will take, said before it starts.

use std::path::Path;

use super::execute::{finished, is_finished};
use super::power::Power;
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
    /// Which differences the sweep can tell apart, where finished runs say how much answers vary.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub power: Vec<Power>,
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
            power: vec![],
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
        let Self { trainings: (all, done), exams, .. } = self;
        write!(f, "{all} trainings with {exams} examinations, {done} trainings are finished")?;
        if all > done {
            let (speed, measured) = self.speed;
            write!(
                f,
                "\n{:.1} TFLOPs are left: about {} with {} at a time, {} {:.1} GFLOP/s each",
                self.flops / 1e12,
                duration(self.seconds()),
                self.jobs,
                if measured { "measured" } else { "assumed" },
                speed / 1e9
            )?;
        }
        if !self.power.is_empty() {
            write!(f, "\n\n{POWER}")?;
        }
        self.power.iter().try_for_each(|power| write!(f, "\n- {power}"))
    }
}

/// What is said above the differences that can be told apart.
const POWER: &str = "Differences that the sweep tells from nothing with a chance of 80 %, each at the level that its table's claims leave it:";
