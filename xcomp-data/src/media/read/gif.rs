//! Animated gifs: one frame a second, as the reference takes them (`video_utils.py:213-261`).

use std::path::{Path, PathBuf};

use super::{Reader, Sink};
use crate::DataError;
use crate::frames::{Choice, FrameOptions, whole};
use crate::media::gif::GifFrames;
use crate::media::limits::Watch;

pub(super) struct Gif {
    path: PathBuf,
    frames: usize,
    watch: Watch,
}

impl Gif {
    pub(super) fn open(path: &Path, mut watch: Watch) -> Result<Self, DataError> {
        let mut frames = 0;
        let mut decoder = GifFrames::open(path, watch.limits())?;
        loop {
            watch.tick(path)?;
            // A gif that is cut off keeps the frames before the cut.
            match decoder.skip() {
                Ok(true) => frames += 1,
                Err(error) if frames == 0 => return Err(error),
                Ok(false) | Err(_) => break,
            }
        }
        Ok(Self { path: path.to_owned(), frames, watch })
    }
}

impl Reader for Gif {
    fn choose(&self, _: Option<(f64, f64)>, options: &FrameOptions) -> Result<Choice, DataError> {
        whole(self.frames, 1.0, options)
    }

    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError> {
        let mut decoder = GifFrames::open(&self.path, self.watch.limits())?;
        let mut wanted = numbers.iter().peekable();
        for number in 0.. {
            self.watch.tick(&self.path)?;
            let Some(&&next) = wanted.peek() else { break };
            let Some(picture) = decoder.next()? else { break };
            if number == next {
                sink(picture)?;
                wanted.next();
            }
        }
        Ok(())
    }
}
