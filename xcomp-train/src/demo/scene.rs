//! What happens in one clip of the demo's world, and its drawing.
//!
//! A shape of one colour crosses a dark room and may grow or shrink; somewhere in the middle another colour takes over and goes on.

use super::attributes::{Colour, Direction, Growth, Outline};
use crate::machine::random::Random;

/// Pixels per side of a frame.
pub const SIDE: usize = 64;
/// Frames of a clip.
pub const FRAMES: usize = 16;
/// Frames a second.
pub const FPS: u32 = 8;

/// Everything that one clip shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The colour before `switch` and from then on; never the same.
    pub colours: [Colour; 2],
    /// The frame at which the second colour takes over.
    pub switch: usize,
    /// The shape.
    pub outline: Outline,
    /// Pixels per side of the shape in the first and the last frame.
    pub sizes: [usize; 2],
    /// Where it goes.
    pub direction: Direction,
    /// How far its track lies from the left or upper edge, in percent of the free room.
    pub track: usize,
    /// Grey level of the room.
    pub room: u8,
}

impl Scene {
    /// Draws a scene by lot.
    pub fn draw_lot(random: &mut Random) -> Self {
        let first = random.pick(Colour::ALL);
        let others: Vec<Colour> = Colour::ALL.iter().copied().filter(|c| *c != first).collect();
        let (small, large) = (random.within(16..21), random.within(46..53));
        let middle = random.within(30..37);
        Self {
            colours: [first, random.pick(&others)],
            switch: random.within(6..11),
            outline: random.pick(Outline::ALL),
            sizes: match random.pick(Growth::ALL) {
                Growth::Grows => [small, large],
                Growth::Shrinks => [large, small],
                Growth::Stays => [middle, middle],
            },
            direction: random.pick(Direction::ALL),
            track: random.within(0..101),
            room: random.within(20..61) as u8,
        }
    }

    /// How the size changes.
    pub fn growth(&self) -> Growth {
        match self.sizes[0].cmp(&self.sizes[1]) {
            std::cmp::Ordering::Less => Growth::Grows,
            std::cmp::Ordering::Equal => Growth::Stays,
            std::cmp::Ordering::Greater => Growth::Shrinks,
        }
    }

    /// The colour that is seen in a frame.
    pub fn colour(&self, frame: usize) -> Colour {
        self.colours[usize::from(frame >= self.switch)]
    }

    /// Left edge, upper edge and side of the shape in a frame, in pixels.
    fn place(&self, frame: usize) -> (f64, f64, f64) {
        let gone = frame as f64 / (FRAMES - 1) as f64;
        let [first, last] = self.sizes.map(|size| size as f64);
        let size = first + (last - first) * gone;
        let free = SIDE as f64 - size;
        let aside = free * self.track as f64 / 100.0;
        match self.direction {
            Direction::Left => (free * (1.0 - gone), aside, size),
            Direction::Right => (free * gone, aside, size),
            Direction::Up => (aside, free * (1.0 - gone), size),
            Direction::Down => (aside, free * gone, size),
        }
    }

    /// All frames as RGB bytes, `[FRAMES, SIDE, SIDE, 3]`.
    pub fn pixels(&self) -> Vec<u8> {
        (0..FRAMES).flat_map(|frame| self.frame(frame)).collect()
    }

    fn frame(&self, frame: usize) -> Vec<u8> {
        let (left, top, size) = self.place(frame);
        let colour = self.colour(frame).rgb();
        let from_middle = |pixel: usize, edge: f64| (pixel as f64 + 0.5 - edge) * 2.0 / size - 1.0;
        let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let inside = self.outline.covers(from_middle(x, left), from_middle(y, top));
                pixels.extend(if inside { colour } else { [self.room; 3] });
            }
        }
        pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes(count: usize) -> impl Iterator<Item = Scene> {
        let mut random = Random::new(11);
        (0..count).map(move |_| Scene::draw_lot(&mut random))
    }

    /// Pixels of a colour in a frame, and their mean place `(x, y)`.
    fn seen(pixels: &[u8], frame: usize, colour: Colour) -> (usize, [f64; 2]) {
        let (mut count, mut sum) = (0, [0.0; 2]);
        let bytes = &pixels[frame * SIDE * SIDE * 3..][..SIDE * SIDE * 3];
        for (at, pixel) in bytes.chunks_exact(3).enumerate() {
            if pixel == colour.rgb() {
                count += 1;
                sum = [sum[0] + (at % SIDE) as f64, sum[1] + (at / SIDE) as f64];
            }
        }
        (count, sum.map(|sum| sum / count as f64))
    }

    #[test]
    fn each_frame_shows_its_colour_and_no_other() {
        for scene in scenes(40) {
            let pixels = scene.pixels();
            assert_eq!(pixels.len(), FRAMES * SIDE * SIDE * 3);
            assert_ne!(scene.colours[0], scene.colours[1]);
            for frame in 0..FRAMES {
                for colour in Colour::ALL {
                    let (count, _) = seen(&pixels, frame, *colour);
                    assert_eq!(count > 150, *colour == scene.colour(frame), "{scene:?} {frame}");
                    assert!(count > 150 || count == 0, "{scene:?} {frame}");
                }
            }
        }
    }

    #[test]
    fn shapes_go_where_the_scene_says() {
        for scene in scenes(40) {
            let pixels = scene.pixels();
            let (_, [x0, y0]) = seen(&pixels, 0, scene.colours[0]);
            let (_, [x1, y1]) = seen(&pixels, FRAMES - 1, scene.colours[1]);
            let far = SIDE as f64 - (scene.sizes[0] + scene.sizes[1]) as f64 / 2.0;
            let moved = match scene.direction {
                Direction::Left => x0 - x1,
                Direction::Right => x1 - x0,
                Direction::Up => y0 - y1,
                Direction::Down => y1 - y0,
            };
            assert!((moved - far).abs() < 1.0, "{scene:?} {moved} {far}");
        }
    }

    #[test]
    fn shapes_grow_as_the_scene_says() {
        for scene in scenes(40) {
            let pixels = scene.pixels();
            let (first, _) = seen(&pixels, 0, scene.colours[0]);
            let (last, _) = seen(&pixels, FRAMES - 1, scene.colours[1]);
            let expect = match scene.growth() {
                Growth::Grows => last > 4 * first,
                Growth::Shrinks => first > 4 * last,
                Growth::Stays => first.abs_diff(last) * 20 < first,
            };
            assert!(expect, "{scene:?} {first} {last}");
        }
    }
}
