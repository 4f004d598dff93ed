//! What happens in one clip of the mini world, a long video in small, and its drawing.
//!
//! Shapes of different colours come one after the other; somewhere a small light flares up for a moment, and grey motes may drift about.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use super::attributes::{Colour, Light, Ordinal, Outline, Pattern};
use super::scene::SIDE;
use crate::machine::random::Random;

/// Usual pixels per side of a light.
pub const LIGHT_SIDE: usize = 16;
/// The most: of every shape something is seen beside it.
pub const MOST_LIGHT_SIDE: usize = 24;
/// Pixels per side of a mote.
const MOTE_SIDE: usize = 6;
/// Fewest and most events of a story.
pub const EVENTS: std::ops::RangeInclusive<usize> = 2..=4;

/// How hard stories are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difficulty {
    /// Frames of a clip: the longer, the shorter a moment in it.
    pub frames: usize,
    /// Frames that the light is seen.
    pub light_frames: usize,
    /// Pixels per side of the light.
    pub light_side: usize,
    /// Grey motes that drift about and mean nothing.
    pub motes: usize,
    /// Whether the name of the needle's task says for how many frames the light is seen.
    pub tells_length: bool,
}

/// A shape that is seen for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its colour; no other event of the story has it.
    pub colour: Colour,
    /// First frame.
    pub start: usize,
    /// Pixels per side.
    size: usize,
    /// Left and upper edge in pixels.
    place: [usize; 2],
}

/// A mote: where it starts, and pixels it drifts in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mote {
    place: [usize; 2],
    drift: [usize; 2],
    grey: u8,
}

/// All that the frames show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Picture {
    /// What comes one after the other.
    pub events: Vec<Event>,
    /// The outline of every shape.
    pub outline: Outline,
    /// The pattern on every shape.
    pub pattern: Pattern,
    /// The colour of the light.
    pub light: Light,
    /// The frames in which it is seen.
    pub flare: Range<usize>,
    light_place: [usize; 2],
    light_side: usize,
    motes: Vec<Mote>,
    room: u8,
    frames: usize,
}

/// A picture and which of the possible questions are asked about it.
#[derive(Clone, Debug)]
pub struct Story {
    /// What is shown.
    pub picture: Picture,
    /// Which event is asked for.
    pub order: Ordinal,
    /// The successor of this event is asked for.
    pub after: usize,
    /// Whether the name of the needle's task says for how many frames the light is seen.
    pub tells_length: bool,
}

/// Stories that show the same are the same, whatever is asked: a split must not share a clip with another.
impl PartialEq for Story {
    fn eq(&self, other: &Self) -> bool {
        self.picture == other.picture
    }
}

impl Eq for Story {}

impl Hash for Story {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.picture.hash(state);
    }
}

impl Story {
    /// Draws a story by lot.
    pub fn draw_lot(random: &mut Random, difficulty: Difficulty) -> Self {
        let Difficulty { frames, light_frames, light_side, motes, tells_length } = difficulty;
        let events = draw_events(random, frames);
        let flare = random.within(possible_flares(frames, light_frames));
        let after = random.within(0..events.len() - 1);
        let corner = [2, SIDE - light_side - 2];
        let picture = Picture {
            events,
            outline: random.pick(Outline::ALL),
            pattern: random.pick(Pattern::ALL),
            light: random.pick(Light::ALL),
            flare: flare..flare + light_frames,
            light_place: [random.pick(&corner), random.pick(&corner)],
            light_side,
            motes: (0..motes).map(|_| Mote::draw_lot(random)).collect(),
            room: random.within(20..61) as u8,
            frames,
        };
        Self { picture, order: random.pick(Ordinal::ALL), after, tells_length }
    }
}

/// Two to four shapes of different colours, each seen for about as long as the others.
fn draw_events(random: &mut Random, frames: usize) -> Vec<Event> {
    let count = random.within(*EVENTS.start()..EVENTS.end() + 1);
    let mut colours = Colour::ALL.to_vec();
    random.shuffle(&mut colours);
    let share = frames / count;
    let event = |(at, colour): (usize, Colour)| {
        let late = random.within(possible_delays(share));
        let start = if at == 0 { 0 } else { at * share + late };
        let size = random.within(28..41);
        let mut edge = || random.within(0..SIDE - size + 1);
        Event { colour, start, size, place: [edge(), edge()] }
    };
    colours.into_iter().take(count).enumerate().map(event).collect()
}

/// How many frames late an event may come, all as likely; the first is never late.
fn possible_delays(share: usize) -> Range<usize> {
    0..share / 3 + 1
}

/// The frames in which a light may flare up, all as likely.
pub fn possible_flares(frames: usize, light_frames: usize) -> Range<usize> {
    1..frames - light_frames
}

