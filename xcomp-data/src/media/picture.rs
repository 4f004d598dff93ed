//! Still pictures, within limits.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::DataError;
use crate::frames::Truncated;
use crate::media::gif::GifFrames;
use crate::media::jpeg_parts::Parts;
use crate::media::kind;
use crate::media::limits::Limits;
use crate::media::padded::{self, PNG, Padded, chunks};
pub use crate::media::rgb::Rgb;
use crate::media::turn::Turn;
use crate::open::{open_regular, read_regular};

/// The kinds that are read, in the words of a message.
const READ: &str = "JPEG, PNG, GIF, WebP and BMP";
/// What is said of a picture that ends too early, as Pillow says it.
const CUT_OFF: &str = "image file is truncated";
/// What a JPEG file and a PNG file end with.
const JPEG_END: [u8; 2] = [0xff, 0xd9];
const PNG_END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";
/// Most scans of a JPEG file; progressive encoders write about ten.
const MAX_SCANS: usize = 64;

/// What decodes JPEG pictures in this build; the pixels of `image` may differ from Pillow's by a level or more.
pub const JPEG_DECODER: &str = if cfg!(feature = "turbojpeg") { "turbojpeg" } else { "image" };

/// How a picture is read.
#[derive(Debug, Clone, Copy)]
struct How<'a> {
    limits: &'a Limits,
    truncated: Truncated,
    like: Like,
}

/// Whose reading of a picture is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Like {
    /// `Image.open(file).convert("RGB")`: single pictures.
    Pillow,
    /// `cv2.imdecode(bytes, IMREAD_COLOR)`: frames of a folder.
    OpenCv,
}

/// Reads a picture as RGB; alpha is dropped and the EXIF orientation is not followed, as in Pillow's `convert("RGB")`.
///
/// Of 16 bits the high byte is taken, but greys are limited to 255, as Pillow does.
/// Two rare kinds differ from Pillow: greys of 16 bits that state a transparent value are not limited, and a BMP of 16 bits a pixel is
/// rounded where Pillow cuts, which is one level.
/// A `.png` that cannot be read is looked for as `.jpg`, as the reference does (`train.py:1360-1363`).
///
/// # Errors
/// When the file is missing, no picture, cut off (unless that is to be padded), or larger than the limits.
pub fn read_picture(path: &Path, limits: &Limits, truncated: Truncated) -> Result<Rgb, DataError> {
    read_or_other(path, How { limits, truncated, like: Like::Pillow })
}

/// Reads a picture of a frame folder: the EXIF orientation is followed, as `OpenCV` does, through which the reference reads folders.
///
/// All else is as in [`read_picture`], but that of greys, too, the high byte is taken.
pub(crate) fn read_frame(
    path: &Path,
    limits: &Limits,
    truncated: Truncated,
) -> Result<Rgb, DataError> {
    read_or_other(path, How { limits, truncated, like: Like::OpenCv })
}

fn read_or_other(path: &Path, how: How<'_>) -> Result<Rgb, DataError> {
    read_one(path, how).or_else(|error| {
        let text = path.to_string_lossy();
        let other = text.replace(".png", ".jpg");
        if other == text { Err(error) } else { read_one(Path::new(&other), how).map_err(|_| error) }
    })
}

fn read_one(path: &Path, how: How<'_>) -> Result<Rgb, DataError> {
    let start = kind::start_of(path)?;
    if start.starts_with(&[0xff, 0xd8, 0xff]) {
        return read_jpeg(path, how);
    }
    if start.starts_with(b"GIF8") {
        let mut frames = GifFrames::open(path, how.limits)?;
        let first = frames.next()?.ok_or_else(|| cut_off(path))?;
        return Ok(Turn::default().apply(first));
    }
    match decode(path, open(path)?, how) {
        // Pillow reads a file that lacks no more than its last chunk, which holds nothing.
        Err(DataError::Decode { message, .. }) if message == CUT_OFF && start.starts_with(PNG) => {
            let mut bytes = read_regular(path, how.limits.max_pixels.saturating_mul(8))?;
            let whole = chunks(&bytes).last().map_or(PNG.len(), |(.., end)| end);
            bytes.truncate(whole);
            if !bytes.windows(4).any(|name| name == b"IDAT") {
                return Err(cut_off(path));
            }
            bytes.extend(PNG_END);
            decode(path, ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png), how)
        }
        other => other,
    }
}

