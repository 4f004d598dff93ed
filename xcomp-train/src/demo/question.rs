//! What is asked about a scene, and the answer that its frames give.

use super::attributes::{Colour, Growth};
use super::clip::{Asked, DrawnClip};
use super::scene::Scene;

/// A question that only the video answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The colour at the start.
    FirstColour,
    /// The colour at the end.
    LastColour,
    /// How the size changes.
    Growth,
}

impl Question {
    /// Every question.
    pub const ALL: [Self; 3] = [Self::FirstColour, Self::LastColour, Self::Growth];

    /// Its name in tables and files.
    pub fn kind(self) -> &'static str {
        match self {
            Self::FirstColour => "first_color",
            Self::LastColour => "last_color",
            Self::Growth => "growth",
        }
    }

    /// The question in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::FirstColour => "What color comes first?",
            Self::LastColour => "What color comes last?",
            Self::Growth => "How does the size change?",
        }
    }

    /// What one could answer without a look at the video; as likely as each other.
    pub fn candidates(self) -> Vec<&'static str> {
        match self {
            Self::FirstColour | Self::LastColour => Colour::ALL.iter().map(|c| c.word()).collect(),
            Self::Growth => Growth::ALL.iter().map(|growth| growth.word()).collect(),
        }
    }

    /// The answer in one word.
    pub fn answer(self, scene: &Scene) -> &'static str {
        match self {
            Self::FirstColour => scene.colours[0].word(),
            Self::LastColour => scene.colours[1].word(),
            Self::Growth => scene.growth().word(),
        }
    }
}

impl DrawnClip for Scene {
    fn vocabulary() -> Vec<String> {
        let words = |question: Question| {
            let answers = question.candidates().into_iter().map(str::to_owned);
            [question.text().to_owned(), format!(" {}", question.text())].into_iter().chain(answers)
        };
        Question::ALL.into_iter().flat_map(words).collect()
    }

    fn pixels(&self) -> Vec<u8> {
        self.pixels()
    }

    /// The bare question, answered in one word.
    fn asked(&self) -> Vec<Asked> {
        let ask = |question: Question| Asked {
            kind: question.kind().to_owned(),
            question: question.text().to_owned(),
            candidates: question.candidates(),
            answer: question.answer(self),
            human: question.text().to_owned(),
            assistant: question.answer(self).to_owned(),
        };
        Question::ALL.map(ask).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::random::Random;

    #[test]
    fn every_answer_is_a_candidate_and_all_candidates_occur() {
        let mut random = Random::new(5);
        let scenes: Vec<Scene> = (0..200).map(|_| Scene::draw_lot(&mut random)).collect();
        for question in Question::ALL {
            for candidate in question.candidates() {
                let count = scenes.iter().filter(|s| question.answer(s) == candidate).count();
                let expect = scenes.len() / question.candidates().len();
                assert!(count.abs_diff(expect) < 25, "{question:?} {candidate} {count}");
            }
            assert!(scenes.iter().all(|s| question.candidates().contains(&question.answer(s))));
        }
    }
}
