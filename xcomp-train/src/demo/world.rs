//! A data set made by code: clips as real mp4 files, a training mixture, and questions about clips that are not trained on.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xcomp_data::media::encode::{RgbFrames, write_mp4};

use super::clip::{Asked, DrawnClip};
use super::error::DemoError;
use super::scene::{FPS, SIDE};
use crate::machine::random::Random;
use crate::show::progress::Progress;

/// Clips of one purpose.
#[derive(Clone, Debug)]
pub struct Split<F> {
    /// Its name in files.
    pub name: &'static str,
    /// Its clips.
    pub clips: Vec<F>,
}

/// Clips of every split; no clip is in two of them, or twice in one.
#[derive(Clone, Debug)]
pub struct World<F> {
    /// What is trained on.
    pub train: Split<F>,
    /// What is only asked about.
    pub asked: Vec<Split<F>>,
    seed: u64,
}

/// One question, in the layout of `MVBench`'s JSON.
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
    /// The questions of every split that is asked about, each a JSON list of [`HeldOut`].
    pub questions: Vec<PathBuf>,
    /// The encoder that wrote the clips.
    pub encoder: &'static str,
}

impl<F: DrawnClip> World<F> {
    /// Draws clips by lot: name and number of those to train on, and of every split that is asked about.
    ///
    /// One stream of lots fills the splits one after the other and passes over what was drawn before; its first `skip` different clips are left to others.
    pub fn draw_lots(
        skip: usize,
        (train, count): (&'static str, usize),
        asked: &[(&'static str, usize)],
        seed: u64,
        draw: impl Fn(&mut Random) -> F,
    ) -> Self {
        let mut random = Random::named(seed, "scenes");
        let mut seen = HashSet::new();
        let mut clips =
            std::iter::repeat_with(|| draw(&mut random)).filter(|clip| seen.insert(clip.clone()));
        clips.by_ref().take(skip).for_each(drop);
        let mut split = |name, count| Split { name, clips: clips.by_ref().take(count).collect() };
        let train = split(train, count);
        let asked = asked.iter().map(|(name, count)| split(name, *count)).collect();
        Self { train, asked, seed }
    }

    /// Writes `clips/*.mp4`, `train.json`, a file of questions for every other split and `mixture.yaml` into `folder`.
    ///
    /// # Errors
    /// If a clip cannot be encoded or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<WorldFiles, DemoError> {
        let clips = folder.join("clips");
        fs::create_dir_all(&clips).map_err(DemoError::write(&clips))?;
        let splits = std::iter::once(&self.train).chain(&self.asked);
        let all: Vec<(String, &F)> = splits.flat_map(Split::named).collect();
        let progress = Progress::new("clips made", all.len());
        let encode = |(name, clip): &(String, &F)| {
            write_clip(&clips.join(name), *clip).inspect(|_| progress.step())
        };
        let encoders: Vec<&str> = all.par_iter().map(encode).collect::<Result<_, _>>()?;
        let mixture = folder.join("mixture.yaml");
        fs::write(&mixture, MIXTURE).map_err(DemoError::write(&mixture))?;
        write_json(&folder.join("train.json"), &self.conversations())?;
        let mut questions = vec![];
        for split in &self.asked {
            let path = folder.join(split.name.replace('-', "_") + ".json");
            write_json(&path, &split.questions())?;
            questions.push(path);
        }
        Ok(WorldFiles { mixture, questions, encoder: encoders.first().copied().unwrap_or("none") })
    }

    /// `LLaVA` records: one clip, every question once, in random order.
    fn conversations(&self) -> Vec<Value> {
        let mut random = Random::named(self.seed, "conversations");
        let record = |(name, clip): (String, &F)| {
            let mut questions = clip.asked();
            random.shuffle(&mut questions);
            // Training joins with " \n" where asking joins with " "; both forms are taught.
            let tag = random.pick(&["<image>\n", "<image>"]);
            let turn = |(at, asked): (usize, &Asked)| {
                let tag = if at == 0 { tag } else { "" };
                [
                    json!({"from": "human", "value": format!("{tag}{}", asked.human)}),
                    json!({"from": "gpt", "value": asked.assistant}),
                ]
            };
            let turns: Vec<Value> = questions.iter().enumerate().flat_map(turn).collect();
            json!({"id": name, "video": name, "conversations": turns})
        };
        self.train.named().map(record).collect()
    }
}

impl<F: DrawnClip> Split<F> {
    /// Every clip with its file name.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, &F)> {
        let name = self.name;
        self.clips.iter().enumerate().map(move |(at, clip)| (format!("{name}-{at:04}.mp4"), clip))
    }

    fn questions(&self) -> Vec<HeldOut> {
        let ask = |name: &str, asked: Asked| HeldOut {
            video: format!("clips/{name}"),
            question: asked.question,
            candidates: asked.candidates.into_iter().map(str::to_owned).collect(),
            answer: asked.answer.to_owned(),
            question_type: asked.kind,
        };
        self.named()
            .flat_map(|(name, clip)| clip.asked().into_iter().map(move |asked| ask(&name, asked)))
            .collect()
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

fn write_clip(path: &Path, clip: &impl DrawnClip) -> Result<&'static str, DemoError> {
    let pixels = clip.pixels();
    Ok(write_mp4(path, RgbFrames { pixels: &pixels, width: SIDE, height: SIDE, fps: FPS })?)
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), DemoError> {
    let text = serde_json::to_string_pretty(value).expect("questions and records are plain JSON");
    fs::write(path, text + "\n").map_err(DemoError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::question::Question;
    use crate::demo::scene::Scene;

    fn world(train: usize, held_out: usize, seed: u64) -> World<Scene> {
        World::draw_lots(0, ("train", train), &[("held-out", held_out)], seed, Scene::draw_lot)
    }

    #[test]
    fn splits_share_no_scene() {
        let world = world(3000, 300, 0);
        let train: HashSet<&Scene> = world.train.clips.iter().collect();
        let held_out = &world.asked[0].clips;
        assert_eq!((train.len(), held_out.len()), (3000, 300));
        assert!(held_out.iter().all(|scene| !train.contains(scene)));
    }

    #[test]
    fn a_seed_fixes_every_file() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let read = |folder: &tempfile::TempDir, name: &str| {
            fs::read(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        for folder in &folders {
            world(6, 4, 1).write(folder.path()).unwrap();
        }
        let clips = ["clips/train-0000.mp4", "clips/train-0005.mp4", "clips/held-out-0003.mp4"];
        for name in ["train.json", "held_out.json", "mixture.yaml"].iter().chain(&clips) {
            assert!(read(&folders[0], name) == read(&folders[1], name), "{name} differs");
        }
        assert_ne!(world(6, 4, 2).train.clips, world(6, 4, 1).train.clips);
    }

    #[test]
    fn records_have_the_layout_of_llava() {
        let world = world(6, 4, 1);
        let record = &world.conversations()[0];
        let turns = record["conversations"].as_array().unwrap();
        assert_eq!((record["video"].as_str(), turns.len()), (Some("train-0000.mp4"), 6));
        let tags = turns.iter().filter(|t| t["value"].as_str().unwrap().contains("<image>"));
        assert_eq!(tags.count(), 1);
        let (human, gpt) = (turns[2]["value"].as_str().unwrap(), turns[3]["value"].as_str());
        let asked = Question::ALL.into_iter().find(|question| question.text() == human).unwrap();
        assert_eq!(gpt, Some(asked.answer(&world.train.clips[0])));
    }

    #[test]
    fn held_out_questions_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = world(6, 4, 1).write(folder.path()).unwrap();
        let text = fs::read_to_string(&files.questions[0]).unwrap();
        let questions: Vec<HeldOut> = serde_json::from_str(&text).unwrap();
        assert_eq!(questions.len(), 12);
        for question in questions {
            assert!(folder.path().join(&question.video).is_file(), "{}", question.video);
            assert!(question.candidates.contains(&question.answer));
        }
    }
}
