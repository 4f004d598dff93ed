//! Pictures of any shape as squares.

use serde::{Deserialize, Serialize};

use super::{Picture, Resize, Resizer};

/// How many times the shorter side the longer one may be where a picture is cropped: what is cut off is computed first.
pub const LONGEST_CROPPED: usize = 100;

/// How a picture is brought to a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Straight to the square, whatever its shape.
    #[default]
    Squeeze,
    /// The shorter side to that of the square, then its middle (`CLIPImageProcessor`).
    Crop,
    /// Frames of a video as `crop`; a picture becomes several squares ([`super::Canvas`]; Video-XL).
    Tiles,
}

impl Fit {
    /// Width and height of a picture before what does not fit is cut off.
    pub fn resized(self, width: usize, height: usize, side: usize) -> (usize, usize) {
        match self {
            Self::Squeeze => (side, side),
            Self::Crop | Self::Tiles if width <= height => (side, side * height / width),
            Self::Crop | Self::Tiles => (side * width / height, side),
        }
    }
}

/// Makes squares of one side; keeps weights and buffers as long as pictures have one shape.
pub struct Fitter {
    side: usize,
    fit: Fit,
    how: Resize,
    resizer: Option<((usize, usize), Resizer)>,
    whole: Vec<u8>,
}

impl Fitter {
    /// Makes squares of `side` pixels.
    pub fn new(side: usize, fit: Fit, how: Resize) -> Self {
        Self { side, fit, how, resizer: None, whole: Vec::new() }
    }

    /// Appends the packed square to `out`.
    ///
    /// # Errors
    /// If the picture is cropped and so long that what is cut off would fill the memory.
    ///
    /// # Panics
    /// When a side is 0.
    pub fn fit_into(&mut self, source: Picture<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let (width, height) = (source.width, source.height);
        if self.fit != Fit::Squeeze && width.max(height) > LONGEST_CROPPED * width.min(height) {
            return Err(format!(
                "a picture of {width} x {height} pixels is more than {LONGEST_CROPPED} times as long as wide; cut it"
            ));
        }
        let size @ (width, height) = self.fit.resized(width, height, self.side);
        if self.resizer.as_ref().is_none_or(|(of, _)| *of != size) {
            self.resizer = Some((size, Resizer::new(width, height, self.how)));
        }
        let (_, resizer) = self.resizer.as_mut().expect("it was made");
        if (width, height) == (self.side, self.side) {
            resizer.resize_into(source, out);
            return Ok(());
        }
        self.whole.clear();
        resizer.resize_into(source, &mut self.whole);
        let (left, top) = ((width - self.side) / 2, (height - self.side) / 2);
        for row in self.whole.chunks(3 * width).skip(top).take(self.side) {
            out.extend_from_slice(&row[3 * left..][..3 * self.side]);
        }
        Ok(())
    }
}
