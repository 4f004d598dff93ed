//! The mini world on disk: clips, questions and an untrained checkpoint, on which sweeps try out recipes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;

use super::base::{BaseOptions, write_base};
use super::clip::DrawnClip;
use super::error::DemoError;
use super::ideal::{of_events, of_needle};
use super::scene::FPS;
use super::story::{Difficulty, EVENTS, Event, LIGHT_SIDE, MOST_LIGHT_SIDE, Story};
use super::story_question::{Task, needle_of};
use super::world::{World, WorldFiles, write_json};
use super::{needles, vico};
use crate::eval::niah::files::NEEDLES;

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
    /// Several such numbers, one of which is drawn for each clip, in the place of `light_frames`; the tasks are then `needle, N frames`.
    pub flares: Vec<usize>,
    /// Pixels per side of the light, 24 at most; a clip has 64.
    pub light_side: usize,
    /// Grey motes that drift about and mean nothing.
    pub motes: usize,
    /// The `config.json` of the untrained model, of any family; the demo's own, a small VideoChat-Flash, if absent.
    pub config: Option<PathBuf>,
    /// Width of the demo's language model; 64 if absent.
    pub hidden_size: Option<usize>,
    /// Its decoder layers; 6 if absent.
    pub num_hidden_layers: Option<usize>,
    /// Its tokens of a frame before any compression; 8 if absent.
    pub tokens_per_frame: Option<usize>,
    /// Percentages of samples that `xcomp data vico` makes of the events of clips, in the place of others: a mixture for each.
    pub vico_percent: Vec<usize>,
    /// Fixes every clip, every question and, unless `weights_seed` does, every weight.
    pub seed: u64,
    /// Clips of the same drawing that are passed over first: what another world has taken of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip_clips: usize,
    /// Fixes the weights of the untrained model in the place of `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_seed: Option<u64>,
}

