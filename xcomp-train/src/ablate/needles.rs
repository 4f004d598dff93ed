//! Needles in the hay of a made-up world, asked of a few arms: `xcomp niah` beside the examinations, its heat maps among the pictures.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;
use crate::eval::niah::files::{CHAINS, HAY, NEEDLES};
use crate::eval::niah::run::{CELLS, Cell, Grid, heat_map};
use crate::machine::files::{at, read_text, sha256};

/// Letters of a hash that name a folder.
const NAME: usize = 12;

/// `[needles]`: which arms look for a light that is seen in one frame, in hay of which lengths, at which depths.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needles {
    /// The arms; the first seed of each is asked.
    pub arms: Vec<String>,
    /// Frames of hay.
    pub lengths: Vec<usize>,
    /// Shares of the hay that stand before the needle.
    pub depths: Vec<f64>,
    /// Needles of each cell.
    pub count: usize,
}

impl Needles {
    /// What of them cannot be asked, in words.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let share = |depth: &f64| (0.0..=1.0).contains(depth);
        let wrong = self.lengths.is_empty() || self.lengths.contains(&0) || self.count == 0;
        let wrong = wrong || self.depths.is_empty() || !self.depths.iter().all(share);
        wrong.then_some("[needles]: give lengths and count of 1 or more, and depths from 0 to 1")
    }

    /// Folder and arguments of the test of a training in whose folder it lies; `windows` are how the arm reads, as options with values.
    ///
    /// # Errors
    /// If the needles of the world cannot be read.
    pub(super) fn test(
        &self,
        world: &Path,
        windows: impl Iterator<Item = (&'static str, String)>,
        training: &Path,
    ) -> Result<(PathBuf, Vec<String>), Error> {
        let folder = world.join(NEEDLES);
        let content = sha256(read_text(&folder.join(CHAINS))?.as_bytes());
        let list = |numbers: Vec<String>| numbers.join(",");
        let mut own = vec![
            ("--lengths", list(self.lengths.iter().map(usize::to_string).collect())),
            ("--depths", list(self.depths.iter().map(f64::to_string).collect())),
            ("--count", self.count.to_string()),
        ];
        own.extend(windows);
        let name = sha256(format!("{content} {own:?}").as_bytes());
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let fixed = [
            ("--chains", path(CHAINS)),
            ("--pictures", folder.to_string_lossy().into_owned()),
            ("--haystack", path(HAY)),
        ];
        let arguments = fixed.into_iter().chain(own);
        let arguments = arguments.flat_map(|(key, value)| [key.to_owned(), value]).collect();
        Ok((training.join(format!("niah-{}", &name[..NAME])), arguments))
    }

    /// Questions of all cells.
    pub(super) fn questions(&self) -> usize {
        2 * self.count * self.lengths.len() * self.depths.len()
    }

    /// Frames of hay in the mean.
    pub(super) fn mean_frames(&self) -> usize {
        self.lengths.iter().sum::<usize>() / self.lengths.len().max(1)
    }

    /// The heat map of an arm, once its test is finished.
    ///
    /// # Errors
    /// If its cells cannot be read.
    pub(super) fn picture(&self, arm: &str, folder: &Path) -> Result<Option<String>, Error> {
        let path = folder.join(CELLS);
        if !path.is_file() {
            return Ok(None);
        }
        let cells: Vec<Cell> = serde_json::from_str(&read_text(&path)?)
            .map_err(|error| at("cannot read", &path)(error.into()))?;
        let Self { lengths, depths, count, .. } = self.clone();
        let title = format!("needles by frames of hay and depth: {arm}");
        Ok(Some(heat_map(&Grid { lengths, depths, chains: count }, &cells, &title)))
    }
}
