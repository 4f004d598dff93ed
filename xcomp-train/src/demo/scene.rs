//! What happens in one clip of the demo's world, and its drawing.
//!
//! A shape of one colour crosses a dark room; somewhere in the middle another shape takes over, of another colour, and goes on.

use super::random::Random;

/// Pixels per side of a frame.
pub const SIDE: usize = 64;
/// Frames of a clip.
pub const FRAMES: usize = 16;
/// Frames a second.
pub const FPS: u32 = 8;

/// A colour that a shape can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// `[220, 40, 40]`.
    Red,
    /// `[40, 190, 60]`.
    Green,
    /// `[50, 80, 230]`.
    Blue,
    /// `[225, 210, 50]`.
    Yellow,
}

impl Colour {
    /// Every colour.
    pub const ALL: [Self; 4] = [Self::Red, Self::Green, Self::Blue, Self::Yellow];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
        }
    }

    /// Its RGB value as drawn.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 40, 40],
            Self::Green => [40, 190, 60],
            Self::Blue => [50, 80, 230],
            Self::Yellow => [225, 210, 50],
        }
    }
}

/// Where the shapes go, seen from the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the right edge to the left.
    Left,
    /// From the left edge to the right.
    Right,
    /// From the bottom to the top.
    Up,
    /// From the top to the bottom.
    Down,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 4] = [Self::Left, Self::Right, Self::Up, Self::Down];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// The outline of both shapes of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A filled square.
    Square,
    /// A filled circle.
    Disc,
    /// A square with a dark middle.
    Frame,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Square, Self::Disc, Self::Frame];

    /// Whether it covers the point, given from -1 to 1 in both directions.
    fn covers(self, x: f64, y: f64) -> bool {
        let square = x.abs().max(y.abs());
        match self {
            Self::Square => square <= 1.0,
            Self::Disc => x.hypot(y) <= 1.0,
            Self::Frame => (0.5..=1.0).contains(&square),
        }
    }
}

/// Everything that one clip shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The colour before `switch` and from then on; never the same.
    pub colours: [Colour; 2],
    /// The outline.
    pub shape: Shape,
    /// Where it goes.
    pub direction: Direction,
    /// The frame at which the second colour takes over.
    pub switch: usize,
    /// Pixels per side of the shape.
    pub size: usize,
    /// Pixels from the left or upper edge to its track.
    pub track: usize,
    /// Grey level of the room.
    pub room: u8,
}

impl Scene {
    /// Draws a scene by lot.
    pub fn draw_lot(random: &mut Random) -> Self {
        let first = random.pick(&Colour::ALL);
        let others: Vec<Colour> = Colour::ALL.into_iter().filter(|c| *c != first).collect();
        let size = random.within(32..41);
        Self {
            colours: [first, random.pick(&others)],
            shape: random.pick(&Shape::ALL),
            direction: random.pick(&Direction::ALL),
            switch: random.within(6..11),
            size,
            track: random.within(0..SIDE - size + 1),
            room: random.within(20..61) as u8,
        }
    }

    /// The colour that is seen in a frame.
    pub fn colour(&self, frame: usize) -> Colour {
        self.colours[usize::from(frame >= self.switch)]
    }

    /// Left and upper edge of the shape in a frame, in pixels.
    fn corner(&self, frame: usize) -> (f64, f64) {
        let room = (SIDE - self.size) as f64;
        let gone = room * frame as f64 / (FRAMES - 1) as f64;
        let track = self.track as f64;
        match self.direction {
            Direction::Left => (room - gone, track),
            Direction::Right => (gone, track),
            Direction::Up => (track, room - gone),
            Direction::Down => (track, gone),
        }
    }

    /// All frames as RGB bytes, `[FRAMES, SIDE, SIDE, 3]`.
    pub fn pixels(&self) -> Vec<u8> {
        (0..FRAMES).flat_map(|frame| self.frame(frame)).collect()
    }

    fn frame(&self, frame: usize) -> Vec<u8> {
        let (left, top) = self.corner(frame);
        let (half, colour) = (self.size as f64 / 2.0, self.colour(frame).rgb());
        let from_middle = |pixel: usize, edge: f64| (pixel as f64 + 0.5 - edge) / half - 1.0;
        let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let inside = self.shape.covers(from_middle(x, left), from_middle(y, top));
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
            for frame in 0..FRAMES {
                for colour in Colour::ALL {
                    let (count, _) = seen(&pixels, frame, colour);
                    let enough = SIDE * SIDE / 10;
                    assert_eq!(count > enough, colour == scene.colour(frame), "{scene:?} {frame}");
                    assert!(count > enough || count == 0, "{scene:?} {frame}");
                }
            }
            assert_ne!(scene.colours[0], scene.colours[1]);
        }
    }

    #[test]
    fn shapes_go_where_the_scene_says() {
        for scene in scenes(40) {
            let pixels = scene.pixels();
            let (_, [x0, y0]) = seen(&pixels, 0, scene.colours[0]);
            let (_, [x1, y1]) = seen(&pixels, FRAMES - 1, scene.colours[1]);
            let moved = (SIDE - scene.size) as f64;
            let (dx, dy) = match scene.direction {
                Direction::Left => (-moved, 0.0),
                Direction::Right => (moved, 0.0),
                Direction::Up => (0.0, -moved),
                Direction::Down => (0.0, moved),
            };
            assert!((x1 - x0 - dx).abs() < 1.0 && (y1 - y0 - dy).abs() < 1.0, "{scene:?}");
        }
    }
}
