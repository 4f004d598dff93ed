//! Still pictures, within limits.

use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use image::{ImageError, ImageReader};

use crate::DataError;
use crate::media::limits::Limits;
use crate::open::open_regular;
use crate::resize::Picture;

/// What decodes JPEG pictures in this build; the pixels of `image` may differ from Pillow's by a level or more.
pub const JPEG_DECODER: &str = if cfg!(feature = "turbojpeg") { "turbojpeg" } else { "image" };

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

/// Reads a picture as RGB; alpha is dropped, as Pillow's `convert("RGB")` does.
///
/// A `.png` that cannot be read is looked for as `.jpg`, as the reference does (`train.py:1360-1363`).
///
/// # Errors
/// When the file is missing, no picture, or larger than the limits.
pub fn read_picture(path: &Path, limits: &Limits) -> Result<Rgb, DataError> {
    read_one(path, limits).or_else(|error| {
        let text = path.to_string_lossy();
        let other = text.replace(".png", ".jpg");
        if other == text {
            Err(error)
        } else {
            read_one(Path::new(&other), limits).map_err(|_| error)
        }
    })
}

fn read_one(path: &Path, limits: &Limits) -> Result<Rgb, DataError> {
    #[cfg(feature = "turbojpeg")]
    if let Some(picture) = read_jpeg(path, limits)? {
        return Ok(picture);
    }
    let (width, height) = picture_size(path)?;
    limits.check_pixels(path, u64::from(width), u64::from(height))?;
    let mut reader = open(path)?;
    let mut bounds = image::Limits::default();
    bounds.max_alloc = Some(limits.max_pixels.saturating_mul(16).max(1 << 20));
    reader.limits(bounds);
    let picture = reader.decode().map_err(|error| wrong(path, &error))?.into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Rgb { width, height, pixels: picture.into_raw() })
}

/// A JPEG as libjpeg-turbo decodes it; `None` for other files and for those that only the general decoder reads.
#[cfg(feature = "turbojpeg")]
fn read_jpeg(path: &Path, limits: &Limits) -> Result<Option<Rgb>, DataError> {
    use std::io::Read;
    let mut start = [0; 3];
    let read = open_regular(path)?.read_exact(&mut start);
    if read.is_err() || start != [0xff, 0xd8, 0xff] {
        return Ok(None);
    }
    // A picture never needs more than its pixels; what lies behind them is not wanted.
    let bytes = crate::open::read_regular(path, limits.max_pixels.saturating_mul(4))?;
    let Some(header) = crate::media::jpeg::Header::of(&bytes) else { return Ok(None) };
    let (width, height) = (header.width, header.height);
    limits.check_pixels(path, width as u64, height as u64)?;
    Ok(header.decode(&bytes).map(|pixels| Rgb { width, height, pixels }))
}

/// Width and height of a picture, from its header.
///
/// # Errors
/// When the file is missing or no picture.
pub fn picture_size(path: &Path) -> Result<(u32, u32), DataError> {
    open(path)?.into_dimensions().map_err(|error| wrong(path, &error))
}

fn open(path: &Path) -> Result<ImageReader<impl BufRead + Seek + use<>>, DataError> {
    ImageReader::new(BufReader::new(open_regular(path)?))
        .with_guessed_format()
        .map_err(|source| DataError::read(path, source))
}

fn wrong(path: &Path, error: &ImageError) -> DataError {
    DataError::Decode { path: path.to_owned(), message: error.to_string() }
}
