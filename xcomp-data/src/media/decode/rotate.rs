//! The display matrix of phone videos: which quarter turn or mirror it stands for.

use ffmpeg_next::codec::packet::side_data::Type;
use ffmpeg_next::{Stream, format};

use crate::media::turn::Turn;

/// Degrees by which an angle may differ from a quarter turn; the `ffmpeg` program, too, turns within one degree.
const TOLERANCE: f64 = 1.0;

/// The turn of the stream's display matrix.
pub(super) fn of_stream(input: &format::context::Input, stream: usize) -> Turn {
    let matrix = |stream: Stream<'_>| {
        let found = stream.side_data().find(|data| data.kind() == Type::DisplayMatrix);
        found.map(|data| from_bytes(data.data()))
    };
    input.stream(stream).and_then(matrix).unwrap_or_default()
}

/// By the angle, as `av_display_rotation_get` finds it, then the mirrors as the `ffmpeg` program adds them
/// (`configure_input_video_filter`); other angles than quarter turns are left alone.
fn from_bytes(bytes: &[u8]) -> Turn {
    let (numbers, _) = bytes.as_chunks::<4>();
    let at = |i: usize| numbers.get(i).map_or(0.0, |bytes| f64::from(i32::from_ne_bytes(*bytes)));
    // A point (x, y) is shown at (a x + c y, b x + d y).
    let (a, b, c, d) = (at(0), at(1), at(3), at(4));
    let (wide, high) = (a.hypot(c), b.hypot(d));
    if wide == 0.0 || high == 0.0 {
        return Turn::default(); // no angle: the picture would have no area
    }
    let degrees = (b / high).atan2(a / wide).to_degrees();
    let is = |angle: f64| {
        let away = (degrees - angle).rem_euclid(360.0);
        away.min(360.0 - away) < TOLERANCE
    };
    if is(90.0) {
        Turn { transpose: true, mirror: c <= 0.0, flip: false }
    } else if is(270.0) {
        Turn { transpose: true, mirror: c < 0.0, flip: true }
    } else if is(180.0) {
        Turn { transpose: false, mirror: a < 0.0, flip: d < 0.0 }
    } else {
        Turn { transpose: false, mirror: false, flip: is(0.0) && d < 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::Picture;

    /// One in the 16.16 numbers of a display matrix.
    const ONE: i32 = 1 << 16;

    fn turned(matrix: [i32; 4]) -> Vec<u8> {
        let [a, b, c, d] = matrix;
        let bytes: Vec<u8> =
            [a, b, 0, c, d, 0, 0, 0, 1 << 30].iter().flat_map(|n| n.to_ne_bytes()).collect();
        // Two rows of three pixels: 0 1 2 / 3 4 5.
        let pixels: Vec<u8> = (0..6).flat_map(|i| [i; 3]).collect();
        let shown = from_bytes(&bytes).apply(Picture::packed(3, 2, &pixels));
        shown.pixels.chunks(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn quarter_turns_and_mirrors() {
        let check = |matrix: [i32; 4], expect: [u8; 6]| {
            assert_eq!(turned(matrix.map(|n| n * ONE)), expect, "{matrix:?}");
            assert_eq!(turned(matrix.map(|n| n * (ONE - 1) + 9)), expect, "{matrix:?}, nearly");
            assert_eq!(turned(matrix.map(|n| n * ONE / 2)), expect, "{matrix:?}, scaled");
        };
        check([1, 0, 0, 1], [0, 1, 2, 3, 4, 5]);
        check([0, 1, -1, 0], [3, 0, 4, 1, 5, 2]); // clockwise
        check([0, -1, 1, 0], [2, 5, 1, 4, 0, 3]); // counter-clockwise
        check([-1, 0, 0, -1], [5, 4, 3, 2, 1, 0]);
        check([-1, 0, 0, 1], [2, 1, 0, 5, 4, 3]);
        check([1, 0, 0, -1], [3, 4, 5, 0, 1, 2]);
        check([0, 1, 1, 0], [0, 3, 1, 4, 2, 5]);
        check([0, -1, -1, 0], [5, 2, 4, 1, 3, 0]);
    }

    #[test]
    fn what_has_no_quarter_turn_is_left_alone() {
        for matrix in [[0; 4], [ONE, 0, 0, 0], [ONE, ONE, -ONE, ONE], [ONE, 2000, -2000, ONE]] {
            assert_eq!(turned(matrix), [0, 1, 2, 3, 4, 5], "{matrix:?}");
        }
    }
}
