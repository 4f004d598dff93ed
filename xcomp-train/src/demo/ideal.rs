//! The ideal observer of the mini world: the best share of right answers that is possible behind some frames of a clip.
//!
//! It knows by which law stories are drawn and sees without fault, but only the frames that it is shown. Every story with its chance
//! is gone through ([`possible_starts`], [`possible_flares`]), so its figures are exact; nothing that looks at these frames can pass them.

use std::collections::BTreeMap;

use super::attributes::{Colour, Light, Ordinal};
use super::story::{event_at, possible_flares, possible_starts};
use super::story_question::Task;

/// What is asked about a story's events, as far as the frames tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Count,
    Order(bool),
    /// The named colour stands at this place among those that were seen; or it was not seen.
    After(Option<usize>),
}

/// A guess. Colours mean nothing by themselves, so only their places count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Number(usize),
    /// The colour at this place among those that were seen.
    Seen(usize),
    /// One of those that were neither seen nor named.
    Unseen,
}

/// What was shown: the place of each frame's colour among the colours that were seen, in their order.
type Shown = Vec<usize>;

/// For everything that may be asked and shown, its chance together with each guess being right.
#[derive(Debug, Clone, Default)]
struct Beliefs(BTreeMap<(Asked, Shown), BTreeMap<Guess, f64>>);

/// The shown frames of a story.
struct View {
    shown: Shown,
    /// The events that are seen, in their order.
    seen: Vec<usize>,
}

impl View {
    fn of(events: impl Iterator<Item = usize>) -> Self {
        let (mut shown, mut seen) = (vec![], vec![]);
        for event in events {
            if seen.last() != Some(&event) {
                seen.push(event);
            }
            shown.push(seen.len() - 1);
        }
        Self { shown, seen }
    }

    fn place(&self, event: usize) -> Option<usize> {
        self.seen.iter().position(|seen| *seen == event)
    }

    /// The guess that names this event's colour, and its chance to be right where it names one of several.
    fn naming(&self, event: usize, asked: Asked) -> (Guess, f64) {
        let named = usize::from(asked == Asked::After(None));
        let others =
            Colour::ALL.len() - self.seen.len() - named.min(Colour::ALL.len() - self.seen.len());
        self.place(event)
            .map_or((Guess::Unseen, 1.0 / others.max(1) as f64), |at| (Guess::Seen(at), 1.0))
    }
}

impl Beliefs {
    /// Of `task` about clips of `frames` frames, of which `shown` are seen.
    fn of(task: Task, frames: usize, shown: &[usize]) -> Self {
        let mut beliefs = Self::default();
        for (starts, chance) in possible_starts(frames) {
            let view = View::of(shown.iter().map(|frame| event_at(&starts, *frame)));
            let last = starts.len() - 1;
            let mut put = |asked: Asked, (guess, right): (Guess, f64), part: usize| {
                let known = beliefs.0.entry((asked, view.shown.clone())).or_default();
                *known.entry(guess).or_default() += right * chance / part as f64;
            };
            match task {
                Task::Count => put(Asked::Count, (Guess::Number(starts.len()), 1.0), 1),
                Task::Order => {
                    for (asked, event) in [(Asked::Order(true), 0), (Asked::Order(false), last)] {
                        put(asked, view.naming(event, asked), Ordinal::ALL.len());
                    }
                }
                Task::After => {
                    for event in 0..last {
                        let asked = Asked::After(view.place(event));
                        put(asked, view.naming(event + 1, asked), last);
                    }
                }
                Task::Needle | Task::Detail => {}
            }
        }
        beliefs
    }

    /// The share of right answers of the best guesses.
    fn right(&self) -> f64 {
        let best = |guesses: &BTreeMap<Guess, f64>| guesses.values().copied().fold(0.0, f64::max);
        self.0.values().map(best).sum()
    }
}

/// The ideal observer's share of right answers to each task but the needle, about clips of `frames` frames of which `shown` are seen.
pub fn of_events(frames: usize, shown: &[usize]) -> impl Iterator<Item = (Task, f64)> {
    let of = move |task| match task {
        // Every frame shows the pattern.
        Task::Detail => {
            (task, if shown.is_empty() { 1.0 / task.candidates().len() as f64 } else { 1.0 })
        }
        _ => (task, Beliefs::of(task, frames, shown).right()),
    };
    Task::ALL.into_iter().filter(|task| *task != Task::Needle).map(of)
}

