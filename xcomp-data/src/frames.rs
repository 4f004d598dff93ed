//! Which frames of a video are looked at, and what the prompt says about it. Pure index arithmetic.
//!
//! Formulas: `llava/video_utils.py:103-181` (`dynamic_fps1`) and `train.py:1421-1471` of the reference.

pub mod one_fps;
pub mod style;

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::python::{floor_div, round_half_even};
use crate::resize::{Fit, MOST_TILES};

/// How many frames are taken, how large, and what is said about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrameOptions {
    /// Nominal frames per second of the sampling.
    pub fps: f64,
    /// Fewest frames of a video that has so many.
    pub min_frames: usize,
    /// Most frames of a video; 0 means no limit.
    pub max_frames: usize,
    /// By which rule they are taken.
    #[serde(skip_serializing_if = "is_usual")]
    pub sampling: Sampling,
    /// How pictures are brought to a square.
    #[serde(skip_serializing_if = "is_usual")]
    pub fit: Fit,
    /// Most tiles of a picture that is cut into tiles.
    #[serde(skip_serializing_if = "is_usual_most")]
    pub most_tiles: usize,
    /// Frames of one clip; frame counts are multiples of it.
    pub clip_frames: usize,
    /// Side of the square frames, in pixels.
    pub image_size: usize,
    /// What the prompt says about the video.
    pub time_message: TimeMessage,
    /// Training or inference treatment of short videos.
    pub rule: FrameRule,
    /// How pictures are resized.
    pub resize: crate::resize::Resize,
    /// Whether videos are turned as their display matrix says.
    pub rotate: bool,
    /// What a picture that ends too early does.
    #[serde(skip_serializing_if = "Truncated::is_refused")]
    // keys of kept features stay as they were
    pub truncated: Truncated,
}

impl Default for FrameOptions {
    /// The released training script: 8 frames per second, 128 to 1024 frames, clips of 8, 448 pixels.
    fn default() -> Self {
        Self {
            fps: 8.0,
            min_frames: 128,
            max_frames: 1024,
            sampling: Sampling::Clips,
            fit: Fit::Squeeze,
            most_tiles: MOST_TILES,
            clip_frames: 8,
            image_size: 448,
            time_message: TimeMessage::Short,
            rule: FrameRule::Training,
            resize: crate::resize::Resize::Exact,
            rotate: true,
            truncated: Truncated::Refuse,
        }
    }
}

/// What a picture whose file ends too early does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncated {
    /// It is an error, as in Pillow.
    #[default]
    Refuse,
    /// What is missing is filled in, as in Pillow under `LOAD_TRUNCATED_IMAGES`: of a JPEG as libjpeg does, mostly grey; of a PNG with
    /// the colour of a zero, mostly black. Other kinds, and JPEGs of which no scan is there or of arithmetic coding, are an error.
    Pad,
}

impl Truncated {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    fn is_refused(&self) -> bool {
        *self == Self::Refuse
    }
}

/// By which rule frames are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Whole clips at so many frames a second, between the fewest and the most (VideoChat-Flash).
    #[default]
    Clips,
    /// One frame of every so many, and `max_frames` evenly spread ones where these are more (LLaVA-Video).
    Fps,
    /// `max_frames` evenly spread frames of every video, repeated where it has fewer (LLaVA-Video, `force_sample`).
    Uniform,
    /// The same of videos of any rate (Video-XL's `demo.py`).
    Spread,
    /// The frame at every whole second, `max_frames` evenly spread ones where these are more (Video-XL's `eval_vnbench.py`, which has no limit).
    Seconds,
}

/// Whether a value is the first of its kind: options from before it was there are written as they were.
fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_usual_most(most: &usize) -> bool {
    *most == MOST_TILES
}

