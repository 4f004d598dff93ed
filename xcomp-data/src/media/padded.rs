//! PNG pictures that end too early, as Pillow fills them up where `LOAD_TRUNCATED_IMAGES` is set: missing rows are zeros.

use std::path::Path;

use image::{ColorType, ImageDecoder, ImageError, ImageResult};

use crate::DataError;
use crate::media::limits::Limits;
use crate::open::read_regular;

/// What a PNG file begins with.
pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A decoder whose picture is whole even where its file is not, if it has a ground.
pub(super) struct Padded<D> {
    pub(super) decoder: D,
    /// The colour of what is missing.
    pub(super) ground: Option<[u8; 3]>,
}

/// The colour of a zero: of a palette the first one.
pub(super) fn ground(path: &Path, limits: &Limits) -> Result<[u8; 3], DataError> {
    let bytes = read_regular(path, limits.max_pixels.saturating_mul(8))?;
    let is_indexed = bytes.get(PNG.len() + 17) == Some(&3);
    let palette = chunks(&bytes).find(|(name, ..)| is_indexed && *name == b"PLTE");
    Ok(palette.and_then(|(_, colours, _)| colours.first_chunk().copied()).unwrap_or_default())
}

impl<D: ImageDecoder> ImageDecoder for Padded<D> {
    fn dimensions(&self) -> (u32, u32) {
        self.decoder.dimensions()
    }

    fn color_type(&self) -> ColorType {
        self.decoder.color_type()
    }

    /// The decoder writes row by row, so what it had read of a cut file is there.
    fn read_image(self, buffer: &mut [u8]) -> ImageResult<()> {
        let Some(ground) = self.ground else { return self.decoder.read_image(buffer) };
        let colour = self.color_type();
        if matches!(colour, ColorType::Rgb8 | ColorType::Rgba8) {
            let pixels = buffer.chunks_exact_mut(usize::from(colour.bytes_per_pixel()));
            pixels.for_each(|pixel| pixel[..3].copy_from_slice(&ground));
        }
        let read = self.decoder.read_image(buffer);
        let is_cut = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
        if !matches!(&read, Err(ImageError::IoError(error)) if is_cut(error)) {
            return read;
        }
        // The last thing that the decoder does is to turn numbers of 16 bits round.
        if colour.bytes_per_pixel() == 2 * colour.channel_count() {
            for value in buffer.as_chunks_mut::<2>().0 {
                *value = u16::from_be_bytes(*value).to_ne_bytes();
            }
        }
        Ok(())
    }

    fn read_image_boxed(self: Box<Self>, buffer: &mut [u8]) -> ImageResult<()> {
        (*self).read_image(buffer)
    }
}

/// Chunks of a PNG file that are not cut: name and data of each, and where it ends.
pub(super) fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], usize)> {
    let mut at = PNG.len();
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize;
        let (start, end) = (at + 8, at + 12 + length); // length, name, data, check sum
        let chunk = bytes.get(at..end)?;
        at = end;
        Some((&chunk[4..8], &bytes[start..start + length], end))
    })
}
