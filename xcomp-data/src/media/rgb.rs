//! A decoded picture.

use crate::resize::Picture;

/// A decoded picture: packed RGB rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// `3 * width * height` bytes.
    pub pixels: Vec<u8>,
}

impl Rgb {
    /// A view of it.
    pub fn view(&self) -> Picture<'_> {
        Picture::packed(self.width, self.height, &self.pixels)
    }
}
