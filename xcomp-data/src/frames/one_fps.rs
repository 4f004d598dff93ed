//! Which frames LLaVA-Video takes (`process_video_with_decord` of `llava/utils.py`).

use super::{Choice, FrameOptions, Sampling};
use crate::DataError;
use crate::python::round_half_even;

/// The choice of a whole video of `vlen` frames at `fps`.
///
/// Times of the list of every n-th frame are told by n, as if the file had whole frames a second.
///
/// # Errors
/// If the file has fewer than half the frames a second that are asked for, where one of so many is taken: no frame is.
pub fn whole(vlen: usize, fps: f64, options: &FrameOptions) -> Result<Choice, DataError> {
    let (duration_s, most) = (vlen as f64 / fps, options.max_frames);
    let (list, told): (Vec<usize>, f64) = match options.sampling {
        Sampling::Spread => (spread(vlen, most), fps),
        Sampling::Seconds => {
            ((0..duration_s as usize).map(|second| (second as f64 * fps) as usize).collect(), fps)
        }
        Sampling::Clips | Sampling::Fps | Sampling::Uniform => {
            let step = step(fps, options.fps)?;
            ((0..vlen).step_by(step as usize).collect(), step)
        }
    };
    if most > 0 && (list.len() > most || options.sampling == Sampling::Uniform) {
        return Ok(Choice { indices: spread(vlen, most), first: 0, fps, duration_s });
    }
    Ok(Choice { indices: list, first: 0, fps: told, duration_s })
}

/// Of how many frames of a file one is taken.
fn step(fps: f64, asked: f64) -> Result<f64, DataError> {
    let step = round_half_even(fps / asked);
    if step >= 1.0 {
        return Ok(step);
    }
    Err(DataError::Options(format!(
        "{asked} frames a second cannot be taken of a video that has {fps}; lower fps"
    )))
}

/// The choice of the part from `start_s` to `end_s` of a video, counted from its start; the reference takes no parts.
///
/// # Errors
/// As [`whole`].
pub fn part(
    vlen: usize,
    fps: f64,
    (start_s, end_s): (f64, f64),
    options: &FrameOptions,
) -> Result<Choice, DataError> {
    let first = ((start_s.max(0.0) * fps) as usize).min(vlen);
    let end = ((end_s.max(0.0) * fps) as usize).clamp(first, vlen);
    Ok(Choice { first, ..whole(end - first, fps, options)? })
}

/// `numpy.linspace(0, vlen - 1, count)`, cut to whole numbers.
fn spread(vlen: usize, count: usize) -> Vec<usize> {
    let Some(last) = vlen.checked_sub(1) else { return vec![] };
    let step = last as f64 / (count.max(2) - 1) as f64;
    let at = |k: usize| if k > 0 && k + 1 == count { last } else { (k as f64 * step) as usize };
    (0..count).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(sampling: Sampling) -> FrameOptions {
        FrameOptions { fps: 1.0, max_frames: 4, sampling, ..FrameOptions::default() }
    }

    #[test]
    fn lists_and_spreads() {
        let choice = |vlen, fps, sampling| whole(vlen, fps, &options(sampling)).unwrap();
        let list = choice(90, 29.97, Sampling::Fps);
        assert_eq!((list.indices, list.fps.to_bits()), (vec![0, 30, 60], 30.0_f64.to_bits()));
        assert_eq!(choice(250, 25.0, Sampling::Fps).indices, [0, 83, 166, 249]);
        assert_eq!(choice(2, 25.0, Sampling::Uniform).indices, [0, 0, 0, 1]);
        assert!(choice(0, 25.0, Sampling::Uniform).indices.is_empty());
        assert!(whole(9, 0.4, &options(Sampling::Fps)).is_err());
        assert_eq!(choice(9, 0.4, Sampling::Seconds).indices, [0, 2, 5, 8]);
        assert_eq!(choice(9, 0.4, Sampling::Spread).indices, [0, 2, 5, 8]);
        let third = whole(9, 3.0, &FrameOptions { max_frames: 0, ..options(Sampling::Seconds) });
        assert_eq!(third.unwrap().indices, [0, 3, 6]);
        let of_part = part(250, 25.0, (2.0, 4.0), &options(Sampling::Uniform)).unwrap();
        assert_eq!((of_part.first, of_part.indices), (50, vec![0, 16, 32, 49]));
    }
}
