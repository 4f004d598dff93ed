//! The demo's data set: clips as real mp4 files, a training mixture, and held-out questions.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xcomp_data::encode::{RgbFrames, write_mp4};

use super::error::DemoError;
use super::question::Question;
use super::random::Random;
use super::scene::{FPS, SIDE, Scene};

/// How much of the world is made.
#[derive(Clone, Copy, Debug)]
pub struct WorldOptions {
    /// Clips to train on.
    pub train_clips: usize,
    /// Clips that are only asked about.
    pub held_out_clips: usize,
    /// Fixes every scene and the order of questions.
    pub seed: u64,
}

/// Scenes of both splits; no scene is in both, or twice in one.
#[derive(Clone, Debug)]
pub struct World {
    /// What is trained on.
    pub train: Vec<Scene>,
    /// What is asked about afterwards.
    pub held_out: Vec<Scene>,
    seed: u64,
}

/// One held-out question, in the layout of `MVBench`'s JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Path of the clip, relative to the folder of the file.
    pub video: String,
    /// The question in words.
    pub question: String,
    /// Possible answers.
    pub candidates: Vec<String>,
    /// The right one of them.
    pub answer: String,
    /// The kind of question.
    pub question_type: String,
}

/// Files of a world on disk.
#[derive(Clone, Debug)]
pub struct WorldFiles {
    /// The mixture to train on.
    pub mixture: PathBuf,
    /// The held-out questions, a JSON list of [`HeldOut`].
    pub held_out: PathBuf,
    /// The encoder that wrote the clips.
    pub encoder: &'static str,
}

impl World {
    /// Draws the scenes of both splits by lot.
    pub fn draw_lots(options: WorldOptions) -> Self {
        let mut random = Random::named(options.seed, "scenes");
        let mut seen = HashSet::new();
        let mut scenes = std::iter::repeat_with(|| Scene::draw_lot(&mut random))
            .filter(|scene| seen.insert(scene.clone()));
        let train = scenes.by_ref().take(options.train_clips).collect();
        let held_out = scenes.take(options.held_out_clips).collect();
        Self { train, held_out, seed: options.seed }
    }

    /// Writes `clips/*.mp4`, `train.json`, `held_out.json` and `mixture.yaml` into `folder`.
    ///
    /// # Errors
    /// If a clip cannot be encoded or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<WorldFiles, DemoError> {
        let clips = folder.join("clips");
        fs::create_dir_all(&clips).map_err(DemoError::write(&clips))?;
        let named = |split, scenes: &[Scene]| -> Vec<(String, Scene)> {
            let name = |at| format!("{split}-{at:04}.mp4");
            scenes.iter().enumerate().map(|(at, scene)| (name(at), scene.clone())).collect()
        };
        let (train, held_out) = (named("train", &self.train), named("held-out", &self.held_out));
        let encoders: Vec<&str> = [&train[..], &held_out[..]]
            .concat()
            .par_iter()
            .map(|(name, scene)| write_clip(&clips.join(name), scene))
            .collect::<Result<_, _>>()?;
        let mixture = folder.join("mixture.yaml");
        fs::write(&mixture, MIXTURE).map_err(DemoError::write(&mixture))?;
        write_json(&folder.join("train.json"), &self.conversations(&train))?;
        let questions = folder.join("held_out.json");
        write_json(&questions, &held_out_questions(&held_out))?;
        let encoder = encoders.first().copied().unwrap_or("none");
        Ok(WorldFiles { mixture, held_out: questions, encoder })
    }

    /// Every text that the model may meet, for the tokenizer.
    pub fn texts(&self) -> Vec<String> {
        let words = |question: Question| {
            let answers = question.candidates().into_iter().map(str::to_owned);
            [question.text().to_owned(), format!(" {}", question.text())].into_iter().chain(answers)
        };
        Question::ALL.into_iter().flat_map(words).collect()
    }

    /// `LLaVA` records: one clip, every question once, in random order.
    fn conversations(&self, clips: &[(String, Scene)]) -> Vec<Value> {
        let mut random = Random::named(self.seed, "conversations");
        let record = |(name, scene): &(String, Scene)| {
            let mut questions = Question::ALL;
            random.shuffle(&mut questions);
            // Training joins with " \n" where asking joins with " "; both forms are taught.
            let tag = random.pick(&["<image>\n", "<image>"]);
            let turn = |(at, question): (usize, &Question)| {
                let tag = if at == 0 { tag } else { "" };
                [
                    json!({"from": "human", "value": format!("{tag}{}", question.text())}),
                    json!({"from": "gpt", "value": question.answer(scene)}),
                ]
            };
            let turns: Vec<Value> = questions.iter().enumerate().flat_map(turn).collect();
            json!({"id": name, "video": name, "conversations": turns})
        };
        clips.iter().map(record).collect()
    }
}