/// What the prompt says about the length of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeMessage {
    /// Nothing.
    None,
    /// Its duration and the number of frames.
    Short,
    /// Its duration, the number of frames and the time of each.
    Long,
    /// The same in the words of LLaVA-Video, in a line of its own (`add_time_instruction`).
    Instruction,
}

/// How videos shorter than asked are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameRule {
    /// Whole clips only; a video shorter than one clip is a bad sample.
    Training,
    /// Frames are repeated up to one clip and to `min_frames` (`mm_utils.py:398-441` of the evaluation).
    Inference,
}

/// The chosen frames of one video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Frame numbers, ascending, repeated where padded, counted from `first`.
    pub indices: Vec<usize>,
    /// Frame of the file where counting starts; not 0 only for parts of videos.
    pub first: usize,
    /// Frames per second by which times are told: those of the file, or how many of its frames one is taken of.
    pub fps: f64,
    /// Duration that the prompt reports, in seconds.
    pub duration_s: f64,
}

impl Choice {
    /// Time of each chosen frame, in seconds.
    pub fn times_s(&self) -> impl Iterator<Item = f64> + '_ {
        self.indices.iter().map(|&index| index as f64 / self.fps)
    }

    /// The sentence that the prompt gets after `<image>`; empty for [`TimeMessage::None`].
    pub fn message(&self, kind: TimeMessage) -> String {
        let (duration, n) = (self.duration_s, self.indices.len());
        let start = format!(
            "\nThe video lasts for {duration:.2} seconds, and {n} frames are uniformly sampled"
        );
        match kind {
            TimeMessage::None => String::new(),
            TimeMessage::Short => format!("{start} from it. "),
            TimeMessage::Long => {
                let times: Vec<String> = self.times_s().map(|t| format!("{t:.1}")).collect();
                format!("{start} at {} seconds. ", times.join(", "))
            }
            TimeMessage::Instruction => {
                let times: Vec<String> = self.times_s().map(|t| format!("{t:.2}s")).collect();
                format!(
                    "{start} from it. These frames are located at {}.Please answer the following questions related to this video.\n",
                    times.join(",")
                )
            }
        }
    }
}

/// The choice of a whole video of `vlen` frames at `fps`, by the rule of `options`.
///
/// # Errors
/// If the rule has no answer for this rate.
pub fn whole(vlen: usize, fps: f64, options: &FrameOptions) -> Result<Choice, DataError> {
    if options.sampling != Sampling::Clips {
        return one_fps::whole(vlen, fps, options);
    }
    let indices = dynamic_fps(vlen, fps, options);
    Ok(Choice { indices, first: 0, fps, duration_s: vlen as f64 / fps })
}

/// Frame numbers of a whole video of `vlen` frames at `input_fps`, by the rule of `options`.
///
/// ```
/// let options = xcomp_data::FrameOptions::default();
/// let indices = xcomp_data::frames::dynamic_fps(300, 30.0, &options);
/// assert_eq!((indices.len(), &indices[..4]), (128, &[0, 2, 5, 7][..]));
/// ```
pub fn dynamic_fps(vlen: usize, input_fps: f64, options: &FrameOptions) -> Vec<usize> {
    let count = dynamic_count(vlen, input_fps, options);
    let indices = middles(vlen, count);
    match options.rule {
        FrameRule::Training => indices,
        FrameRule::Inference => repeated_to_minimum(vlen, indices, options),
    }
}

/// Number of frames by the dynamic-fps rule; the minimum wins over everything.
fn dynamic_count(vlen: usize, input_fps: f64, options: &FrameOptions) -> usize {
    let clip = options.clip_frames;
    let whole_clips = vlen / clip * clip;
    let least = if options.min_frames > vlen { whole_clips } else { options.min_frames };
    let duration = vlen as f64 / input_fps;
    let mut count = clips_of(options.fps * duration, clip);
    if options.max_frames > 0 {
        count = count.min(options.max_frames);
    }
    if count > vlen {
        count = whole_clips; // only in the XComp fork
    }
    count.max(least)
}

