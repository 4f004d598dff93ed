//! JPEG pictures through libjpeg-turbo, as Pillow and `OpenCV` read them: the same bytes.
//!
//! Other decoders differ by up to four levels in a third of all pixels, because they round and upsample differently.

use turbojpeg::{Decompressor, Error, Image, PixelFormat};

/// How the messages of libjpeg-turbo begin that are warnings (`jerror.h`): it and Pillow keep such a picture.
const WARNINGS: [&str; 5] = [
    "Corrupt JPEG data",
    "Inconsistent progression sequence",
    "Invalid SOS parameters",
    "Unknown Adobe color transform",
    "Warning: unknown JFIF revision",
];

/// The frame header of a file.
pub(crate) struct Header {
    pub(crate) width: usize,
    pub(crate) height: usize,
    components: u8,
}

impl Header {
    /// `None` where the bytes are no JPEG file, or one without pixels.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        loop {
            let at =
                rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff))?;
            let segment = &rest[at + 2..];
            match rest[at + 1] {
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    let &[_, _, _, h1, h0, w1, w0, components, ..] = segment else { return None };
                    let size = |bytes| usize::from(u16::from_be_bytes(bytes));
                    let (width, height) = (size([w1, w0]), size([h1, h0]));
                    return (width > 0 && height > 0).then_some(Self { width, height, components });
                }
                0xd9 | 0xda => return None,
                _ => {
                    let length = u16::from_be_bytes(*segment.first_chunk()?);
                    rest = segment.get(usize::from(length)..)?;
                }
            }
        }
    }

    /// The pixels as packed RGB; `None` for a file that libjpeg-turbo does not know. The end of the picture has to be marked.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (width, height) = (self.width, self.height);
        let format = if self.components == 4 { PixelFormat::CMYK } else { PixelFormat::RGB };
        let pitch = width * format.size();
        let mut pixels = vec![0; pitch * height];
        let image = Image { pixels: &mut pixels[..], width, pitch, height, format };
        let decoded = Decompressor::new().and_then(|mut turbo| turbo.decompress(bytes, image));
        if decoded.is_err_and(|error| !is_harmless(&error)) {
            return None;
        }
        Some(if format == PixelFormat::CMYK { to_rgb(&pixels) } else { pixels })
    }
}

/// Whether the picture is there in spite of a warning.
fn is_harmless(error: &Error) -> bool {
    let Error::TurboJpegError(message) = error else { return false };
    WARNINGS.iter().any(|start| message.starts_with(start))
}

/// Pillow takes every CMYK file for an inverted one, as Adobe writes them, and rounds so (`cmyk2rgb` in `Convert.c`).
fn to_rgb(inverted: &[u8]) -> Vec<u8> {
    let (pixels, _) = inverted.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(3 * pixels.len());
    for &[cyan, magenta, yellow, light] in pixels {
        let light = u32::from(light);
        rgb.extend([cyan, magenta, yellow].map(|ink| {
            let product = u32::from(255 - ink) * light + 128;
            light.saturating_sub(((product >> 8) + product) >> 8) as u8
        }));
    }
    rgb
}
