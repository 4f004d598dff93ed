//! Held-out questions, put to a checkpoint.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use xcomp_data::{Limits, load_media};

use super::error::DemoError;
use super::scene::FRAMES;
use super::world::HeldOut;
use crate::answer::{AnswerOptions, Answerer, EncodedMedia};
use crate::error::Error;
use crate::show::progress::Progress;

/// Most tokens of an answer; the right ones are one word.
const MAX_NEW_TOKENS: usize = 8;

/// Right answers to the questions of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Answered with exactly the right word.
    pub right: usize,
    /// Asked.
    pub asked: usize,
}

impl Score {
    /// Share of right answers.
    pub fn accuracy(self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }
}

/// Reads the held-out questions of a world.
///
/// # Errors
/// If the file cannot be read.
pub fn questions(path: &Path) -> Result<Vec<HeldOut>, DemoError> {
    let read = |source| DemoError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(|error| read(error.into()))?;
    serde_json::from_str(&text).map_err(|error| read(error.into()))
}

/// Asks every question and writes the answer greedily, token by token; a score for each kind.
///
/// # Errors
/// If a clip cannot be read or the tokenizer fails.
pub fn ask(
    answerer: &Answerer,
    folder: &Path,
    questions: &[HeldOut],
) -> Result<BTreeMap<String, Score>, Error> {
    let options = AnswerOptions { max_new_tokens: MAX_NEW_TOKENS, ..AnswerOptions::default() };
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut seen: Option<(&str, EncodedMedia)> = None;
    let progress = Progress::new("held-out questions", questions.len());
    for question in questions {
        let known = seen.take().filter(|(video, _)| *video == question.video);
        let (_, video) = match known {
            Some(known) => seen.insert(known),
            None => seen.insert((&question.video, look(answerer, &folder.join(&question.video))?)),
        };
        let answer = answerer.answer(video, &question.question, &options, &mut |_| ())?;
        let score = scores.entry(question.question_type.clone()).or_default();
        score.right += usize::from(answer == question.answer);
        score.asked += 1;
        progress.step();
    }
    Ok(scores)
}

fn look(answerer: &Answerer, video: &Path) -> Result<EncodedMedia, Error> {
    let options = answerer.frame_options(FRAMES..=FRAMES);
    let (frames, choice, media) = load_media(video, None, &options, &Limits::default())?;
    answerer.see(frames, &choice, media)
}
