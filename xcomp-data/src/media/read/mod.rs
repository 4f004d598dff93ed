//! Readers of media behind one trait: which frames there are, and their pictures.

mod gif;
mod noise;
mod pictures;
#[cfg(feature = "video")]
mod video;

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::frames::{Choice, FrameOptions};
use crate::media::limits::Watch;
use crate::mixture::ReadType;
use crate::mixture::annotation::{Media, Record};
use crate::resize::Picture;

/// Takes the pictures in the order in which they were asked for.
pub(crate) type Sink<'a> = dyn FnMut(Picture<'_>) -> Result<(), DataError> + 'a;

/// An opened medium.
pub(crate) trait Reader {
    /// Which frames the rule of `options` takes; `part` is the first and last second of a part.
    fn choose(&self, part: Option<(f64, f64)>, options: &FrameOptions)
    -> Result<Choice, DataError>;

    /// Hands the frames of these ascending numbers to `sink`, one after the other.
    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError>;
}

/// A picture or video to be read, of a record or of a question about a file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) media: Media,
    pub(crate) path: PathBuf,
    pub(crate) read_type: Option<ReadType>,
    pub(crate) part: Option<(f64, f64)>,
}

impl Source {
    /// What a record shows, in order.
    pub(crate) fn all(record: &Record) -> impl Iterator<Item = Self> + '_ {
        record.media.iter().zip(record.paths()).map(|(file, path)| Self {
            media: file.kind,
            path,
            read_type: record.dataset.read_type,
            part: record.part,
        })
    }

    /// Opens the reader that fits.
    pub(crate) fn open(
        &self,
        options: &FrameOptions,
        watch: Watch,
    ) -> Result<Box<dyn Reader>, DataError> {
        let (path, truncated) = (self.path.as_path(), options.truncated);
        if self.media == Media::Image {
            return Ok(Box::new(pictures::Single::new(path, options, watch)));
        }
        let read_type = self.read_type.unwrap_or_else(|| by_file(path));
        match read_type {
            ReadType::Img | ReadType::Frame => {
                Ok(Box::new(pictures::Pictures::folder(path, truncated, watch)?))
            }
            ReadType::Gif => Ok(Box::new(gif::Gif::open(path, watch)?)),
            ReadType::Fake => Ok(Box::new(noise::Noise)),
            ReadType::Decord | ReadType::Av | ReadType::Lazy => {
                open_video(path, read_type, options.rotate, watch)
            }
        }
    }
}

fn by_file(path: &Path) -> ReadType {
    if path.is_dir() { ReadType::Img } else { ReadType::Decord }
}

#[cfg(feature = "video")]
fn open_video(
    path: &Path,
    read_type: ReadType,
    rotate: bool,
    watch: Watch,
) -> Result<Box<dyn Reader>, DataError> {
    Ok(Box::new(video::VideoReader::open(path, read_type, rotate, watch)?))
}

/// Without `FFmpeg`, gifs can still be read.
#[cfg(not(feature = "video"))]
fn open_video(
    path: &Path,
    _: ReadType,
    _: bool,
    watch: Watch,
) -> Result<Box<dyn Reader>, DataError> {
    if path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("gif")) {
        return Ok(Box::new(gif::Gif::open(path, watch)?));
    }
    let message = "this build has no video decoder; build with the feature `video`, or use gifs or frame folders";
    Err(DataError::Unsupported { path: path.to_owned(), message: message.into() })
}
