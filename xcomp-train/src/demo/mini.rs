//! The mini world on disk: clips, questions and an untrained checkpoint, on which sweeps try out recipes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::base::{BaseOptions, write_base};
use super::clip::DrawnClip;
use super::error::DemoError;
use super::story::{Difficulty, Story};
use super::world::{World, WorldFiles};

/// How much of the mini world is made, how hard it is, and how large the untrained model: a sweep's `[world]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mini {
    /// Clips to train on.
    pub train_clips: usize,
    /// Clips whose questions choose between recipes.
    pub validation_clips: usize,
    /// Clips whose questions are asked at the end.
    pub test_clips: usize,
    /// Frames of a clip, 8 a second.
    pub frames: usize,
    /// Frames that the light of the `needle` questions is seen.
    pub light_frames: usize,
    /// Grey motes that drift about and mean nothing.
    pub motes: usize,
    /// Width of the language model.
    pub hidden_size: usize,
    /// Its decoder layers.
    pub num_hidden_layers: usize,
    /// Tokens of a frame before any compression.
    pub tokens_per_frame: usize,
    /// Fixes every clip, every question and every weight.
    pub seed: u64,
}

impl Default for Mini {
    fn default() -> Self {
        Self {
            train_clips: 1600,
            validation_clips: 40,
            test_clips: 100,
            frames: 32,
            light_frames: 4,
            motes: 0,
            hidden_size: 64,
            num_hidden_layers: 6,
            tokens_per_frame: 8,
            seed: 0,
        }
    }
}

impl Mini {
    /// Draws the stories of the three splits.
    pub fn world(&self) -> World<Story> {
        let Self { frames, light_frames, motes, .. } = *self;
        let difficulty = Difficulty { frames, light_frames, motes };
        let asked = [("validation", self.validation_clips), ("test", self.test_clips)];
        World::draw_lots(("train", self.train_clips), &asked, self.seed, |random| {
            Story::draw_lot(random, difficulty)
        })
    }

    /// Writes the world into `folder/world` and the untrained checkpoint into `folder/untrained`.
    ///
    /// # Errors
    /// If a clip cannot be encoded or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<WorldFiles, DemoError> {
        let files = self.world().write(&folder.join("world"))?;
        let options = BaseOptions {
            hidden_size: self.hidden_size,
            intermediate_size: 2 * self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            vision_blocks: 1, // its clips are kept as the tower sees them: many runs, one look
            tokens_per_frame: self.tokens_per_frame,
            seed: self.seed,
            ..BaseOptions::default()
        };
        write_base(&folder.join("untrained"), &Story::vocabulary(), &options)?;
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_clip_of_one_split_is_shown_in_another() {
        let mini =
            Mini { train_clips: 4000, validation_clips: 300, test_clips: 300, ..Mini::default() };
        let world = mini.world();
        let splits = std::iter::once(&world.train).chain(&world.asked);
        let pictures: Vec<_> = splits.flat_map(|split| &split.clips).map(|f| &f.picture).collect();
        let different: HashSet<_> = pictures.iter().collect();
        assert_eq!((pictures.len(), different.len()), (4600, 4600));
    }

    #[test]
    fn no_file_of_one_split_has_the_bytes_of_another() {
        let mini = Mini { train_clips: 12, validation_clips: 6, test_clips: 6, ..Mini::default() };
        let folder = tempfile::tempdir().unwrap();
        mini.write(folder.path()).unwrap();
        let clips = crate::machine::files::entries(&folder.path().join("world/clips")).unwrap();
        let bytes: HashSet<Vec<u8>> = clips.iter().map(|p| std::fs::read(p).unwrap()).collect();
        assert_eq!((clips.len(), bytes.len()), (24, 24));
    }
}
