//! A clip drawn by code: pictures, and questions that only its pictures answer.

use std::hash::Hash;

/// A clip that code draws. Two are equal if they show the same.
pub trait DrawnClip: Clone + Eq + Hash + Sync {
    /// Every text that a question or an answer may hold, for the tokenizer.
    fn vocabulary() -> Vec<String>;

    /// All frames as RGB bytes, `[frames, SIDE, SIDE, 3]`.
    fn pixels(&self) -> Vec<u8>;

    /// What may be asked about it.
    fn asked(&self) -> Vec<Asked>;
}

/// A question about one clip, as it is asked and as it is taught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The kind of question.
    pub kind: String,
    /// The question in words.
    pub question: String,
    /// Possible answers.
    pub candidates: Vec<&'static str>,
    /// The right one of them.
    pub answer: &'static str,
    /// What the human of a training record says.
    pub human: String,
    /// What the assistant of a training record answers.
    pub assistant: String,
}