/// The first frames of a story's events, as [`Story::draw_lot`] draws them, each with its chance.
pub fn possible_starts(frames: usize) -> impl Iterator<Item = (Vec<usize>, f64)> {
    let counts = EVENTS.end() - EVENTS.start() + 1;
    EVENTS.flat_map(move |count| {
        let share = frames / count;
        let mut all = vec![vec![0]];
        for at in 1..count {
            let later = |starts: &Vec<usize>| {
                let starts = starts.clone();
                let with = move |late| [&starts[..], &[at * share + late]].concat();
                possible_delays(share).map(with).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(later).collect();
        }
        let chance = 1.0 / (counts * all.len()) as f64;
        all.into_iter().map(move |starts| (starts, chance))
    })
}

/// The event that is seen in a frame, of those that start so.
pub fn event_at(starts: &[usize], frame: usize) -> usize {
    starts.iter().rposition(|start| *start <= frame).expect("the first event starts with the clip")
}

impl Mote {
    fn draw_lot(random: &mut Random) -> Self {
        let mut two = |range: Range<usize>| [(); 2].map(|()| random.within(range.clone()));
        let (place, drift) = (two(0..SIDE), two(0..5));
        Self { place, drift, grey: random.within(90..161) as u8 }
    }

    fn covers(&self, frame: usize, x: usize, y: usize) -> bool {
        let at = |axis: usize| (self.place[axis] + frame * self.drift[axis]) % SIDE;
        (at(0)..at(0) + MOTE_SIDE).contains(&x) && (at(1)..at(1) + MOTE_SIDE).contains(&y)
    }
}

impl Picture {
    /// The event that is seen in a frame.
    pub fn event(&self, frame: usize) -> &Event {
        let current = self.events.iter().rev().find(|event| event.start <= frame);
        current.expect("the first event starts with the clip")
    }

    /// All frames as RGB bytes, `[frames, SIDE, SIDE, 3]`.
    pub fn pixels(&self) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(self.frames * SIDE * SIDE * 3);
        for frame in 0..self.frames {
            let event = self.event(frame);
            for y in 0..SIDE {
                for x in 0..SIDE {
                    pixels.extend(self.pixel(event, frame, x, y));
                }
            }
        }
        pixels
    }

    fn pixel(&self, event: &Event, frame: usize, x: usize, y: usize) -> [u8; 3] {
        let [left, top] = self.light_place;
        let side = |edge: usize| edge..edge + self.light_side;
        if self.flare.contains(&frame) && side(left).contains(&x) && side(top).contains(&y) {
            return self.light.rgb();
        }
        let from_middle = |pixel: usize, edge: usize| {
            (pixel as f64 + 0.5 - edge as f64) * 2.0 / event.size as f64 - 1.0
        };
        let middle = (from_middle(x, event.place[0]), from_middle(y, event.place[1]));
        if self.outline.covers(middle.0, middle.1) && self.pattern.covers(x, y) {
            return event.colour.rgb();
        }
        let mote = self.motes.iter().find(|mote| mote.covers(frame, x, y));
        [mote.map_or(self.room, |mote| mote.grey); 3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFFICULTY: Difficulty = Difficulty {
        frames: 16,
        light_frames: 2,
        light_side: LIGHT_SIDE,
        motes: 2,
        tells_length: false,
    };

    fn stories(count: usize) -> impl Iterator<Item = Story> {
        let mut random = Random::new(11);
        (0..count).map(move |_| Story::draw_lot(&mut random, DIFFICULTY))
    }

    fn count(pixels: &[u8], frame: usize, colour: [u8; 3]) -> usize {
        let bytes = &pixels[frame * SIDE * SIDE * 3..][..SIDE * SIDE * 3];
        bytes.chunks_exact(3).filter(|pixel| *pixel == colour).count()
    }

    #[test]
    fn each_frame_shows_its_event_and_the_light_only_in_its_moment() {
        for story in stories(40) {
            let picture = &story.picture;
            let pixels = picture.pixels();
            assert_eq!(pixels.len(), 16 * SIDE * SIDE * 3);
            for frame in 0..16 {
                for colour in Colour::ALL {
                    let here = picture.event(frame).colour == *colour;
                    let seen = count(&pixels, frame, colour.rgb());
                    assert!(if here { seen > 100 } else { seen == 0 }, "{story:?} {frame} {seen}");
                }
                for light in Light::ALL {
                    let here = picture.light == *light && picture.flare.contains(&frame);
                    let want = if here { LIGHT_SIDE * LIGHT_SIDE } else { 0 };
                    assert_eq!(count(&pixels, frame, light.rgb()), want, "{story:?} {frame}");
                }
            }
        }
    }

    /// The largest light beside the smallest shapes.
    #[test]
    fn no_light_hides_a_shape() {
        let mut random = Random::new(12);
        let difficulty = Difficulty { light_side: MOST_LIGHT_SIDE, light_frames: 8, ..DIFFICULTY };
        for story in std::iter::repeat_with(|| Story::draw_lot(&mut random, difficulty)).take(400) {
            let (picture, pixels) = (&story.picture, story.picture.pixels());
            for frame in picture.flare.clone() {
                let seen = count(&pixels, frame, picture.event(frame).colour.rgb());
                assert!(seen > 0, "{story:?} {frame}");
            }
        }
    }

    #[test]
    fn colours_come_once_and_every_event_is_seen() {
        for story in stories(200) {
            let events = &story.picture.events;
            assert!(EVENTS.contains(&events.len()) && story.after + 1 < events.len());
            for pair in events.windows(2) {
                assert!(pair[0].start + 2 <= pair[1].start && pair[0].colour != pair[1].colour);
            }
            assert!(events.last().unwrap().start + 2 <= 16, "{story:?}");
        }
    }

    #[test]
    fn what_is_asked_does_not_make_a_story_another() {
        let story = stories(1).next().unwrap();
        let other = Story { after: story.after + 1, ..story.clone() };
        assert_eq!(story, other);
        assert_ne!(story, stories(2).nth(1).unwrap());
    }
}
