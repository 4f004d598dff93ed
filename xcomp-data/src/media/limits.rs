//! What one media file may cost: pixels, packets, seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::DataError;

/// Bounds that no media file may pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most pixels of one picture or frame; the default is where Pillow starts to warn of a bomb.
    pub max_pixels: u64,
    /// Most packets that are read or decoded for one media file.
    pub max_packets: u64,
    /// Most seconds that reading one sample may take.
    pub max_seconds: f64,
    /// Part of the wanted frames that may be missing and is replaced by the nearest frame.
    pub max_missing: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 89_478_485,
            max_packets: 4_000_000,
            max_seconds: 300.0,
            max_missing: 0.1,
        }
    }
}

impl Limits {
    /// An error when a picture has too many pixels.
    pub(crate) fn check_pixels(
        &self,
        path: &Path,
        width: u64,
        height: u64,
    ) -> Result<(), DataError> {
        if width.saturating_mul(height) <= self.max_pixels {
            return Ok(());
        }
        Err(DataError::TooLarge { path: path.to_owned(), width, height, limit: self.max_pixels })
    }
}

/// Counts down the limits while one media file is read, and hears when reading is no longer wanted.
#[derive(Debug, Clone)]
pub struct Watch {
    limits: Limits,
    deadline: Instant,
    packets: u64,
    cancel: Arc<AtomicBool>,
}

impl Watch {
    /// Starts the clock; setting `cancel` ends reading soon.
    pub fn start(limits: &Limits, cancel: &Arc<AtomicBool>) -> Self {
        let allowed = Duration::try_from_secs_f64(limits.max_seconds).unwrap_or(Duration::MAX);
        let now = Instant::now();
        let deadline = now.checked_add(allowed).unwrap_or(now + Duration::from_hours(8760));
        Self { limits: limits.clone(), deadline, packets: 0, cancel: Arc::clone(cancel) }
    }

    /// The limits that it watches.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether reading has to end now.
    pub fn is_over(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    /// Counts one packet or picture.
    ///
    /// # Errors
    /// When a limit is reached or reading was cancelled.
    pub fn tick(&mut self, path: &Path) -> Result<(), DataError> {
        self.packets += 1;
        if self.packets > self.limits.max_packets {
            return Err(gave_up(path, format!("{} packets", self.limits.max_packets)));
        }
        self.check(path)
    }

    /// An error when time is up or reading was cancelled.
    ///
    /// # Errors
    /// Says which.
    pub fn check(&self, path: &Path) -> Result<(), DataError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(gave_up(path, "being cancelled".into()));
        }
        if Instant::now() >= self.deadline {
            return Err(gave_up(path, format!("{} s", self.limits.max_seconds)));
        }
        Ok(())
    }
}

fn gave_up(path: &Path, what: String) -> DataError {
    DataError::GaveUp { path: path.to_owned(), what }
}
