//! Cells that were tried, a line each: a grid that was broken off goes on, and processes share one out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xcomp_data::lines::{JsonLines, read_lines};

use crate::error::Error;
use crate::eval::responses::files_of_all;
use crate::machine::files::{at, create_folder, sha256};

/// Its name in the folder of a grid, and in those of its shares.
const CELLS: &str = "cells.jsonl";

/// Right answers in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Right {
    /// Chains that were asked.
    pub chains: usize,
    /// To the first question.
    pub caption: u32,
    /// To the second.
    pub qa: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// Hash of all that decides the answers.
    key: String,
    right: Right,
}

/// The cells of a folder.
#[derive(Debug)]
pub struct Kept {
    settings: String,
    known: HashMap<String, Right>,
    file: JsonLines,
    path: PathBuf,
}

impl Kept {
    /// Opens a folder; `settings` is all that decides the answers besides the cell.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn open(folder: &Path, settings: String) -> Result<Self, Error> {
        create_folder(folder)?;
        let mut known = HashMap::new();
        for file in files_of_all(folder, CELLS)?.iter().filter(|file| file.is_file()) {
            let lines = read_lines::<Line>(file).map_err(at("cannot read", file))?;
            known.extend(lines.values.into_iter().map(|line| (line.key, line.right)));
        }
        let path = folder.join(CELLS);
        let file = JsonLines::open(&path).map_err(at("cannot write", &path))?;
        Ok(Self { settings, known, file, path })
    }

    fn key(&self, frames: usize, depth: f64) -> String {
        sha256(format!("{}\n{frames} {depth}", self.settings).as_bytes())
    }

    /// The cell of so many frames and this depth, if it was tried.
    pub fn get(&self, frames: usize, depth: f64) -> Option<Right> {
        self.known.get(&self.key(frames, depth)).copied()
    }

    /// Keeps a cell.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn keep(&mut self, frames: usize, depth: f64, right: Right) -> Result<(), Error> {
        let key = self.key(frames, depth);
        self.known.insert(key.clone(), right);
        self.file.push(&Line { key, right }).map_err(at("cannot write", &self.path))
    }
}
