//! Quarter turns and mirrors: display matrices of videos, EXIF orientations of pictures.

use crate::media::rgb::Rgb;
use crate::resize::Picture;

/// How a stored picture is turned before it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Turn {
    /// Rows become columns.
    pub(crate) transpose: bool,
    /// Shown from right to left.
    pub(crate) mirror: bool,
    /// Shown from bottom to top.
    pub(crate) flip: bool,
}

impl Turn {
    /// The turn of an EXIF orientation, as `OpenCV` applies it (`ExifTransform` in `loadsave.cpp`); none for unknown ones.
    pub(crate) fn of_exif(orientation: u8) -> Self {
        let (transpose, mirror, flip) = match orientation {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Self { transpose, mirror, flip }
    }

    /// Whether anything is to be done.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The picture as it is shown.
    pub(crate) fn apply(self, source: Picture<'_>) -> Rgb {
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
