//! What happens to samples that cannot be read, and when there are too many.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Position;
use crate::DataError;
use crate::lines::JsonLines;

/// Distances of the neighbours that are tried, as the reference (`train.py:1493-1506`).
pub(super) const NEIGHBOUR_STEPS: [usize; 5] = [5, 10, 20, 40, 80];

/// What takes the place of a sample that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadSamplePolicy {
    /// The record 5, else 10, 20, 40, 80 places further in the mixture, as the reference.
    Neighbour,
    /// Nothing.
    Skip,
    /// The stream ends with an error.
    Fail,
}

/// The policy, its thresholds and where events are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BadSample {
    /// What takes the place of the sample.
    pub policy: BadSamplePolicy,
    /// So many one after the other end the stream.
    pub max_in_a_row: u64,
    /// More than this part of all samples ends the stream, once 100 have been taken.
    pub max_fraction: f64,
    /// A file to which each event is appended as a line of JSON.
    pub quarantine: Option<PathBuf>,
}

impl Default for BadSample {
    fn default() -> Self {
        Self {
            policy: BadSamplePolicy::Neighbour,
            max_in_a_row: 20,
            max_fraction: 0.05,
            quarantine: None,
        }
    }
}

/// Samples before the fraction of bad ones means anything.
const FRACTION_FROM: u64 = 100;

/// One sample that could not be read, as a line of `quarantine.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineEvent {
    /// Pass through the mixture.
    pub epoch: u64,
    /// Place in the epoch's order.
    pub place: u64,
    /// Index in the mixture.
    pub index: usize,
    /// Id in the annotation.
    pub id: String,
    /// Its dataset.
    pub source: String,
    /// Its media file.
    pub path: PathBuf,
    /// Why it could not be read.
    pub reason: String,
    /// Index of the record that took its place.
    pub replaced_by: Option<usize>,
}

/// Writes events down and counts.
pub(super) struct Tolerance {
    limits: BadSample,
    file: Option<JsonLines>,
}

impl Tolerance {
    pub(super) fn open(limits: &BadSample) -> Result<Self, DataError> {
        let open = |path: &PathBuf| {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            JsonLines::open(path)
        };
        let opened = limits.quarantine.as_ref().map(|path| {
            open(path).map_err(|source| DataError::Write { path: path.clone(), source })
        });
        Ok(Self { limits: limits.clone(), file: opened.transpose()? })
    }

    /// Notes an event; an error when there are too many.
    pub(super) fn judge(
        &mut self,
        event: &QuarantineEvent,
        position: &Position,
    ) -> Result<(), DataError> {
        self.write(event)?;
        let too_many =
            |what: String| Err(DataError::TooManyBad { what, last: event.reason.clone() });
        if position.bad_in_a_row >= self.limits.max_in_a_row {
            return too_many(format!("{} unreadable samples in a row", position.bad_in_a_row));
        }
        let fraction = position.bad as f64 / position.samples as f64;
        if position.samples >= FRACTION_FROM && fraction > self.limits.max_fraction {
            let (bad, samples) = (position.bad, position.samples);
            return too_many(format!("{bad} of {samples} samples are unreadable"));
        }
        Ok(())
    }

    fn write(&mut self, event: &QuarantineEvent) -> Result<(), DataError> {
        let (Some(file), Some(path)) = (&mut self.file, &self.limits.quarantine) else {
            return Ok(());
        };
        file.push(event).map_err(|source| DataError::Write { path: path.clone(), source })
    }
}
