//! Needles of the mini world: pictures in which a light is seen, and hay in which none ever is.

use std::path::Path;

use serde_json::json;
use xcomp_data::media::encode::{RgbFrames, write_mp4};
use xcomp_data::media::picture::Rgb;
use xcomp_data::report::write_png;

use super::error::DemoError;
use super::scene::SIDE;
use super::story::{Difficulty, Story};
use super::story_question::Task;
use super::world::write_json;
use crate::eval::niah::Chain;
use crate::eval::niah::files::{CHAINS, HAY};
use crate::machine::random::Random;

/// Needles, and stories without a light, of each of which some frames are hay.
const COUNTS: (usize, usize) = (24, 16);
/// Frames of a story that are hay.
const OF_STORY: usize = 8;

/// Writes single needles with their question, in the published layout of chains, and the hay into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write(folder: &Path, difficulty: Difficulty, seed: u64) -> Result<(), DemoError> {
    std::fs::create_dir_all(folder).map_err(DemoError::write(folder))?;
    let mut random = Random::named(seed, "needles");
    let mut chains = vec![];
    for at in 0..COUNTS.0 {
        let story = Story::draw_lot(&mut random, difficulty);
        let name = format!("needle-{at:02}.png");
        let pixels = frame(&story.picture.pixels(), story.picture.flare.start).to_vec();
        write_png(&folder.join(&name), &Rgb { pixels, width: SIDE, height: SIDE })?;
        let (question, answer) = (Task::Needle.text(&story), story.picture.light.word().to_owned());
        chains.push(Chain {
            images: vec![name],
            question1: question.clone(),
            answer1: answer.clone(),
            question2: question,
            answer2: answer,
        });
    }
    write_json(&folder.join(CHAINS), &json!(chains))?;
    let mut pixels = vec![];
    for _ in 0..COUNTS.1 {
        let mut story = Story::draw_lot(&mut random, difficulty);
        story.picture.flare = 0..0;
        let all = story.picture.pixels();
        let step = (difficulty.frames / OF_STORY).max(1);
        (0..difficulty.frames).step_by(step).for_each(|at| pixels.extend(frame(&all, at)));
    }
    let hay = RgbFrames { pixels: &pixels, width: SIDE, height: SIDE, fps: 1 };
    write_mp4(&folder.join(HAY), hay)?;
    Ok(())
}

fn frame(pixels: &[u8], at: usize) -> &[u8] {
    &pixels[at * SIDE * SIDE * 3..][..SIDE * SIDE * 3]
}
