//! Windows that end where the scene changes (Video-XL section 3.3; the released code has none).
//!
//! What the paper leaves open is decided here: at the first and last gap, where Eq. 3 takes the largest of nothing, the gap's own
//! similarity stands in; windows are not shorter than `least` frames, and longer ones than `most` are split evenly.

use crate::compress::layout::{SequenceLayout, VisualSpan};

/// How deep a gap lies below the similarities around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Below the largest of all gaps before it and of all behind it (Eq. 3).
    Whole,
    /// Below the peaks that are reached from it without descending (`VideoLLaMB`, which the paper cites).
    HillClimb,
}

/// Which gaps end a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// Those deeper than this.
    Above(f64),
    /// Those deeper than the mean and so many standard deviations (of a sample) of all gaps of the video.
    Deviations(f64),
}

/// The rule of such windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamicWindows {
    /// How depths are measured.
    pub depth: Depth,
    /// Which are deep enough.
    pub threshold: Threshold,
    /// Fewest frames of a window; 1 or more.
    pub least: usize,
    /// Most frames of a window; not fewer.
    pub most: usize,
}

/// Cosines of consecutive vectors of this width, as the class tokens of frames: one fewer than vectors.
///
/// A vector of zeros is like none.
///
/// # Panics
/// If `width` is zero.
pub fn similarities(vectors: &[f32], width: usize) -> Vec<f64> {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let cosine = |(a, b): (&[f32], &[f32])| {
        let norm = (product(a, a) * product(b, b)).sqrt();
        if norm > 0.0 { product(a, b) / norm } else { 0.0 }
    };
    vectors.chunks(width).zip(vectors.chunks(width).skip(1)).map(cosine).collect()
}

impl Depth {
    /// The depth of every gap.
    pub fn of(self, similarities: &[f64]) -> Vec<f64> {
        let depth = |(at, &own): (usize, &f64)| {
            let (before, behind) = (similarities[..at].iter().rev(), similarities[at + 1..].iter());
            let peaks = match self {
                Self::Whole => [largest(before, own), largest(behind, own)],
                Self::HillClimb => [climbed(before, own), climbed(behind, own)],
            };
            peaks[0] + peaks[1] - 2.0 * own
        };
        similarities.iter().enumerate().map(depth).collect()
    }
}

/// The largest, or `own` of none.
fn largest<'a>(values: impl Iterator<Item = &'a f64>, own: f64) -> f64 {
    values.copied().reduce(f64::max).unwrap_or(own)
}

/// The last before values descend.
fn climbed<'a>(values: impl Iterator<Item = &'a f64>, own: f64) -> f64 {
    let mut height = own;
    for &value in values {
        if value < height {
            break;
        }
        height = value;
    }
    height
}

impl DynamicWindows {
    /// The frames of every window of a video whose consecutive frames are so similar; they add up to one more than the gaps.
    ///
    /// # Panics
    /// If `least` is 0, or larger than `most`.
    pub fn frames(&self, similarities: &[f64]) -> Vec<usize> {
        assert!((1..=self.most).contains(&self.least), "1 <= least <= most");
        let depths = self.depth.of(similarities);
        let threshold = match self.threshold {
            Threshold::Above(depth) => depth,
            Threshold::Deviations(alpha) => {
                let count = depths.len() as f64;
                let mean = depths.iter().sum::<f64>() / count;
                let squares: f64 = depths.iter().map(|depth| (depth - mean).powi(2)).sum();
                mean + alpha * (squares / (count - 1.0).max(1.0)).sqrt()
            }
        };
        let mut windows = vec![];
        let (mut start, all) = (0, similarities.len() + 1);
        for end in (1..all).filter(|end| depths[end - 1] > threshold) {
            if end - start >= self.least && all - end >= self.least {
                windows.extend(self.split(end - start));
                start = end;
            }
        }
        windows.extend(self.split(all - start));
        windows
    }

    /// Tokens of the windows of a sequence: those of each image and video by themselves, their frames as similar as `gaps` has it.
    ///
    /// # Panics
    /// As [`DynamicWindows::frames`].
    pub fn tokens(&self, sequence: &SequenceLayout, gaps: &[Vec<f64>]) -> Vec<usize> {
        let of_span = |(span, gaps): (&VisualSpan, &Vec<f64>)| {
            let each = span.tokens_per_frame;
            self.frames(gaps).into_iter().map(move |frames| frames * each)
        };
        sequence.spans.iter().zip(gaps).flat_map(of_span).collect()
    }

    /// As few equal parts as have at most `most` frames; the first ones are one frame longer where it does not divide.
    fn split(&self, frames: usize) -> impl Iterator<Item = usize> + use<> {
        let parts = frames.div_ceil(self.most);
        (0..parts).map(move |part| frames / parts + usize::from(part < frames % parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(depth: Depth, threshold: Threshold, least: usize, most: usize) -> DynamicWindows {
        DynamicWindows { depth, threshold, least, most }
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {want:?}");
    }

    #[test]
    fn depths_are_those_of_the_equation_and_of_the_nearest_peaks() {
        let gaps = [0.9, 0.5, 0.8, 0.6, 0.7];
        close(&Depth::Whole.of(&gaps), &[-0.1, 0.7, 0.0, 0.4, 0.2]);
        close(&Depth::HillClimb.of(&gaps), &[0.0, 0.7, 0.0, 0.3, 0.0]);
        close(&Depth::Whole.of(&[0.4]), &[0.0]);
        assert!(Depth::HillClimb.of(&[]).is_empty());
    }

    #[test]
    fn windows_end_at_deep_gaps_and_have_their_bounds() {
        let gaps = [0.9, 0.5, 0.8, 0.6, 0.7];
        let above = |depth, least, most| {
            rule(Depth::Whole, Threshold::Above(depth), least, most).frames(&gaps)
        };
        assert_eq!(above(0.3, 1, 10), [2, 2, 2]);
        assert_eq!(above(0.5, 1, 10), [2, 4]);
        assert_eq!(above(0.5, 3, 10), [6]);
        assert_eq!(above(9.0, 1, 4), [3, 3]);
        assert_eq!(above(9.0, 1, 5), [3, 3]);
        assert_eq!(above(0.5, 1, 3), [2, 2, 2]);
        let deviations =
            |alpha| rule(Depth::HillClimb, Threshold::Deviations(alpha), 1, 10).frames(&gaps);
        assert_eq!(deviations(0.5), [2, 4]);
        assert_eq!(deviations(9.0), [6]);
    }

    #[test]
    fn short_videos_are_one_window() {
        let rule = rule(Depth::Whole, Threshold::Deviations(0.5), 1, 10);
        assert_eq!(rule.frames(&[]), [1]);
        assert_eq!(rule.frames(&[0.3]), [2]);
    }

    #[test]
    fn similarities_are_cosines() {
        let vectors = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 2.0];
        close(&similarities(&vectors, 2), &[0.5_f64.sqrt(), 0.0, 0.0]);
        assert!(similarities(&vectors[..2], 2).is_empty() && similarities(&[], 2).is_empty());
    }
}
