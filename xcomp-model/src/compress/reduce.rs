//! What happens to visual tokens between two decoder layers, as data.

/// What happens on entry to one decoder layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reduce {
    /// Nothing.
    Keep,
    /// Every frame loses the same tokens: their places are known before the forward.
    Frames(FrameDrop),
    /// The video loses the tokens that are attended to least: their places are known when the forward gets there.
    Video(Ranking),
}

/// How a frame loses tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameDrop {
    /// Keep these slots (ascending, of the tokens that the frame still has).
    Slots(Vec<usize>),
    /// Replace every run of so many tokens by its mean.
    Pool(usize),
}

impl FrameDrop {
    /// Tokens of a frame that had `tokens`.
    pub fn tokens_after(&self, tokens: usize) -> usize {
        match self {
            Self::Slots(slots) => slots.len(),
            Self::Pool(stride) => tokens / stride,
        }
    }

    /// How many tokens become one.
    pub fn run(&self) -> usize {
        match self {
            Self::Slots(_) => 1,
            Self::Pool(stride) => *stride,
        }
    }
}

/// How many of a video's tokens go on when they are ranked, and at which positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranking {
    /// The share of the tokens that the video had at first, whatever was dropped since.
    pub share: f64,
    /// What becomes of positions, and with it whose attention ranks.
    pub positions: Positions,
}

/// What becomes of the positions of ranked tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// Re-packed to `0..len`; the layer that the tokens enter ranks them (VideoChat-Flash, `PyramidDrop`).
    Packed,
    /// As before the drop; the layer that the tokens leave ranks them (`FastV`).
    Kept,
}

impl Ranking {
    /// Tokens that go on of a video that had `tokens` at first: truncated by VideoChat-Flash (`modeling_qwen2_flash.py:1079-1376`),
    /// rounded half to even by `FastV`.
    pub fn kept(self, tokens: usize) -> usize {
        let kept = tokens as f64 * self.share;
        match self.positions {
            Positions::Packed => kept as usize,
            Positions::Kept => kept.round_ties_even() as usize,
        }
    }
}
