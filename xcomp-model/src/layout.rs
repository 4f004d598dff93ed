//! Where the visual tokens of a batch stand, on the host.

use crate::schedule::Reduce;

/// The visual tokens of one sequence: `frames` groups of `tokens_per_frame`, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoSpan {
    /// Position of the first visual token.
    pub start: usize,
    /// Number of frames (groups; an image is one).
    pub frames: usize,
    /// Tokens that every frame has now.
    pub tokens_per_frame: usize,
}

impl VideoSpan {
    /// Number of visual tokens.
    pub fn len(&self) -> usize {
        self.frames * self.tokens_per_frame
    }

    /// Whether there is no visual token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position after the last visual token.
    pub fn end(&self) -> usize {
        self.start + self.len()
    }
}

/// One sequence of a right-padded batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceLayout {
    /// Tokens, padding not counted.
    pub len: usize,
    /// The visual tokens; a text-only sequence has none.
    pub span: Option<VideoSpan>,
}

impl SequenceLayout {
    /// The layout after `reduce` has acted on every frame.
    #[must_use]
    pub fn after(self, reduce: &Reduce) -> Self {
        let Some(span) = self.span else { return self };
        let after =
            VideoSpan { tokens_per_frame: reduce.tokens_after(span.tokens_per_frame), ..span };
        Self { len: self.len - span.len() + after.len(), span: Some(after) }
    }

    /// Positions that make up the sequence after `reduce`, in order; with [`Reduce::Pool`] every
    /// resulting token has as many sources as the stride, a text token its own position repeated.
    pub fn sources(&self, reduce: &Reduce) -> Vec<usize> {
        let run = run_length(reduce);
        let text =
            |range: std::ops::Range<usize>| range.flat_map(move |p| std::iter::repeat_n(p, run));
        let Some(span) = self.span else { return text(0..self.len).collect() };
        let kept: Vec<usize> = match reduce {
            Reduce::Slots(slots) => slots.clone(),
            Reduce::Keep | Reduce::Pool(_) => (0..span.tokens_per_frame).collect(),
        };
        let frame_starts = (0..span.frames).map(|frame| span.start + frame * span.tokens_per_frame);
        text(0..span.start)
            .chain(frame_starts.flat_map(|start| kept.iter().map(move |slot| start + slot)))
            .chain(text(span.end()..self.len))
            .collect()
    }
}

/// How many source positions make one token after `reduce`.
pub fn run_length(reduce: &Reduce) -> usize {
    match reduce {
        Reduce::Pool(stride) => *stride,
        Reduce::Keep | Reduce::Slots(_) => 1,
    }
}

/// The sequences of a right-padded batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// One entry per sequence.
    pub sequences: Vec<SequenceLayout>,
}

impl Layout {
    /// Length of the longest sequence, to which all are padded.
    pub fn longest(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.len).max().unwrap_or(0)
    }

    /// The layout after `reduce` has acted on every frame of every sequence.
    #[must_use]
    pub fn after(&self, reduce: &Reduce) -> Self {
        Self { sequences: self.sequences.iter().map(|sequence| sequence.after(reduce)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: SequenceLayout = SequenceLayout {
        len: 9,
        span: Some(VideoSpan { start: 2, frames: 2, tokens_per_frame: 2 }),
    };

    fn check(reduce: &Reduce, sources: &[usize], len: usize) {
        assert_eq!(SEQUENCE.sources(reduce), sources);
        assert_eq!(SEQUENCE.after(reduce).len, len);
    }

    #[test]
    fn text_stays_and_frames_shrink() {
        check(&Reduce::Keep, &[0, 1, 2, 3, 4, 5, 6, 7, 8], 9);
        check(&Reduce::Slots(vec![1]), &[0, 1, 3, 5, 6, 7, 8], 7);
        check(&Reduce::Pool(2), &[0, 0, 1, 1, 2, 3, 4, 5, 6, 6, 7, 7, 8, 8], 7);
    }
}
