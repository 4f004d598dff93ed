//! Where the visual tokens of a batch stand, on the host.

use std::iter::repeat_n;
use std::ops::Range;

use crate::compress::reduce::{FrameDrop, Reduce};

/// The tokens of one image or video: `frames` groups of `tokens_per_frame`, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisualSpan {
    /// Position of the first visual token.
    pub start: usize,
    /// Number of frames (groups; an image is one).
    pub frames: usize,
    /// Tokens of every frame, as long as frames are whole.
    pub tokens_per_frame: usize,
    /// Tokens left of the whole video once they were ranked: then frames are no longer whole.
    pub ranked: Option<usize>,
    /// Tokens behind all frames, which stay.
    pub tail: usize,
}

impl VisualSpan {
    /// A video of whole frames.
    pub fn new(start: usize, frames: usize, tokens_per_frame: usize) -> Self {
        Self { start, frames, tokens_per_frame, ranked: None, tail: 0 }
    }

    /// Number of visual tokens.
    pub fn len(&self) -> usize {
        self.of_frames() + self.tail
    }

    /// Visual tokens without those behind the frames.
    pub fn of_frames(&self) -> usize {
        self.ranked.unwrap_or(self.frames * self.tokens_per_frame)
    }

    /// Whether there is no visual token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position after the last visual token.
    pub fn end(&self) -> usize {
        self.start + self.len()
    }

    /// Where the tokens behind the frames stand, each `run` times.
    pub fn tail_rows(&self, run: usize) -> impl Iterator<Item = usize> {
        (self.end() - self.tail..self.end()).flat_map(move |position| repeat_n(position, run))
    }

    /// The tokens that `reduce` leaves.
    #[must_use]
    pub fn after(self, reduce: &Reduce) -> Self {
        match reduce {
            Reduce::Keep => self,
            Reduce::Frames(drop) => {
                Self { tokens_per_frame: drop.tokens_after(self.tokens_per_frame), ..self }
            }
            Reduce::Video(ranking) => {
                let first = self.frames * self.tokens_per_frame;
                Self { ranked: Some(ranking.kept(first)), ..self }
            }
        }
    }
}

/// One sequence of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceLayout {
    /// Tokens, padding not counted.
    pub len: usize,
    /// Its images and videos, in order; a text-only sequence has none.
    pub spans: Vec<VisualSpan>,
    /// The tokens that an answer follows, counted back from the end (1 is the last), where no drop moves them: they rank visual tokens.
    pub asking: Vec<usize>,
}

impl SequenceLayout {
    /// A sequence that is to be answered: its last token asks.
    pub fn new(len: usize, spans: impl IntoIterator<Item = VisualSpan>) -> Self {
        Self { len, spans: spans.into_iter().collect(), asking: vec![1] }
    }

    /// Visual tokens of all spans.
    pub fn visual_tokens(&self) -> usize {
        self.spans.iter().map(VisualSpan::len).sum()
    }

    /// Whether the token at `position` is visual.
    pub fn is_visual(&self, position: usize) -> bool {
        self.spans.iter().any(|span| (span.start..span.end()).contains(&position))
    }

    /// The layout after `reduce` has acted on each span.
    #[must_use]
    pub fn after(&self, reduce: &Reduce) -> Self {
        let mut dropped = 0;
        let after = |span: &VisualSpan| {
            let after = VisualSpan { start: span.start - dropped, ..span.after(reduce) };
            dropped += span.len() - after.len();
            after
        };
        let spans = self.spans.iter().map(after).collect();
        Self { len: self.len - dropped, spans, asking: self.asking.clone() }
    }

    /// Positions that make up the sequence after `drop`, in order; with [`FrameDrop::Pool`] every
    /// resulting token has as many sources as the stride, a text token its own position repeated.
    pub fn sources(&self, drop: &FrameDrop) -> Vec<usize> {
        let visual = |span: &VisualSpan| {
            let kept = match drop {
                FrameDrop::Slots(slots) => slots.clone(),
                FrameDrop::Pool(_) => (0..span.tokens_per_frame).collect(),
            };
            let starts = (0..span.frames).map(|frame| span.start + frame * span.tokens_per_frame);
            let rows = starts.flat_map(|start| kept.iter().map(move |slot| start + slot));
            rows.chain(span.tail_rows(drop.run())).collect()
        };
        self.with_visual(visual, drop.run())
    }

    /// Every text position `run` times, and of each span the positions that `visual` keeps.
    pub fn with_visual(
        &self,
        mut visual: impl FnMut(&VisualSpan) -> Vec<usize>,
        run: usize,
    ) -> Vec<usize> {
        let text = |range: Range<usize>| range.flat_map(move |position| repeat_n(position, run));
        let (mut rows, mut behind) = (Vec::with_capacity(self.len * run), 0);
        for span in &self.spans {
            rows.extend(text(behind..span.start));
            rows.extend(visual(span));
            behind = span.end();
        }
        rows.extend(text(behind..self.len));
        rows
    }
}

/// How the sequences of a batch share its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrangement {
    /// Each has a row of its own, padded on the right to the longest.
    #[default]
    Padded,
    /// One behind the other in one row; none sees another, and positions begin anew in each.
    Packed,
}