fn decode<R: BufRead + Seek>(
    path: &Path,
    reader: ImageReader<R>,
    how: How<'_>,
) -> Result<Rgb, DataError> {
    let wrong = |error: ImageError| wrong(path, &error);
    let format = reader.format();
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    how.limits.check_pixels(path, u64::from(width), u64::from(height))?;
    let mut bounds = image::Limits::default();
    bounds.max_alloc = Some(how.limits.max_pixels.saturating_mul(16).max(1 << 20));
    decoder.set_limits(bounds).map_err(wrong)?;
    let exif = decoder.exif_metadata().ok().flatten().filter(|_| how.like == Like::OpenCv);
    let pads = how.truncated == Truncated::Pad && format == Some(ImageFormat::Png);
    let ground = if pads { Some(padded::ground(path, how.limits)?) } else { None };
    let picture = DynamicImage::from_decoder(Padded { decoder, ground }).map_err(wrong)?;
    Ok(turned(eight_bits(picture, how.like), exif.as_deref()))
}

/// A JPEG whose picture is all there, or is to be padded. Pillow refuses each that lacks its end mark; here those that lack nothing
/// else are read.
fn read_jpeg(path: &Path, how: How<'_>) -> Result<Rgb, DataError> {
    // A picture never needs more than its pixels; what lies behind them is not wanted.
    let bytes = read_regular(path, how.limits.max_pixels.saturating_mul(4))?;
    let parts = Parts::of(&bytes);
    if parts.scans > MAX_SCANS {
        let message = format!("{} scans, more than {MAX_SCANS}", parts.scans);
        return Err(DataError::Decode { path: path.to_owned(), message });
    }
    let picture = if parts.ended {
        decode_jpeg(path, &bytes, how)?
    } else if how.truncated == Truncated::Pad && parts.scans > 0 && !parts.is_arithmetic {
        decode_jpeg(path, &[&bytes[..parts.whole], &JPEG_END].concat(), how)?
    } else {
        let decode = |bytes: &[u8]| decode_jpeg(path, bytes, how).ok();
        parts.without_end(&bytes, decode).ok_or_else(|| cut_off(path))?
    };
    Ok(turned(picture, parts.exif.filter(|_| how.like == Like::OpenCv)))
}

/// As libjpeg-turbo decodes it; the general decoder is for files that only it reads.
fn decode_jpeg(path: &Path, bytes: &[u8], how: How<'_>) -> Result<Rgb, DataError> {
    #[cfg(feature = "turbojpeg")]
    if let Some(header) = crate::media::jpeg::Header::of(bytes) {
        let (width, height) = (header.width, header.height);
        how.limits.check_pixels(path, width as u64, height as u64)?;
        if let Some(pixels) = header.decode(bytes) {
            return Ok(Rgb { width, height, pixels });
        }
    }
    let reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg);
    decode(path, reader, How { like: Like::Pillow, ..how })
}

/// Follows the orientation in EXIF data.
fn turned(picture: Rgb, exif: Option<&[u8]>) -> Rgb {
    let orientation = exif.and_then(Orientation::from_exif_chunk).map_or(1, Orientation::to_exif);
    let turn = Turn::of_exif(orientation);
    if turn.is_none() { picture } else { turn.apply(picture.view()) }
}

/// RGB of eight bits; `image` would round 16 bits, and neither Pillow nor `OpenCV` does.
fn eight_bits(picture: DynamicImage, like: Like) -> Rgb {
    let high = |value: &u16| (value >> 8) as u8;
    let grey =
        |value: &u16| if like == Like::Pillow { (*value).min(255) as u8 } else { high(value) };
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = match picture {
        DynamicImage::ImageRgb16(pixels) => pixels.iter().map(high).collect(),
        DynamicImage::ImageRgba16(pixels) => {
            pixels.as_chunks::<4>().0.iter().flat_map(|pixel| pixel[..3].iter().map(high)).collect()
        }
        DynamicImage::ImageLuma16(pixels) => {
            pixels.iter().flat_map(|value| [grey(value); 3]).collect()
        }
        DynamicImage::ImageLumaA16(pixels) => {
            pixels.as_chunks::<2>().0.iter().flat_map(|[value, _]| [high(value); 3]).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    Rgb { width, height, pixels }
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

/// In the words of Pillow where a file ends too early; by its kind where that is not read.
fn wrong(path: &Path, error: &ImageError) -> DataError {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            cut_off(path)
        }
        ImageError::Unsupported(error) => match kind_of(path) {
            Some(name) => kind::not_read(path, &name, READ),
            None => DataError::Decode { path: path.to_owned(), message: error.to_string() },
        },
        other => DataError::Decode { path: path.to_owned(), message: other.to_string() },
    }
}

/// The name of a kind that is not read.
fn kind_of(path: &Path) -> Option<String> {
    let start = kind::start_of(path).ok()?;
    let known = || image::guess_format(&start).ok().filter(|format| !format.reading_enabled());
    let name = kind::name_of_other(&start).map(str::to_owned);
    name.or_else(|| Some(format!("{:?}", known()?)))
}

fn cut_off(path: &Path) -> DataError {
    let message = CUT_OFF.to_owned();
    DataError::Decode { path: path.to_owned(), message }
}