/// The mixture file, in the layout of VideoChat-Flash.
const MIXTURE: &str = "\
datasets:
  - json_path: train.json
    sampling_strategy: all
    data_root: clips
    video_read_type: decord
";

fn held_out_questions(clips: &[(String, Scene)]) -> Vec<HeldOut> {
    let ask = |name: &str, scene: &Scene, question: Question| HeldOut {
        video: format!("clips/{name}"),
        question: question.text().to_owned(),
        candidates: question.candidates().into_iter().map(str::to_owned).collect(),
        answer: question.answer(scene).to_owned(),
        question_type: question.kind().to_owned(),
    };
    clips
        .iter()
        .flat_map(|(name, scene)| Question::ALL.map(|question| ask(name, scene, question)))
        .collect()
}

fn write_clip(path: &Path, scene: &Scene) -> Result<&'static str, DemoError> {
    let pixels = scene.pixels();
    Ok(write_mp4(path, RgbFrames { pixels: &pixels, width: SIDE, height: SIDE, fps: FPS })?)
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), DemoError> {
    let text = serde_json::to_string_pretty(value).expect("questions and records are plain JSON");
    fs::write(path, text + "\n").map_err(DemoError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: WorldOptions = WorldOptions { train_clips: 6, held_out_clips: 4, seed: 1 };

    #[test]
    fn splits_share_no_scene() {
        let options = WorldOptions { train_clips: 3000, held_out_clips: 300, seed: 0 };
        let world = World::draw_lots(options);
        let train: HashSet<&Scene> = world.train.iter().collect();
        assert_eq!((train.len(), world.held_out.len()), (3000, 300));
        assert!(world.held_out.iter().all(|scene| !train.contains(scene)));
    }

    #[test]
    fn a_seed_fixes_every_file() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let read = |folder: &tempfile::TempDir, name: &str| {
            fs::read(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        for folder in &folders {
            World::draw_lots(SMALL).write(folder.path()).unwrap();
        }
        let clips = ["clips/train-0000.mp4", "clips/train-0005.mp4", "clips/held-out-0003.mp4"];
        for name in ["train.json", "held_out.json", "mixture.yaml"].iter().chain(&clips) {
            assert!(read(&folders[0], name) == read(&folders[1], name), "{name} differs");
        }
        let other = World::draw_lots(WorldOptions { seed: 2, ..SMALL });
        assert_ne!(other.train, World::draw_lots(SMALL).train);
    }

    #[test]
    fn records_have_the_layout_of_llava() {
        let world = World::draw_lots(SMALL);
        let clips = vec![("a.mp4".to_owned(), world.train[0].clone())];
        let record = &world.conversations(&clips)[0];
        let turns = record["conversations"].as_array().unwrap();
        assert_eq!((record["video"].as_str(), turns.len()), (Some("a.mp4"), 6));
        let tags = turns.iter().filter(|t| t["value"].as_str().unwrap().contains("<image>"));
        assert_eq!(tags.count(), 1);
        let (human, gpt) = (turns[2]["value"].as_str().unwrap(), turns[3]["value"].as_str());
        let asked = Question::ALL.into_iter().find(|question| question.text() == human).unwrap();
        assert_eq!(gpt, Some(asked.answer(&world.train[0])));
    }

    #[test]
    fn held_out_questions_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = World::draw_lots(SMALL).write(folder.path()).unwrap();
        let text = fs::read_to_string(files.held_out).unwrap();
        let questions: Vec<HeldOut> = serde_json::from_str(&text).unwrap();
        assert_eq!(questions.len(), 12);
        for question in questions {
            assert!(folder.path().join(&question.video).is_file(), "{}", question.video);
            assert!(question.candidates.contains(&question.answer));
        }
    }
}
