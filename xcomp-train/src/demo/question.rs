//! What is asked about a scene, and the answer that its frames give.

use super::scene::{Colour, Direction, Scene};

/// A question that only the video answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The colour at the start.
    FirstColour,
    /// The colour at the end.
    LastColour,
    /// Where the shape goes.
    Direction,
}

impl Question {
    /// Every question.
    pub const ALL: [Self; 3] = [Self::FirstColour, Self::LastColour, Self::Direction];

    /// Its name in tables and files.
    pub fn kind(self) -> &'static str {
        match self {
            Self::FirstColour => "first_color",
            Self::LastColour => "last_color",
            Self::Direction => "direction",
        }
    }

    /// The question in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::FirstColour => "What color comes first?",
            Self::LastColour => "What color comes last?",
            Self::Direction => "Which way does the shape move?",
        }
    }

    /// What one could answer without a look at the video; as likely as each other.
    pub fn candidates(self) -> Vec<&'static str> {
        match self {
            Self::FirstColour | Self::LastColour => Colour::ALL.map(Colour::word).to_vec(),
            Self::Direction => Direction::ALL.map(Direction::word).to_vec(),
        }
    }

    /// The answer in one word.
    pub fn answer(self, scene: &Scene) -> &'static str {
        match self {
            Self::FirstColour => scene.colours[0].word(),
            Self::LastColour => scene.colours[1].word(),
            Self::Direction => scene.direction.word(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::random::Random;

    #[test]
    fn every_answer_is_a_candidate_and_all_candidates_occur() {
        let mut random = Random::new(5);
        let scenes: Vec<Scene> = (0..200).map(|_| Scene::draw_lot(&mut random)).collect();
        for question in Question::ALL {
            for candidate in question.candidates() {
                let count = scenes.iter().filter(|s| question.answer(s) == candidate).count();
                assert!((25..80).contains(&count), "{question:?} {candidate} {count}");
            }
            assert!(scenes.iter().all(|s| question.candidates().contains(&question.answer(s))));
        }
    }
}