/// The same of the needle: a light that is lit for `light_frames` frames is seen, or guessed.
pub fn of_needle(frames: usize, light_frames: usize, shown: &[usize]) -> f64 {
    let starts = possible_flares(frames, light_frames);
    let seen =
        |start: &usize| shown.iter().any(|frame| (*start..start + light_frames).contains(frame));
    let chance = starts.clone().filter(seen).count() as f64 / starts.len() as f64;
    chance + (1.0 - chance) / Light::ALL.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::story::{Difficulty, LIGHT_SIDE, Story};
    use super::*;
    use crate::machine::random::Random;

    /// More than the 10,000 that are asked for: the standard error is 0.22 points at most, and 0.5 points are the tolerance.
    const DRAWS: usize = 50_000;
    const FRAMES: usize = 64;
    /// So few frames that events are missed, and so many that none is.
    const SHOWN: [&[usize]; 4] =
        [&[31], &[12, 44], &[8, 24, 40, 56], &[4, 12, 20, 28, 36, 44, 52, 60]];

    fn stories() -> impl Iterator<Item = Story> {
        let mut random = Random::new(20);
        let difficulty = Difficulty {
            frames: FRAMES,
            light_frames: 4,
            light_side: LIGHT_SIDE,
            motes: 0,
            tells_length: true,
        };
        (0..DRAWS).map(move |_| Story::draw_lot(&mut random, difficulty))
    }

    fn colour_of(story: &Story, event: usize) -> Colour {
        story.picture.events[event].colour
    }

    /// Answers a story by the colours of its frames alone; the chance to be right where one of several is guessed.
    fn play(beliefs: &Beliefs, task: Task, story: &Story, frames: &[usize]) -> f64 {
        let colours: Vec<Colour> =
            frames.iter().map(|frame| story.picture.event(*frame).colour).collect();
        let mut seen = colours.clone();
        seen.dedup();
        let place = |colour: Colour| seen.iter().position(|seen| *seen == colour);
        let shown = colours.iter().filter_map(|colour| place(*colour)).collect();
        let last = story.picture.events.len() - 1;
        let named = colour_of(story, story.after);
        let (asked, truth) = match task {
            Task::Order if story.order == Ordinal::First => {
                (Asked::Order(true), colour_of(story, 0))
            }
            Task::Order => (Asked::Order(false), colour_of(story, last)),
            Task::After => (Asked::After(place(named)), colour_of(story, story.after + 1)),
            _ => (Asked::Count, named),
        };
        let guesses = &beliefs.0[&(asked, shown)];
        let best = guesses.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        let mut rest: Vec<Colour> =
            Colour::ALL.iter().copied().filter(|c| place(*c).is_none()).collect();
        rest.retain(|colour| task != Task::After || *colour != named);
        match best {
            Guess::Number(number) => f64::from(u8::from(*number == last + 1)),
            Guess::Seen(at) => f64::from(u8::from(seen[*at] == truth)),
            Guess::Unseen if rest.contains(&truth) => 1.0 / rest.len() as f64,
            Guess::Unseen => 0.0,
        }
    }

    #[test]
    fn what_is_computed_is_what_stories_give() {
        for shown in SHOWN {
            let known: Vec<(Task, f64, Beliefs)> = of_events(FRAMES, shown)
                .filter(|(task, _)| *task != Task::Detail)
                .map(|(task, right)| (task, right, Beliefs::of(task, FRAMES, shown)))
                .collect();
            let needle = of_needle(FRAMES, 4, shown);
            let (mut right, mut lit) = (vec![0.0; known.len()], 0.0);
            for story in stories() {
                for (at, (task, _, beliefs)) in known.iter().enumerate() {
                    right[at] += play(beliefs, *task, &story, shown);
                }
                let seen = shown.iter().any(|frame| story.picture.flare.contains(frame));
                lit += if seen { 1.0 } else { 0.25 };
            }
            let near = |task: Task, got: f64, sum: f64| {
                let simulated = sum / DRAWS as f64;
                assert!(
                    (got - simulated).abs() < 0.005,
                    "{task:?}, {shown:?}: {got} is not {simulated}"
                );
            };
            near(Task::Needle, needle, lit);
            for ((task, got, _), sum) in known.iter().zip(right) {
                near(*task, *got, sum);
            }
        }
    }

    #[test]
    fn all_frames_tell_all_and_none_leaves_guessing() {
        let all: Vec<usize> = (0..FRAMES).collect();
        for (task, right) in of_events(FRAMES, &all) {
            assert!((right - 1.0).abs() < 1e-9, "{task:?} {right}");
        }
        for (task, right) in of_events(FRAMES, &[]) {
            let guess = 1.0 / task.candidates().len() as f64;
            // What is named is not what comes after it.
            let want = if task == Task::After { 1.0 / 3.0 } else { guess };
            assert!((right - want).abs() < 1e-9, "{task:?} {right}");
        }
        assert!((of_needle(FRAMES, 2, &all) - 1.0).abs() < 1e-12);
        // 59 starts, 1 to 59, of a light of four frames; frame 31 shows those from 28 to 31.
        assert!((of_needle(FRAMES, 4, &[31]) - (4.0 + 55.0 / 4.0) / 59.0).abs() < 1e-12);
    }
}
