//! Decoded frames to RGB, by the frame's own matrix and range.

use std::path::Path;

use ffmpeg_next::color::{Range, Space};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::{Context, Flags};
use ffmpeg_next::{Error, frame};

use super::open::failed;
use crate::resize::Picture;
use crate::{DataError, Limits, ffi};

/// What a converter is made for.
type Kind = (Pixel, u32, u32, Space, Range);

/// Converts frames to RGB; makes a new converter when the frames change.
#[derive(Default)]
pub(super) struct ToRgb {
    converter: Option<(Kind, Context)>,
    rgb: Option<frame::Video>,
}

impl ToRgb {
    /// The frame as RGB.
    pub(super) fn convert(
        &mut self,
        frame: &frame::Video,
        path: &Path,
        limits: &Limits,
    ) -> Result<Picture<'_>, DataError> {
        let (width, height) = (frame.width(), frame.height());
        if width == 0 || height == 0 {
            return Err(failed(path, Error::InvalidData));
        }
        limits.check_pixels(path, u64::from(width), u64::from(height))?;
        let kind = (frame.format(), width, height, frame.color_space(), frame.color_range());
        if self.converter.as_ref().is_none_or(|(made_for, _)| *made_for != kind) {
            self.converter = Some((kind, converter(frame).map_err(|error| failed(path, error))?));
            // FFmpeg allocates the target anew, with padded rows: packed ones leave columns unwritten.
            self.rgb = None;
        }
        let (_, converter) = self.converter.as_mut().expect("a converter was just made");
        let rgb = self.rgb.get_or_insert_with(frame::Video::empty);
        converter.run(frame, rgb).map_err(|error| failed(path, error))?;
        let (width, height) = (width as usize, height as usize);
        Ok(Picture { width, height, stride: rgb.stride(0), pixels: rgb.data(0) })
    }
}

fn converter(frame: &frame::Video) -> Result<Context, Error> {
    let (format, width, height) = (frame.format(), frame.width(), frame.height());
    let mut converter =
        Context::get(format, width, height, Pixel::RGB24, width, height, Flags::BICUBIC)?;
    ffi::set_colours(&mut converter, frame);
    Ok(converter)
}
