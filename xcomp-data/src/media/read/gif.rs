//! Animated gifs: one frame a second, as the reference takes them (`video_utils.py:213-261`).

use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder};

use super::{Reader, Sink};
use crate::DataError;
use crate::frames::{Choice, FrameOptions, dynamic_fps};
use crate::media::limits::Watch;
use crate::open::open_regular;
use crate::resize::Picture;

pub(super) struct Gif {
    path: PathBuf,
    frames: usize,
    watch: Watch,
}

impl Gif {
    pub(super) fn open(path: &Path, mut watch: Watch) -> Result<Self, DataError> {
        let mut frames = 0;
        for frame in decode(path, &watch)? {
            watch.tick(path)?;
            // A gif that is cut off keeps the frames before the cut.
            match frame {
                Ok(_) => frames += 1,
                Err(error) if frames == 0 => return Err(wrong(path, &error)),
                Err(_) => break,
            }
        }
        Ok(Self { path: path.to_owned(), frames, watch })
    }
}

fn decode<'a>(path: &Path, watch: &Watch) -> Result<Frames<'a>, DataError> {
    let file = open_regular(path)?;
    let mut decoder = GifDecoder::new(BufReader::new(file)).map_err(|error| wrong(path, &error))?;
    let (width, height) = decoder.dimensions();
    watch.limits().check_pixels(path, u64::from(width), u64::from(height))?;
    let mut bounds = image::Limits::default();
    bounds.max_alloc = Some(watch.limits().max_pixels.saturating_mul(16).max(1 << 20));
    decoder.set_limits(bounds).map_err(|error| wrong(path, &error))?;
    Ok(decoder.into_frames())
}

fn wrong(path: &Path, error: &image::ImageError) -> DataError {
    DataError::Decode { path: path.to_owned(), message: error.to_string() }
}

impl Reader for Gif {
    fn choose(&self, _: Option<(f64, f64)>, options: &FrameOptions) -> Result<Choice, DataError> {
        let indices = dynamic_fps(self.frames, 1.0, options);
        Ok(Choice { indices, first: 0, fps: 1.0, duration_s: self.frames as f64 })
    }

    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError> {
        let mut wanted = numbers.iter().peekable();
        for (number, frame) in decode(&self.path, &self.watch)?.enumerate() {
            self.watch.tick(&self.path)?;
            let Some(&&next) = wanted.peek() else { break };
            let frame = frame.map_err(|error| wrong(&self.path, &error))?;
            if number == next {
                let picture = DynamicImage::ImageRgba8(frame.into_buffer()).into_rgb8();
                let (width, height) = (picture.width() as usize, picture.height() as usize);
                sink(Picture::packed(width, height, &picture))?;
                wanted.next();
            }
        }
        Ok(())
    }
}
