//! Checkpoints are written behind the loop's back, one at a time.

use std::thread::JoinHandle;
use std::time::Instant;

use crate::error::Error;
use crate::train::checkpoint::{Checkpoints, Keep, Saved, Snapshot};

/// A checkpoint that reached the disk, and how long that took.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Where.
    pub saved: Saved,
    /// Seconds of writing.
    pub seconds: f64,
}

/// Writes snapshots on a thread of its own.
#[derive(Debug)]
pub struct Saver {
    checkpoints: Checkpoints,
    writing: Option<JoinHandle<Result<Published, Error>>>,
}

impl Saver {
    /// Nothing is being written.
    pub fn new(checkpoints: Checkpoints) -> Self {
        Self { checkpoints, writing: None }
    }

    /// Begins to write; waits for the save before it, and gives it.
    ///
    /// # Errors
    /// If the save before it failed.
    pub fn start(&mut self, snapshot: Snapshot, keep: Keep) -> Result<Option<Published>, Error> {
        let earlier = self.finish()?;
        let checkpoints = self.checkpoints.clone();
        self.writing = Some(std::thread::spawn(move || {
            let begun = Instant::now();
            let saved = checkpoints.save(&snapshot, &keep)?;
            Ok(Published { saved, seconds: begun.elapsed().as_secs_f64() })
        }));
        Ok(earlier)
    }

    /// Waits for the save that is being written, and gives it.
    ///
    /// # Errors
    /// If it failed.
    ///
    /// # Panics
    /// If the writing thread panicked.
    pub fn finish(&mut self) -> Result<Option<Published>, Error> {
        let writing = self.writing.take();
        writing.map(|thread| thread.join().expect("a save ends in a result")).transpose()
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        // An error of the loop must not cut off a save that is under way.
        if let Some(thread) = self.writing.take() {
            let _ = thread.join();
        }
    }
}