/// The sequences of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// One entry per sequence.
    pub sequences: Vec<SequenceLayout>,
    /// How they share the rows of the batch.
    pub arrangement: Arrangement,
}

impl Layout {
    /// A batch that is padded on the right.
    pub fn padded(sequences: Vec<SequenceLayout>) -> Self {
        Self { sequences, arrangement: Arrangement::Padded }
    }

    /// Rows of the batch, and tokens of a row.
    pub fn dims(&self) -> [usize; 2] {
        match self.arrangement {
            Arrangement::Padded => [self.sequences.len(), self.longest()],
            Arrangement::Packed => [1, self.lengths().iter().sum()],
        }
    }

    /// Where each sequence begins, counted through all rows of the batch.
    pub fn starts(&self) -> Vec<usize> {
        let longest = self.longest();
        let step = |sequence: &SequenceLayout| match self.arrangement {
            Arrangement::Padded => longest,
            Arrangement::Packed => sequence.len,
        };
        let ends = self.sequences.iter().scan(0, |end, sequence| {
            *end += step(sequence);
            Some(*end - step(sequence))
        });
        ends.collect()
    }

    /// Tokens of each sequence, padding not counted.
    pub fn lengths(&self) -> Vec<usize> {
        self.sequences.iter().map(|sequence| sequence.len).collect()
    }

    /// Length of the longest sequence.
    pub fn longest(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.len).max().unwrap_or(0)
    }

    /// The layout after `reduce` has acted on every sequence.
    #[must_use]
    pub fn after(&self, reduce: &Reduce) -> Self {
        let after = self.sequences.iter().map(|sequence| sequence.after(reduce));
        Self { sequences: after.collect(), arrangement: self.arrangement }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::reduce::{Positions, Ranking};

    fn sequence() -> SequenceLayout {
        SequenceLayout::new(9, Some(VisualSpan::new(2, 2, 2)))
    }

    fn check(drop: FrameDrop, sources: &[usize], len: usize) {
        assert_eq!(sequence().sources(&drop), sources);
        assert_eq!(sequence().after(&Reduce::Frames(drop)).len, len);
    }

    #[test]
    fn text_stays_and_frames_shrink() {
        check(FrameDrop::Slots(vec![0, 1]), &[0, 1, 2, 3, 4, 5, 6, 7, 8], 9);
        check(FrameDrop::Slots(vec![1]), &[0, 1, 3, 5, 6, 7, 8], 7);
        check(FrameDrop::Pool(2), &[0, 0, 1, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8], 7);
    }

    #[test]
    fn every_span_shrinks_by_itself() {
        let two = SequenceLayout::new(9, [VisualSpan::new(1, 2, 2), VisualSpan::new(6, 1, 2)]);
        let drop = FrameDrop::Slots(vec![1]);
        assert_eq!(two.sources(&drop), [0, 2, 4, 5, 7, 8]);
        let after = two.after(&Reduce::Frames(drop));
        assert_eq!((after.len, after.visual_tokens()), (6, 3));
        assert_eq!([after.spans[0].start, after.spans[1].start], [1, 4]);
        let visual: Vec<usize> = (0..6).filter(|at| after.is_visual(*at)).collect();
        assert_eq!(visual, [1, 2, 4]);
    }

    #[test]
    fn what_stands_behind_the_frames_stays() {
        let span = VisualSpan { tail: 1, ..VisualSpan::new(1, 2, 2) };
        let sequence = SequenceLayout::new(7, Some(span));
        assert_eq!(sequence.sources(&FrameDrop::Slots(vec![1])), [0, 2, 4, 5, 6]);
        assert_eq!(sequence.sources(&FrameDrop::Pool(2)), [0, 0, 1, 2, 3, 4, 5, 5, 6, 6]);
        let after = sequence.after(&Reduce::Frames(FrameDrop::Slots(vec![1])));
        assert_eq!((after.len, after.spans[0].end()), (5, 4));
    }

    #[test]
    fn sequences_stand_in_rows_of_their_own_or_one_behind_the_other() {
        let text = |len| SequenceLayout::new(len, None);
        let padded = Layout::padded(vec![text(3), text(5), text(2)]);
        assert_eq!((padded.dims(), padded.starts()), ([3, 5], vec![0, 5, 10]));
        let packed = Layout { arrangement: Arrangement::Packed, ..padded };
        assert_eq!((packed.dims(), packed.starts()), ([1, 10], vec![0, 3, 8]));
    }

    #[test]
    fn ranked_shares_are_of_the_tokens_at_first() {
        let share = |share, positions| Reduce::Video(Ranking { share, positions });
        let half = sequence().after(&share(0.5, Positions::Packed));
        assert_eq!((half.len, half.spans[0].end()), (7, 4));
        let quarter = half.after(&share(0.25, Positions::Packed));
        assert_eq!((quarter.len, quarter.visual_tokens()), (6, 1));
        let len = |share| sequence().after(&share).visual_tokens();
        assert_eq!((len(share(0.7, Positions::Packed)), len(share(0.7, Positions::Kept))), (2, 3));
    }
}
