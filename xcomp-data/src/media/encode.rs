//! Writes drawn frames as a real mp4 file, so that synthetic material runs through the whole data path.

use std::path::{Path, PathBuf};

use ffmpeg_next::codec::{self, encoder};
use ffmpeg_next::format::{self, Pixel, context::Output};
use ffmpeg_next::software::scaling::{Context as Scaler, Flags};
use ffmpeg_next::{Dictionary, Error as FfmpegError, Packet, Rational, frame, log};

/// Encoders in the order in which they are tried, with options for small, nearly lossless, repeatable files.
///
/// One thread and no wall clock in the stream: the same frames give the same bytes on one machine.
const ENCODERS: [(&str, &[(&str, &str)]); 2] = [
    ("libx264", &[("preset", "veryfast"), ("crf", "8"), ("bf", "0"), ("threads", "1")]),
    ("mpeg4", &[("qmin", "1"), ("qmax", "2"), ("b", "4000000"), ("threads", "1")]),
];

/// What keeps frames from becoming an mp4 file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message names every field")]
pub enum EncodeError {
    /// The frames do not fit what the 4:2:0 formats can hold.
    #[error("cannot write {path}: {problem}")]
    Frames { path: PathBuf, problem: String },
    /// `FFmpeg`'s libraries here contain neither `libx264` nor `mpeg4`.
    #[error("cannot write {path}: FFmpeg has neither the encoder libx264 nor mpeg4")]
    NoEncoder { path: PathBuf },
    /// `FFmpeg` refused a step.
    #[error("cannot write {path}: ffmpeg failed to {step}")]
    Ffmpeg { path: PathBuf, step: &'static str, source: FfmpegError },
}

/// RGB frames in memory, as the drawing code leaves them.
#[derive(Clone, Copy, Debug)]
pub struct RgbFrames<'a> {
    /// RGB bytes, `[count, height, width, 3]`.
    pub pixels: &'a [u8],
    /// Pixels a row; even.
    pub width: usize,
    /// Rows; even.
    pub height: usize,
    /// Frames a second.
    pub fps: u32,
}

/// Writes the frames to `path` as an mp4 with one yuv420p video stream, and returns the encoder's name.
///
/// # Errors
/// [`EncodeError`] names the file and what was wrong with the frames, the encoder or the disk.
pub fn write_mp4(path: &Path, frames: RgbFrames<'_>) -> Result<&'static str, EncodeError> {
    check(path, frames)?;
    let failed =
        |step| move |source| EncodeError::Ffmpeg { path: path.to_path_buf(), step, source };
    ffmpeg_next::init().map_err(failed("start"))?;
    log::set_level(log::Level::Error);
    let (name, options, encoder) = ENCODERS
        .iter()
        .find_map(|(name, options)| Some((*name, *options, encoder::find_by_name(name)?)))
        .ok_or_else(|| EncodeError::NoEncoder { path: path.to_path_buf() })?;
    let mut output = format::output(path).map_err(failed("open the file"))?;
    let mut video =
        open_encoder(encoder, options, frames, &output).map_err(failed("open the encoder"))?;
    output.add_stream(encoder).map_err(failed("add a stream"))?.set_parameters(&video);
    output.write_header().map_err(failed("write the header"))?;
    encode_all(frames, &mut video, &mut output).map_err(failed("encode"))?;
    output.write_trailer().map_err(failed("finish the file"))?;
    Ok(name)
}

fn check(path: &Path, frames: RgbFrames<'_>) -> Result<(), EncodeError> {
    let RgbFrames { pixels, width, height, fps } = frames;
    let frame_bytes = width * height * 3;
    let problem = if frame_bytes == 0 || !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        format!("frames of {width}x{height} pixels; both sides must be even and at least 2")
    } else if pixels.is_empty() || !pixels.len().is_multiple_of(frame_bytes) {
        format!("{} bytes are no whole number of {width}x{height} RGB frames", pixels.len())
    } else if fps == 0 {
        "0 frames a second".to_owned()
    } else {
        return Ok(());
    };
    Err(EncodeError::Frames { path: path.to_path_buf(), problem })
}

fn open_encoder(
    encoder: ffmpeg_next::Codec,
    options: &[(&str, &str)],
    frames: RgbFrames<'_>,
    output: &Output,
) -> Result<encoder::video::Encoder, FfmpegError> {
    let mut video = codec::Context::new_with_codec(encoder).encoder().video()?;
    video.set_width(frames.width as u32);
    video.set_height(frames.height as u32);
    video.set_format(Pixel::YUV420P);
    video.set_frame_rate(Some(Rational(frames.fps as i32, 1)));
    video.set_time_base(Rational(1, frames.fps as i32));
    if output.format().flags().contains(format::Flags::GLOBAL_HEADER) {
        video.set_flags(codec::Flags::GLOBAL_HEADER);
    }
    video.open_with(options.iter().copied().collect::<Dictionary>())
}

fn encode_all(
    frames: RgbFrames<'_>,
    video: &mut encoder::video::Encoder,
    output: &mut Output,
) -> Result<(), FfmpegError> {
    let (width, height) = (frames.width as u32, frames.height as u32);
    let mut to_yuv =
        Scaler::get(Pixel::RGB24, width, height, Pixel::YUV420P, width, height, Flags::BICUBIC)?;
    for (index, rgb) in frames.pixels.chunks_exact(frames.width * frames.height * 3).enumerate() {
        let mut picture = frame::Video::empty();
        to_yuv.run(&padded(rgb, width, height), &mut picture)?;
        picture.set_pts(Some(index as i64));
        video.send_frame(&picture)?;
        write_packets(frames.fps, video, output)?;
    }
    video.send_eof()?;
    write_packets(frames.fps, video, output)
}

