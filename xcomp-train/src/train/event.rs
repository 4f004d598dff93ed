//! A run that is to go on, and what its loop tells.

use std::path::Path;

use burn::tensor::Device;

use crate::data::Data;
use crate::error::Error;
use crate::peers::Peers;
use crate::plan::Plan;
use crate::train::checkpoint::Saved;
use crate::train::checkpoint::identity::Identity;
use crate::train::checkpoint::resume::Origin;
use crate::train::held_out::HeldOut;
use crate::train::memory_guard::MemoryGuard;
use crate::train::meter::Record;

/// A run that is about to go on.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// The checked recipe, and the steps that follow from it.
    pub plan: &'a Plan,
    /// The samples.
    pub data: &'a Data,
    /// What a checkpoint must agree with.
    pub identity: &'a Identity,
    /// The device, without a tape.
    pub device: &'a Device,
    /// Folder of the run.
    pub run: &'a Path,
    /// Where this start begins.
    pub from: &'a Origin,
    /// Memory that the run may take.
    pub memory: &'a MemoryGuard,
    /// The processes that take each step together.
    pub peers: &'a dyn Peers,
}

/// What the loop tells while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first step is next.
    Started {
        /// Steps that were already taken.
        step: usize,
        /// Steps planned.
        steps: usize,
    },
    /// Something a user should know.
    Note(String),
    /// A step was logged.
    Step(Box<Record>),
    /// The weights were measured on held-out samples.
    Validated(HeldOut),
    /// A checkpoint was published.
    Saved(Published),
}

/// A checkpoint that reached the disk, and how long that took.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Its folder and step.
    pub saved: Saved,
    /// Seconds of writing.
    pub seconds: f64,
}

/// Takes events; its errors end the run.
pub type Report<'a> = dyn FnMut(Event) -> Result<(), Error> + 'a;
