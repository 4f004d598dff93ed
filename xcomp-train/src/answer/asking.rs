//! How questions are put to a checkpoint, with nothing left to decide.

use std::ops::RangeInclusive;

use super::AnswerOptions;
use super::select::SelectOptions;
use crate::recipe::tables::AnswerBy;

/// What recipe, arguments and the checkpoint's folder come to: how a video is looked at, and how an answer is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// Fewest and most frames, whole clips.
    pub frames: RangeInclusive<usize>,
    /// How frames are chosen by question, if they are.
    pub select: Option<SelectOptions>,
    /// How the letter of a multiple choice is got.
    pub by: AnswerBy,
    /// How an answer is written.
    pub answer: AnswerOptions,
}