/// Copies packed rows into a frame whose rows `FFmpeg` has aligned.
fn padded(rgb: &[u8], width: u32, height: u32) -> frame::Video {
    let mut picture = frame::Video::new(Pixel::RGB24, width, height);
    let (stride, row_bytes) = (picture.stride(0), width as usize * 3);
    for (to, from) in picture.data_mut(0).chunks_mut(stride).zip(rgb.chunks_exact(row_bytes)) {
        to[..row_bytes].copy_from_slice(from);
    }
    picture
}

/// Moves every packet that is ready into the file; each lasts one frame.
fn write_packets(
    fps: u32,
    video: &mut encoder::video::Encoder,
    output: &mut Output,
) -> Result<(), FfmpegError> {
    let stream_time = output.stream(0).ok_or(FfmpegError::StreamNotFound)?.time_base();
    let mut packet = Packet::empty();
    while video.receive_packet(&mut packet).is_ok() {
        packet.set_stream(0);
        packet.set_duration(1);
        packet.rescale_ts(Rational(1, fps as i32), stream_time);
        packet.write_interleaved(output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::media::Type;

    use super::*;

    const SIZE: usize = 64;

    /// Frames of one colour each, with a white square that steps to the right.
    fn drawn() -> Vec<u8> {
        let colours = [[200_u8, 30, 30], [30, 180, 40], [40, 60, 210], [200, 200, 30]];
        let paint = |at: usize| {
            let (frame, y, x) = (at / (SIZE * SIZE), at / SIZE % SIZE, at % SIZE);
            let inside = (16..48).contains(&y) && (frame * 8..frame * 8 + 16).contains(&x);
            if inside { [255; 3] } else { colours[frame] }
        };
        (0..4 * SIZE * SIZE).flat_map(paint).collect()
    }

    /// Decodes every frame to packed RGB, and the stream's average frame rate.
    fn decode(path: &Path) -> (Vec<u8>, Rational) {
        let mut input = format::input(path).unwrap();
        let stream = input.streams().best(Type::Video).unwrap();
        let (index, fps) = (stream.index(), stream.avg_frame_rate());
        let context = codec::Context::from_parameters(stream.parameters()).unwrap();
        let mut decoder = context.decoder().video().unwrap();
        let (w, h) = (decoder.width(), decoder.height());
        let mut to_rgb =
            Scaler::get(decoder.format(), w, h, Pixel::RGB24, w, h, Flags::BICUBIC).unwrap();
        let (mut pixels, mut picture) = (Vec::new(), frame::Video::empty());
        let mut drain = |decoder: &mut ffmpeg_next::decoder::Video| {
            while decoder.receive_frame(&mut picture).is_ok() {
                let mut rgb = frame::Video::empty();
                to_rgb.run(&picture, &mut rgb).unwrap();
                let rows = rgb.data(0).chunks(rgb.stride(0)).take(h as usize);
                rows.for_each(|row| pixels.extend_from_slice(&row[..w as usize * 3]));
            }
        };
        for (stream, packet) in input.packets() {
            if stream.index() == index {
                decoder.send_packet(&packet).unwrap();
                drain(&mut decoder);
            }
        }
        decoder.send_eof().unwrap();
        drain(&mut decoder);
        (pixels, fps)
    }

    fn written(pixels: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawn.mp4");
        write_mp4(&path, RgbFrames { pixels, width: SIZE, height: SIZE, fps: 8 }).unwrap();
        (folder, path)
    }

    #[test]
    fn what_is_drawn_is_what_is_decoded() {
        let drawn = drawn();
        let (_folder, path) = written(&drawn);
        let (decoded, fps) = decode(&path);
        assert_eq!(decoded.len(), drawn.len());
        assert_eq!(fps, Rational(8, 1));
        let difference: u64 =
            drawn.iter().zip(&decoded).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = difference as f64 / drawn.len() as f64;
        assert!(mean < 4.0, "mean difference {mean} levels");
    }

    #[test]
    fn the_same_frames_give_the_same_file() {
        let drawn = drawn();
        let ((_a, first), (_b, second)) = (written(&drawn), written(&drawn));
        assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    }

    #[test]
    fn wrong_frames_are_named() {
        let check = |pixels: &[u8], width, height, fps, expect: &str| {
            let frames = RgbFrames { pixels, width, height, fps };
            let message = write_mp4(Path::new("out/x.mp4"), frames).unwrap_err().to_string();
            assert_eq!(message, format!("cannot write out/x.mp4: {expect}"));
        };
        check(&[0; 27], 3, 3, 8, "frames of 3x3 pixels; both sides must be even and at least 2");
        check(&[0; 13], 2, 2, 8, "13 bytes are no whole number of 2x2 RGB frames");
        check(&[], 2, 2, 8, "0 bytes are no whole number of 2x2 RGB frames");
        check(&[0; 12], 2, 2, 0, "0 frames a second");
    }

    #[test]
    fn a_missing_folder_is_an_error_with_the_path() {
        let frames = RgbFrames { pixels: &[0; 12], width: 2, height: 2, fps: 8 };
        let message = write_mp4(Path::new("no/such/x.mp4"), frames).unwrap_err().to_string();
        assert_eq!(message, "cannot write no/such/x.mp4: ffmpeg failed to open the file");
    }
}
