//! The display matrix of phone videos: quarter turns and mirrors.

use ffmpeg_next::Stream;
use ffmpeg_next::codec::packet::side_data::Type;

use crate::media::picture::Rgb;
use crate::resize::Picture;

/// One in the 16.16 numbers of a display matrix.
const ONE: i32 = 1 << 16;

/// How the coded picture is turned before it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turn {
    /// Rows become columns.
    transpose: bool,
    /// Shown from right to left.
    mirror: bool,
    /// Shown from bottom to top.
    flip: bool,
}

impl Turn {
    /// Reads the stream's display matrix; other angles than quarter turns are left alone.
    pub(super) fn of(stream: &Stream<'_>) -> Self {
        let matrix = stream.side_data().find(|data| data.kind() == Type::DisplayMatrix);
        matrix.map_or_else(Self::default, |matrix| Self::from_bytes(matrix.data()))
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let (numbers, _) = bytes.as_chunks::<4>();
        let at = |i: usize| numbers.get(i).map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        // A point (x, y) is shown at (a x + c y, b x + d y).
        let (a, b, c, d) = (at(0), at(1), at(3), at(4));
        match (a.abs(), b.abs(), c.abs(), d.abs()) {
            (ONE, 0, 0, ONE) => Self { transpose: false, mirror: a < 0, flip: d < 0 },
            (0, ONE, ONE, 0) => Self { transpose: true, mirror: c < 0, flip: b < 0 },
            _ => Self::default(),
        }
    }

    /// Whether anything is to be done.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The picture as it is shown.
    pub(super) fn apply(self, source: Picture<'_>) -> Rgb {
        let (width, height) = if self.transpose {
            (source.height, source.width)
        } else {
            (source.width, source.height)
        };
        let mut pixels = Vec::with_capacity(3 * width * height);
        for y in 0..height {
            let y = if self.flip { height - 1 - y } else { y };
            for x in 0..width {
                let x = if self.mirror { width - 1 - x } else { x };
                let (x, y) = if self.transpose { (y, x) } else { (x, y) };
                pixels.extend_from_slice(&source.row(y)[3 * x..3 * x + 3]);
            }
        }
        Rgb { width, height, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(matrix: [i32; 4]) -> Vec<u8> {
        let [a, b, c, d] = matrix.map(|entry| entry * ONE);
        let bytes: Vec<u8> =
            [a, b, 0, c, d, 0, 0, 0, 1 << 30].iter().flat_map(|n| n.to_ne_bytes()).collect();
        // Two rows of three pixels: 0 1 2 / 3 4 5.
        let pixels: Vec<u8> = (0..6).flat_map(|i| [i; 3]).collect();
        let shown = Turn::from_bytes(&bytes).apply(Picture::packed(3, 2, &pixels));
        shown.pixels.chunks(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn quarter_turns_and_mirrors() {
        assert_eq!(turned([1, 0, 0, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(turned([0, 1, -1, 0]), [3, 0, 4, 1, 5, 2]); // clockwise
        assert_eq!(turned([0, -1, 1, 0]), [2, 5, 1, 4, 0, 3]); // counter-clockwise
        assert_eq!(turned([-1, 0, 0, -1]), [5, 4, 3, 2, 1, 0]);
        assert_eq!(turned([-1, 0, 0, 1]), [2, 1, 0, 5, 4, 3]);
    }
}
