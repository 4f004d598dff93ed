//! Noise instead of a video, for measuring a pipeline without files (`video_utils.py`, `fake`).

use super::{Reader, Sink};
use crate::frames::{Choice, FrameOptions, whole};
use crate::resize::Picture;
use crate::{DataError, PythonRandom};

/// Frames of the pretended video.
const FRAMES: usize = 100;
/// Their width and height, in pixels.
const SIDE: usize = 224;

pub(super) struct Noise;

impl Reader for Noise {
    fn choose(&self, _: Option<(f64, f64)>, options: &FrameOptions) -> Result<Choice, DataError> {
        whole(FRAMES, 1.0, options)
    }

    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError> {
        let mut pixels = vec![0; 3 * SIDE * SIDE];
        for &number in numbers {
            let mut random = PythonRandom::new(number as u64);
            pixels.fill_with(|| random.getrandbits(8) as u8);
            sink(Picture::packed(SIDE, SIDE, &pixels))?;
        }
        Ok(())
    }
}
