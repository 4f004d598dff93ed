//! What is asked about a story: bare questions, each answered in one word of a few.

use super::attributes::{Colour, Light, Ordinal, Pattern};
use super::clip::{Asked, DrawnClip};
use super::story::{Difficulty, EVENTS, LIGHT_SIDE, Story};
use crate::machine::random::Random;

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// What was shown for a moment.
    Needle,
    /// What comes first, what comes last.
    Order,
    /// How many events there are.
    Count,
    /// What comes after something.
    After,
    /// The pattern on the shapes.
    Detail,
}

impl Task {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Needle, Self::Order, Self::Count, Self::After, Self::Detail];

    /// Its name in tables and files.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Needle => "needle",
            Self::Order => "order",
            Self::Count => "count",
            Self::After => "after",
            Self::Detail => "detail",
        }
    }

    /// The question about a story.
    pub fn text(self, story: &Story) -> String {
        match self {
            Self::Needle => "What color is the small light?".to_owned(),
            Self::Order => order_text(story.order),
            Self::Count => "How many colors come?".to_owned(),
            Self::After => after_text(story.picture.events[story.after].colour),
            Self::Detail => "What pattern is shown?".to_owned(),
        }
    }

    /// Possible answers, always in this order.
    pub fn candidates(self) -> Vec<&'static str> {
        match self {
            Self::Needle => Light::ALL.iter().map(|light| light.word()).collect(),
            Self::Order | Self::After => Colour::ALL.iter().map(|colour| colour.word()).collect(),
            Self::Count => ["2", "3", "4"].to_vec(),
            Self::Detail => Pattern::ALL.iter().map(|pattern| pattern.word()).collect(),
        }
    }

    /// Place of the right answer.
    fn answer(self, story: &Story) -> usize {
        let events = &story.picture.events;
        let place = |colour: Colour| Colour::ALL.iter().position(|other| *other == colour);
        let at = match self {
            Self::Needle => Light::ALL.iter().position(|light| *light == story.picture.light),
            Self::Order => match story.order {
                Ordinal::First => place(events[0].colour),
                Ordinal::Last => place(events[events.len() - 1].colour),
            },
            Self::Count => Some(events.len() - EVENTS.start()),
            Self::After => place(events[story.after + 1].colour),
            Self::Detail => Pattern::ALL.iter().position(|p| *p == story.picture.pattern),
        };
        at.expect("every event is in the list of its kind")
    }

    fn ask(self, story: &Story) -> Asked {
        let candidates = self.candidates();
        let answer = candidates[self.answer(story)];
        Asked {
            kind: match self {
                Self::Needle if story.tells_length => needle_of(story.picture.flare.len()),
                _ => self.kind().to_owned(),
            },
            question: self.text(story),
            answer,
            candidates,
            human: self.text(story),
            assistant: answer.to_owned(),
        }
    }
}

/// The name of the needle's task where it says for how many frames the light is seen.
pub fn needle_of(light_frames: usize) -> String {
    format!("needle, {light_frames} frames")
}

fn order_text(order: Ordinal) -> String {
    format!("What color comes {}?", order.word())
}

fn after_text(colour: Colour) -> String {
    format!("What color comes after {}?", colour.word())
}

impl DrawnClip for Story {
    fn vocabulary() -> Vec<String> {
        let mut random = Random::new(0);
        let any = Difficulty {
            frames: 16,
            light_frames: 1,
            light_side: LIGHT_SIDE,
            motes: 0,
            tells_length: false,
        };
        let story = Self::draw_lot(&mut random, any);
        let questions = Task::ALL.map(|task| task.text(&story)).into_iter();
        let questions = questions.chain(Ordinal::ALL.iter().map(|order| order_text(*order)));
        let questions = questions.chain(Colour::ALL.iter().map(|colour| after_text(*colour)));
        let answers = Task::ALL.into_iter().flat_map(Task::candidates).map(str::to_owned);
        questions.flat_map(|text| [format!(" {text}"), text]).chain(answers).collect()
    }

    fn pixels(&self) -> Vec<u8> {
        self.picture.pixels()
    }

    fn asked(&self) -> Vec<Asked> {
        Task::ALL.map(|task| task.ask(self)).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn stories(count: usize) -> Vec<Story> {
        let difficulty = Difficulty {
            frames: 32,
            light_frames: 2,
            light_side: LIGHT_SIDE,
            motes: 1,
            tells_length: false,
        };
        let mut random = Random::new(5);
        (0..count).map(|_| Story::draw_lot(&mut random, difficulty)).collect()
    }

    #[test]
    fn answers_are_what_the_frames_show() {
        for story in stories(100) {
            let events = &story.picture.events;
            let asked: BTreeMap<String, Asked> =
                story.asked().into_iter().map(|asked| (asked.kind.clone(), asked)).collect();
            let first = story.picture.event(0).colour.word();
            let last = story.picture.event(31).colour.word();
            let want = if story.order == Ordinal::First { first } else { last };
            assert_eq!(asked["order"].answer, want);
            let before =
                events.iter().position(|e| asked["after"].question.contains(e.colour.word()));
            assert_eq!(asked["after"].answer, events[before.unwrap() + 1].colour.word());
            assert_eq!(asked["count"].answer, events.len().to_string());
            assert_eq!(asked["needle"].answer, story.picture.light.word());
            assert_eq!(asked["detail"].answer, story.picture.pattern.word());
        }
    }

    #[test]
    fn all_answers_are_as_likely_and_every_text_is_in_the_vocabulary() {
        let (stories, vocabulary) = (stories(3000), Story::vocabulary());
        for task in Task::ALL {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for story in &stories {
                let asked = task.ask(story);
                assert!(vocabulary.contains(&asked.human) && vocabulary.contains(&asked.assistant));
                *counts.entry(asked.assistant).or_default() += 1;
            }
            let expect = stories.len() / task.candidates().len();
            assert_eq!(counts.len(), task.candidates().len());
            assert!(counts.values().all(|count| count.abs_diff(expect) < 120), "{counts:?}");
        }
    }
}
