//! From raw frames to the tokens that enter the connector's perceptron, in bounded chunks.

use burn::tensor::{Device, Float, FloatDType, Tensor, TensorData};

use crate::base::family::Pixels;
use crate::transfer::{kept, upload, upload_bytes};

/// Version of the numbers that frames become on their way to merged tokens.
///
/// Raise it with every change of the code, or of a library beneath it, that moves one of them: features of other
/// versions are not found. What pins the numbers: the golden cases `b_*`, `c_*` and `d_*`.
pub const ENCODER: u32 = 2;

/// Raw frames of one video or image, cut into clips, on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clips {
    /// RGB, `[clips, frames, size, size, 3]`.
    pub pixels: Vec<u8>,
    /// Clips.
    pub count: usize,
    /// Frames in a clip: one for an image.
    pub frames: usize,
    /// Pixels per side.
    pub size: usize,
}

impl Clips {
    /// A video of `frames` frames as clips of `clip_frames`; `None` if it does not divide, or if
    /// the bytes are not those of so many frames.
    pub fn video(pixels: Vec<u8>, frames: usize, size: usize, clip_frames: usize) -> Option<Self> {
        let whole = frames > 0 && clip_frames > 0 && frames.is_multiple_of(clip_frames);
        let fits = pixels.len() == frames * size * size * 3;
        (whole && fits).then(|| Self {
            pixels,
            count: frames / clip_frames,
            frames: clip_frames,
            size,
        })
    }

    /// One image as one clip of one frame; `None` if the bytes are not those of an image.
    pub fn image(pixels: Vec<u8>, size: usize) -> Option<Self> {
        Self::video(pixels, 1, size, 1)
    }

    /// One of the clips.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn one(&self, clip: usize) -> Self {
        let bytes = self.pixels.len() / self.count;
        let pixels = self.pixels[clip * bytes..(clip + 1) * bytes].to_vec();
        Self { pixels, count: 1, ..*self }
    }

    /// Frames of all clips.
    pub fn frame_count(&self) -> usize {
        self.count * self.frames
    }

    /// The pixels of `count` clips from clip `first` on, normalised on the device.
    ///
    /// # Shapes
    /// - output: `[count, frames, 3, size, size]`, f32
    pub fn pixels(
        &self,
        first: usize,
        count: usize,
        pixels: &Pixels,
        device: &Device,
    ) -> Tensor<5> {
        let clip = self.frames * self.size * self.size * 3;
        let bytes = &self.pixels[first * clip..(first + count) * clip];
        let x = normalise(bytes, count * self.frames, self.size, pixels, device);
        x.reshape([count, self.frames, 3, self.size, self.size])
    }
}

/// `(x / 255 - mean) / std` of raw RGB frames.
///
/// # Shapes
/// - `bytes`: `[frames, size, size, 3]`
/// - output: `[frames, 3, size, size]`, f32
pub fn normalise(
    bytes: &[u8],
    frames: usize,
    size: usize,
    pixels: &Pixels,
    device: &Device,
) -> Tensor<4> {
    let device = device.clone().inner();
    let raw = upload_bytes(bytes.to_vec(), [frames, size, size, 3], &device);
    let channel = |values: [f32; 3]| {
        let key = values.iter().map(|value| u64::from(value.to_bits())).collect();
        let make = |device: &Device| upload(TensorData::new(values.to_vec(), [1, 3, 1, 1]), device);
        kept::<4, Float>(("channels", key), &device, make)
    };
    let unit = raw.permute([0, 3, 1, 2]).float().cast(FloatDType::F32) / 255.0;
    (unit - channel(pixels.mean)) / channel(pixels.std)
}

/// How the tower runs over many clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Clips that go through the tower together: the bound of its activations.
    pub clips_at_once: usize,
    /// Dtype of the activations.
    pub dtype: FloatDType,
}

impl Default for Encoding {
    fn default() -> Self {
        Self { clips_at_once: 1, dtype: FloatDType::F32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::videochat_flash::VIDEOCHAT_FLASH;

    const PIXELS: Pixels = VIDEOCHAT_FLASH.pixels;

    /// The reference's arithmetic: `x * (1 / 255)` in f64, then f32.
    fn reference(byte: u8, channel: usize) -> f32 {
        let unit = (f64::from(byte) * (1.0 / 255.0)) as f32;
        (unit - PIXELS.mean[channel]) / PIXELS.std[channel]
    }

    #[test]
    fn normalises_every_byte_of_every_channel() {
        let size = 16;
        let bytes: Vec<u8> = (0..=255).flat_map(|byte: u8| [byte; 3]).collect();
        let pixels = normalise(&bytes, 1, size, &PIXELS, &Device::flex());
        assert_eq!(pixels.dims(), [1, 3, size, size]);
        let got: Vec<f32> = pixels.into_data().iter().collect();
        for (index, got) in got.iter().enumerate() {
            let expect = reference((index % 256) as u8, index / 256);
            assert!((got - expect).abs() < 1e-6, "{index}: {got} is not {expect}");
        }
    }

    #[test]
    fn cuts_frames_into_whole_clips_only() {
        let bytes = |frames: usize| vec![0; frames * 4 * 4 * 3];
        let clips = Clips::video(bytes(16), 16, 4, 8).unwrap();
        assert_eq!((clips.count, clips.frames, clips.frame_count()), (2, 8, 16));
        assert_eq!(Clips::video(bytes(12), 12, 4, 8), None);
        assert_eq!(Clips::video(bytes(15), 16, 4, 8), None);
        assert_eq!(Clips::video(vec![], 0, 4, 8), None);
        assert_eq!(Clips::image(bytes(1), 4).unwrap().count, 1);
    }
}