/// Whole clips in so many wanted frames, at least one, as a number of frames.
fn clips_of(wanted: f64, clip: usize) -> usize {
    clip * (floor_div(wanted, clip as f64) as usize).max(1)
}

/// The middle of each of `count` equal intervals of `0..vlen`, padded with the last one.
fn middles(vlen: usize, count: usize) -> Vec<usize> {
    let intervals = count.min(vlen);
    if intervals == 0 {
        return Vec::new();
    }
    // numpy.linspace(0, vlen, intervals + 1): multiples of one step, the last one exact.
    let step = vlen as f64 / intervals as f64;
    let bound = |k: usize| if k == intervals { vlen } else { (k as f64 * step) as usize };
    let mut indices: Vec<usize> =
        (0..intervals).map(|k| (bound(k) + bound(k + 1) - 1) / 2).collect();
    let last = *indices.last().expect("there is at least one interval");
    indices.resize(count, last);
    indices
}

/// Inference repeats frames up to a clip, then up to the minimum.
fn repeated_to_minimum(vlen: usize, mut indices: Vec<usize>, options: &FrameOptions) -> Vec<usize> {
    if vlen < options.clip_frames {
        indices = (0..options.clip_frames).map(|i| i * vlen / options.clip_frames).collect();
    }
    let (have, want) = (indices.len(), options.min_frames);
    if have == 0 || have >= want {
        return indices;
    }
    (0..want).map(|i| indices[i * have / want]).collect()
}

/// Frames of the part from `start_s` to `end_s` of a video file, numbered in the whole file.
///
/// This is the reference's decord reader with a clip (`video_utils.py:294-305`): the sampling rate of `options` applies.
pub fn clip_of_video(
    vlen: usize,
    fps: f64,
    start_s: f64,
    end_s: f64,
    options: &FrameOptions,
) -> Choice {
    let start = start_s.max(0.0);
    let duration_s = end_s.min(vlen as f64 / fps - 0.1) - start;
    let clip_len = (duration_s * fps).max(0.0) as usize;
    let first = (start * fps) as usize;
    let indices = dynamic_fps(clip_len, fps, options).into_iter().map(|i| i + first).collect();
    Choice { indices, first: 0, fps, duration_s }
}

/// Frames of a part of a video, counted from the part's start, at one frame per second.
///
/// This is what training does with `start` and `end` (`train.py:1421-1446`, the `lazy` reader): it ignores the sampling rate.
pub fn clip_at_one_fps(fps: f64, start_s: f64, end_s: f64, options: &FrameOptions) -> Choice {
    let duration_s = end_s - start_s;
    let count = estimate(duration_s, duration_s, options);
    let frames = (duration_s as i64) as f64 * fps;
    let step = (frames - 1.0) / count as f64;
    let half = (step / 2.0) as i64;
    let at = |k: usize| (half + round_half_even(step * k as f64) as i64).max(0) as usize;
    let first = (start_s.max(0.0) * fps) as usize;
    Choice { indices: (0..count).map(at).collect(), first, fps, duration_s }
}

/// Frames of a folder of pictures, whole, or from `start_s` to `end_s`.
///
/// `duration_s` comes from `<folder>.json` where that exists, else `None` (`video_utils.py:315-419`).
pub fn folder(
    files: usize,
    mut fps: f64,
    duration_s: Option<f64>,
    part: Option<(f64, f64)>,
    options: &FrameOptions,
) -> Choice {
    let vlen = match part {
        Some((start, end)) => (end.min(files as f64 / fps) - start.max(0.0)) * fps,
        None => files as f64,
    };
    let duration = duration_s.unwrap_or(vlen / fps);
    if duration_s.is_some() {
        fps = vlen / duration;
    }
    let indices = match part {
        Some((start, end)) => {
            folder_part(files, fps, start, end, estimate(vlen, duration, options))
        }
        // The reference passes no rate here, so the rule runs at one frame per second.
        None => dynamic_fps(files, 1.0, options),
    };
    Choice { indices, first: 0, fps, duration_s: duration }
}

