//! Where a start of a run begins: at the newest checkpoint of its folder, or at one that is named.

use std::path::Path;

use crate::error::Error;
use crate::train::checkpoint::{Checkpoints, Saved, manifest};
use crate::train::state::step_of;

/// Where a start begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The checkpoint; the base weights without one.
    pub checkpoint: Option<Saved>,
    /// What a user should know of the choice.
    pub notes: Vec<String>,
}

/// The newest complete checkpoint in the folder of a run; damaged ones are passed over with a note.
///
/// # Errors
/// If the folder cannot be read.
pub fn automatic(run: &Path) -> Result<Origin, Error> {
    let (checkpoint, notes) = Checkpoints::open(run).latest()?;
    Ok(Origin { checkpoint, notes })
}

/// The checkpoint folder `path`; where the run has gone further from it since, the run's own newest.
///
/// # Errors
/// If the named checkpoint is damaged, or lies in `run` behind newer ones: those would be in the way of its steps.
pub fn named(run: &Path, path: &Path) -> Result<Origin, Error> {
    let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
    if let Some(damage) = manifest::damage(path) {
        return Err(wrong(format!("is no complete checkpoint to go on from: {damage}")));
    }
    let asked = Saved { step: step_of(path)?, folder: path.into() };
    let mut own = automatic(run)?;
    let Some(newest) = own.checkpoint.as_ref().filter(|newest| newest.step >= asked.step) else {
        return Ok(Origin { checkpoint: Some(asked), notes: own.notes });
    };
    let same =
        |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if same(&newest.folder, path) {
        return Ok(own);
    }
    if path.parent().is_some_and(|parent| same(parent, run)) {
        return Err(wrong(format!(
            "{} is newer, and would be overtaken; give another --out to go on from here",
            newest.folder.display()
        )));
    }
    own.notes.push(format!(
        "{} is further than the named {}: goes on from it",
        newest.folder.display(),
        path.display()
    ));
    Ok(own)
}
