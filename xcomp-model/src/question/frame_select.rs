//! QC-Comp, the choice: chunks of a long video, frame scores over chunks and layers, the best frames in order.

use std::ops::RangeInclusive;

use crate::compress::rank::best;
use crate::question::qc_comp::{ClipScores, Scope};

/// How the frames of a long video are chosen; the numbers of the released evaluation are in [`SelectRule::reference`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectRule {
    /// Frames between the starts of two chunks.
    pub chunk_stride: usize,
    /// Frames of a clip.
    pub clip_frames: usize,
    /// How often the video is gone through, each time shifted.
    pub n_repeat: usize,
    /// What the scores were made with: chunks are longer by the clips that windows cannot score at their ends.
    pub scope: Scope,
    /// 0-based layers whose scores are summed.
    pub layers: RangeInclusive<usize>,
    /// Shorter videos keep all their frames.
    pub threshold_frames: usize,
}

impl SelectRule {
    /// The released rule (`modeling_videochat_flash.py:1274-1354`): 512-frame chunks of 8-frame clips, windows of 8 clips every 4, layers 6 to 23, videos of 1024 frames and more.
    pub fn reference(n_repeat: usize) -> Self {
        Self {
            chunk_stride: 512,
            clip_frames: 8,
            n_repeat,
            scope: Scope::WINDOWS,
            layers: 6..=23,
            threshold_frames: 1024,
        }
    }

    /// The reference's rule for a video of any length and a decoder of any depth.
    ///
    /// A short video is one chunk that runs over its own end, so that its first and last clips are scored like all others.
    /// The layers are the same share of the stack: 6 to 23 of 28.
    ///
    /// # Panics
    /// If the video is shorter than one scored clip.
    pub fn any_length(frames: usize, layers: usize, n_repeat: usize) -> Self {
        let reference = Self::reference(n_repeat);
        assert!(frames >= reference.clip_frames, "{frames} frames are not one clip");
        let whole_clips = frames / reference.clip_frames * reference.clip_frames;
        Self {
            chunk_stride: reference.chunk_stride.min(whole_clips),
            layers: scored_layers(layers),
            threshold_frames: 0,
            ..reference
        }
    }

    /// Frames of one chunk.
    pub fn chunk_frames(&self) -> usize {
        match self.scope {
            Scope::Global => self.chunk_stride,
            Scope::Segments { stride, .. } => self.chunk_stride + 2 * stride * self.clip_frames,
        }
    }

    /// First frame of every chunk; chunks run on over the end of the video to its beginning.
    pub fn chunk_starts(&self, frames: usize) -> Vec<usize> {
        let rounds = frames.div_ceil(self.chunk_stride);
        let start = |i: usize| {
            let repeat = i / rounds;
            let shift = self.clip_frames / self.n_repeat + self.chunk_stride / self.n_repeat;
            (i * self.chunk_stride + repeat * shift) % frames
        };
        (0..self.n_repeat * rounds).map(start).collect()
    }

    /// The frames of the chunk that starts at `start`.
    pub fn chunk(&self, start: usize, frames: usize) -> Vec<usize> {
        (start..start + self.chunk_frames()).map(|frame| frame % frames).collect()
    }

    /// Chooses `select` of `frames` frames, in order.
    ///
    /// `scores[chunk][layer][clip]` belong to the chunks of [`SelectRule::chunk_starts`]. The score of a frame is the sum over
    /// layers of the mean over chunks of its clip's score. Ties go to the earlier frame; a frame that no chunk scored comes last.
    pub fn select(&self, frames: usize, select: usize, scores: &[Vec<ClipScores>]) -> Vec<usize> {
        if frames < self.threshold_frames || select >= frames {
            return (0..frames).collect();
        }
        best(&self.frame_scores(frames, scores), select)
    }

    /// The score of every frame.
    pub fn frame_scores(&self, frames: usize, scores: &[Vec<ClipScores>]) -> Vec<f64> {
        let mut total = vec![0.0; frames];
        for layer in self.layers.clone() {
            let (mut sums, mut counts) = (vec![0.0; frames], vec![0_u32; frames]);
            for (start, chunk) in self.chunk_starts(frames).into_iter().zip(scores) {
                let Some(clips) = chunk.get(layer) else { continue };
                for (offset, frame) in self.chunk(start, frames).into_iter().enumerate() {
                    if let Some(score) = clips[offset / self.clip_frames] {
                        sums[frame] += f64::from(score);
                        counts[frame] += 1;
                    }
                }
            }
            for ((total, sum), count) in total.iter_mut().zip(sums).zip(counts) {
                *total += if count > 0 { sum / f64::from(count) } else { 0.0 };
            }
        }
        total
    }
}

/// The layers that are summed: 6 to 23 of the released 28 (0-based), the same share of other depths.
pub fn scored_layers(layers: usize) -> RangeInclusive<usize> {
    const FIRST: usize = 6;
    const END: usize = 24;
    const OF: usize = 28;
    let first = (FIRST * layers / OF).min(layers.saturating_sub(1));
    first..=(END * layers).div_ceil(OF).saturating_sub(1).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_start_where_the_reference_starts_them() {
        let check = |n_repeat, frames, want: &[usize]| {
            assert_eq!(SelectRule::reference(n_repeat).chunk_starts(frames), want);
        };
        check(2, 1024, &[0, 512, 260, 772]);
        check(2, 1600, &[0, 512, 1024, 1536, 708, 1220, 132, 644]);
        assert_eq!(SelectRule::reference(2).chunk_frames(), 576);
    }

    #[test]
    fn layers_keep_their_share_of_the_stack() {
        for (layers, want) in [(28, 6..=23), (1, 0..=0), (4, 0..=3), (9, 1..=7), (56, 12..=47)] {
            assert_eq!(scored_layers(layers), want, "{layers}");
        }
    }

    #[test]
    fn a_short_video_is_gone_through_once_over_its_end() {
        let rule = SelectRule::any_length(20, 28, 1);
        assert_eq!((rule.chunk_stride, rule.chunk_frames()), (16, 80));
        assert_eq!(rule.chunk_starts(20), [0, 16]);
        assert_eq!(rule.chunk(16, 20)[..6], [16, 17, 18, 19, 0, 1]);
        assert_eq!(
            SelectRule { threshold_frames: 1024, ..SelectRule::any_length(1600, 28, 2) },
            SelectRule::reference(2)
        );
    }

    #[test]
    fn short_videos_and_wide_choices_keep_every_frame() {
        let rule = SelectRule::reference(2);
        assert_eq!(rule.select(16, 8, &[]), (0..16).collect::<Vec<_>>());
        assert_eq!(rule.select(1024, 1024, &[]).len(), 1024);
    }
}
