//! Video files.

use std::path::{Path, PathBuf};

use super::{Reader, Sink};
use crate::DataError;
use crate::frames::{Choice, FrameOptions, Sampling, clip_at_one_fps, one_fps, whole};
use crate::media::decode::Video;
use crate::media::limits::Watch;
use crate::mixture::ReadType;

pub(super) struct VideoReader {
    path: PathBuf,
    video: Video,
    fps: f64,
}

impl VideoReader {
    pub(super) fn open(
        path: &Path,
        read_type: ReadType,
        rotate: bool,
        watch: Watch,
    ) -> Result<Self, DataError> {
        let video = Video::open(path, None, watch)?.rotate(rotate);
        let fps = frames_per_second(path, read_type, &video)?;
        Ok(Self { path: path.to_owned(), video, fps })
    }
}

/// The container's average rate; for `av` and `.avi`, as the reference, frames over duration (`video_utils.py:200`).
fn frames_per_second(path: &Path, read_type: ReadType, video: &Video) -> Result<f64, DataError> {
    let index = video.index();
    let by_duration = index.duration_s.map(|seconds| index.frames as f64 / seconds);
    let counted =
        read_type == ReadType::Av || path.extension().is_some_and(|suffix| suffix == "avi");
    let average = (index.fps > 0.0).then_some(index.fps);
    let fps = if counted { by_duration.or(average) } else { average.or(by_duration) };
    fps.ok_or_else(|| DataError::Decode {
        path: path.to_owned(),
        message: "the file tells neither a frame rate nor a duration".into(),
    })
}

impl Reader for VideoReader {
    fn choose(
        &self,
        part: Option<(f64, f64)>,
        options: &FrameOptions,
    ) -> Result<Choice, DataError> {
        let frames = self.video.index().frames;
        let Some((start, end)) = part else {
            return whole(frames, self.fps, options);
        };
        let choice = match options.sampling {
            Sampling::Clips => clip_at_one_fps(self.fps, start, end, options),
            Sampling::Fps | Sampling::Uniform | Sampling::Spread | Sampling::Seconds => {
                one_fps::part(frames, self.fps, (start, end), options)?
            }
        };
        let last = choice.indices.last().map_or(0, |last| choice.first + last);
        if start >= end || last >= frames {
            let message =
                format!("the part from {start} s to {end} s is not inside its {frames} frames");
            return Err(DataError::Decode { path: self.path.clone(), message });
        }
        Ok(choice)
    }

    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError> {
        self.video.read(numbers, sink)
    }
}