/// Number of frames at one per second, between the minimum (lowered to `vlen`) and the maximum.
fn estimate(vlen: f64, duration_s: f64, options: &FrameOptions) -> usize {
    let clip = options.clip_frames;
    let mut least = options.min_frames;
    if least as f64 > vlen {
        least = floor_div(vlen, clip as f64).max(0.0) as usize * clip;
    }
    let most = if options.max_frames > 0 { options.max_frames } else { usize::MAX };
    clips_of(duration_s.max(0.0), clip).min(most).max(least)
}

/// Evenly spaced frames from the start to the end second; the first picture is never taken.
fn folder_part(files: usize, fps: f64, start: f64, end: f64, count: usize) -> Vec<usize> {
    let last = files.saturating_sub(1);
    let first = round_half_even(start * fps).max(1.0);
    let end = round_half_even(end * fps).min(last as f64);
    let step = (end - first) / (count.max(2) - 1) as f64;
    let at = |k: usize| (first + round_half_even(step * k as f64)).max(0.0) as usize;
    (0..count).map(|k| at(k).min(last)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vlen: usize, fps: f64, count: usize, first: &[usize], last: &[usize]) {
        let got = dynamic_fps(vlen, fps, &FrameOptions::default());
        assert_eq!(got.len(), count, "{vlen} frames at {fps}");
        assert_eq!(got[..first.len()], *first, "{vlen} frames at {fps}");
        assert_eq!(got[count - last.len()..], *last, "{vlen} frames at {fps}");
    }

    #[test]
    fn takes_the_middle_of_each_interval() {
        check(300, 30.0, 128, &[0, 2, 5, 7, 9, 12], &[293, 295, 298]);
        check(100, 25.0, 96, &[0, 1, 2, 3, 4, 5], &[96, 97, 98]);
        check(3000, 29.97, 800, &[1, 4, 8, 12, 16, 19], &[2989, 2993, 2997]);
        check(90_000, 25.0, 1024, &[43, 130, 218, 306, 394, 482], &[89_779, 89_867, 89_955]);
        check(1800, 30.0, 480, &[1, 4, 8, 12, 16, 19], &[1789, 1793, 1797]);
        check(1000, 23.976, 328, &[1, 4, 7, 10, 13, 16], &[991, 994, 997]);
        check(17, 1.0, 16, &[], &[]);
        check(5, 25.0, 0, &[], &[]);
    }

    #[test]
    fn inference_repeats_frames_of_short_videos() {
        let options = FrameOptions { rule: FrameRule::Inference, ..FrameOptions::default() };
        let short = dynamic_fps(4, 25.0, &options);
        assert_eq!((short.len(), short[0], short[127]), (128, 0, 3));
        let few = dynamic_fps(100, 25.0, &options);
        assert_eq!((few.len(), few[1], few[127]), (128, 0, 98));
    }

    #[test]
    fn a_whole_folder_is_taken_up_to_the_maximum() {
        let options = FrameOptions::default();
        assert_eq!(folder(60, 3.0, None, None, &options).indices.len(), 56);
        assert_eq!(folder(4000, 1.0, None, None, &options).indices.len(), 1024);
        assert!((folder(60, 3.0, None, None, &options).duration_s - 20.0).abs() < 1e-12);
    }

    #[test]
    fn part_of_a_folder_is_taken_at_one_frame_a_second() {
        let choice = folder(60, 3.0, None, Some((2.0, 12.0)), &FrameOptions::default());
        // 30 pictures in the part: the minimum is lowered to 24; from picture 6 to 36.
        assert_eq!(choice.indices.len(), 24);
        assert_eq!((choice.indices[0], choice.indices[23]), (6, 36));
    }
}