impl Default for Mini {
    fn default() -> Self {
        Self {
            train_clips: 1600,
            validation_clips: 40,
            test_clips: 100,
            frames: 32,
            light_frames: 4,
            flares: vec![],
            light_side: LIGHT_SIDE,
            motes: 0,
            config: None,
            hidden_size: None,
            num_hidden_layers: None,
            tokens_per_frame: None,
            vico_percent: vec![],
            seed: 0,
            skip_clips: 0,
            weights_seed: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(clips: &usize) -> bool {
    *clips == 0
}

impl Mini {
    /// The world that the `place`-th further base of a sweep learns from, counted from 0: clips that neither this world nor another base
    /// has, first weights of its own, and no questions that are asked.
    #[must_use]
    pub fn of_further_base(&self, place: usize, weights_seed: u64) -> Self {
        let of_this = self.train_clips + self.validation_clips + self.test_clips;
        Self {
            validation_clips: 0,
            test_clips: 0,
            skip_clips: self.skip_clips + of_this + place * self.train_clips,
            weights_seed: Some(weights_seed),
            ..self.clone()
        }
    }

    /// Draws the stories of the three splits.
    pub fn world(&self) -> World<Story> {
        let Self { frames, light_side, motes, .. } = *self;
        let asked = [("validation", self.validation_clips), ("test", self.test_clips)];
        let train = ("train", self.train_clips);
        World::draw_lots(self.skip_clips, train, &asked, self.seed, |random| {
            let tells_length = !self.flares.is_empty();
            let light_frames =
                if tells_length { random.pick(&self.flares) } else { self.light_frames };
            Story::draw_lot(
                random,
                Difficulty { frames, light_frames, light_side, motes, tells_length },
            )
        })
    }

    /// The best share of right answers to each task that is possible behind the frames `shown` of its clips.
    pub fn ideal(&self, shown: &[usize]) -> BTreeMap<String, f64> {
        let events =
            of_events(self.frames, shown).map(|(task, right)| (task.kind().to_owned(), right));
        let of = |light_frames| of_needle(self.frames, light_frames, shown);
        let flares = self.flares.iter().map(|flare| (needle_of(*flare), of(*flare)));
        let plain =
            self.flares.is_empty().then(|| (Task::Needle.kind().into(), of(self.light_frames)));
        events.chain(flares).chain(plain).collect()
    }

    /// Whether there is room for every light and every event.
    fn check(&self) -> Result<(), DemoError> {
        if !(1..=MOST_LIGHT_SIDE).contains(&self.light_side) {
            return Err(DemoError::Light { side: self.light_side });
        }
        let lit = if self.flares.is_empty() { &[self.light_frames][..] } else { &self.flares };
        let fits = |lit: &usize| *lit > 0 && lit + 1 < self.frames && *EVENTS.end() <= self.frames;
        let wrong = lit.iter().find(|lit| !fits(lit));
        wrong.map_or(Ok(()), |lit| Err(DemoError::Frames { frames: self.frames, lit: *lit }))
    }

    /// Writes the world into `folder/world` and the untrained checkpoint into `folder/untrained`.
    ///
    /// # Errors
    /// If the model cannot be made, a clip cannot be encoded or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<WorldFiles, DemoError> {
        self.check()?;
        let config = self.model()?;
        let (world, place) = (self.world(), folder.join("world"));
        let files = world.write(&place)?;
        let films: Vec<Value> =
            world.train.named().map(|(name, story)| events(&name, story)).collect();
        write_json(&place.join("events.json"), &films)?;
        let Self { frames, light_frames, light_side, motes, .. } = *self;
        let difficulty =
            Difficulty { frames, light_frames, light_side, motes, tells_length: false };
        needles::write(&place.join(NEEDLES), difficulty, self.seed)?;
        let mut vocabulary = Story::vocabulary();
        if !self.vico_percent.is_empty() {
            vocabulary.extend(vico::write(&place, &self.vico_percent, self.train_clips)?);
        }
        let weights = self.weights_seed.unwrap_or(self.seed);
        write_base(&folder.join("untrained"), &vocabulary, config, weights)?;
        Ok(files)
    }

    /// The `config.json` of the untrained model.
    fn model(&self) -> Result<Value, DemoError> {
        let Some(path) = &self.config else { return Ok(self.of_demo()) };
        if self.hidden_size.or(self.num_hidden_layers).or(self.tokens_per_frame).is_some() {
            return Err(DemoError::Sizes { config: path.clone() });
        }
        ModelConfig::from_file(path)?;
        let read = |source| DemoError::Read { path: path.clone(), source };
        let text = std::fs::read_to_string(path).map_err(|error| read(error.into()))?;
        serde_json::from_str(&text).map_err(|error| read(error.into()))
    }

    fn of_demo(&self) -> Value {
        let options = BaseOptions {
            hidden_size: self.hidden_size.unwrap_or(64),
            num_hidden_layers: self.num_hidden_layers.unwrap_or(6),
            vision_blocks: 1, // its clips are kept as the tower sees them: many runs, one look
            tokens_per_frame: self.tokens_per_frame.unwrap_or(8),
        };
        options.config()
    }
}

/// What comes in a clip and when, as `xcomp data vico` reads it.
fn events(video: &str, story: &Story) -> Value {
    let event = |event: &Event| {
        let start_s = event.start as f64 / f64::from(FPS);
        json!({ "start": start_s, "text": format!("a {} shape comes", event.colour.word()) })
    };
    json!({ "video": video, "events": story.picture.events.iter().map(event).collect::<Vec<_>>() })
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

    /// A base that has learnt a question of the examination would know its answer.
    #[test]
    fn no_base_learns_from_a_clip_that_another_has_or_that_is_asked_about() {
        let first =
            Mini { train_clips: 400, validation_clips: 30, test_clips: 50, ..Mini::default() };
        let bases = [first.of_further_base(0, 7), first.of_further_base(1, 8)];
        let all: Vec<_> = std::iter::once(&first).chain(&bases).map(Mini::world).collect();
        let of = |world: &World<Story>| -> Vec<_> {
            let splits = std::iter::once(&world.train).chain(&world.asked);
            splits.flat_map(|split| &split.clips).map(|film| film.picture.clone()).collect()
        };
        let pictures: Vec<_> = all.iter().flat_map(of).collect();
        let different: HashSet<_> = pictures.iter().collect();
        assert_eq!((pictures.len(), different.len()), (1280, 1280));
        assert_eq!(all[1].asked.iter().map(|split| split.clips.len()).sum::<usize>(), 0);
        // The first weights are another draw, and nothing else of the model is.
        let weights = |mini: &Mini| (mini.weights_seed, mini.model().unwrap());
        assert_eq!((weights(&bases[0]).0, weights(&bases[1]).0), (Some(7), Some(8)));
        assert_eq!(weights(&bases[0]).1, weights(&first).1);
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

    #[test]
    fn its_events_become_questions_about_its_clips() {
        let mini = Mini { train_clips: 12, validation_clips: 2, test_clips: 2, ..Mini::default() };
        let folder = tempfile::tempdir().unwrap();
        mini.write(folder.path()).unwrap();
        let films = xcomp_data::vico::read_films(&folder.path().join("world/events.json")).unwrap();
        let world = mini.world();
        for (film, (name, story)) in films.iter().zip(world.train.named()) {
            let colour = |event: &Event| format!("a {} shape comes", event.colour.word());
            let want: Vec<String> = story.picture.events.iter().map(colour).collect();
            assert_eq!((&film.video, film.events()), (&name, &want[..]));
        }
        let asked = xcomp_data::vico::questions(&films, 0);
        assert_eq!((asked.records.len(), asked.left_out), (12, 0));
    }
}
