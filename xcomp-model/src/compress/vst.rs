//! Visual summarization tokens (VST, Video-XL section 3.2): the visual tokens are read in windows, and of each window only the keys and
//! values of a few learned tokens stay. Here as data: what is run in which order, where the learned tokens stand, what stays.
//!
//! A sequence is run in segments: all text before the visual tokens, window by window, then the text behind them in pieces
//! (reference `modeling_beacon.py`, `Memory.step`).

pub mod dynamic;
mod error;
pub mod pass;

use std::ops::Range;

pub use error::VstError;

use crate::compress::layout::SequenceLayout;

/// How the ratio of a window is found where there are several (`beacon_ratio_mix`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatioMix {
    /// Drawn for every window.
    Step,
    /// Drawn for the first window of a sequence, and kept.
    Instance,
    /// One after the other, from the first.
    Sequence,
    /// The smallest under which so many positions are enough for the sequence and what follows it.
    Adapt {
        /// Positions of the model (`max_position_embeddings`).
        positions: usize,
        /// Tokens that are to follow.
        to_come: usize,
    },
}

/// Whether a sequence is learnt from or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A window stays raw only where none before it did and a full window still follows.
    Training,
    /// Any window may stay raw.
    Answering,
}

/// The rule of windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VstRule {
    /// Visual tokens of a window, and text tokens of a piece (`beacon_window`).
    pub window: usize,
    /// Visual tokens for each learned token; 0 keeps a window raw.
    pub ratios: Vec<usize>,
    /// How one of them is found.
    pub mix: RatioMix,
}

/// Draws one of these ratios.
pub type Draw<'a> = &'a mut dyn FnMut(&[usize]) -> usize;

/// A sequence of text, visual tokens, text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Text tokens before the visual ones.
    pub prefix: usize,
    /// Visual tokens.
    pub visual: usize,
    /// Text tokens behind them.
    pub tail: usize,
}

impl Parts {
    /// The parts of a sequence whose images and videos stand side by side; text alone is all prefix.
    ///
    /// # Errors
    /// If text stands between them.
    pub fn of(sequence: &SequenceLayout) -> Result<Self, VstError> {
        let spans = &sequence.spans;
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Ok(Self { prefix: sequence.len, visual: 0, tail: 0 });
        };
        let apart = spans.iter().zip(&spans[1..]).find(|(one, next)| one.end() != next.start);
        match apart {
            Some((one, _)) => Err(VstError::Apart { at: one.end() }),
            None => Ok(Self {
                prefix: first.start,
                visual: last.end() - first.start,
                tail: sequence.len - last.end(),
            }),
        }
    }

    fn all(self) -> usize {
        self.prefix + self.visual + self.tail
    }
}

/// What a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text before the visual tokens: all of it stays.
    Prefix,
    /// Visual tokens under a ratio.
    Window {
        /// Visual tokens for each learned token; 0 if the window stays raw.
        ratio: usize,
        /// Visual tokens behind the last learned one.
        carry: usize,
    },
    /// Text behind the visual tokens: all of it stays.
    Tail,
}

/// Tokens that are run together over the memory of those before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What it is.
    pub kind: Kind,
    /// Its tokens in the sequence.
    pub rows: Range<usize>,
    /// Where learned tokens stand among its tokens, once they are put in; ascending.
    pub vst: Vec<usize>,
    /// Tokens held from the segments before it: the position of its first token.
    pub memory: usize,
}

impl Segment {
    /// Tokens once the learned ones are put in.
    pub fn len(&self) -> usize {
        self.rows.len() + self.vst.len()
    }

    /// Whether it has no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether only its learned tokens stay.
    pub fn is_compressed(&self) -> bool {
        matches!(self.kind, Kind::Window { ratio: 1.., .. })
    }

    /// Tokens of it that stay in the memory.
    pub fn kept(&self) -> usize {
        if self.is_compressed() { self.vst.len() } else { self.rows.len() }
    }

    /// Where a token of the sequence stands in the segment, once the learned ones are put in.
    ///
    /// # Panics
    /// If it is no token of this segment.
    pub fn place(&self, row: usize) -> usize {
        assert!(self.rows.contains(&row), "token {row} of {:?}", self.rows);
        let local = row - self.rows.start;
        // The learned token `i` stands behind `vst[i] - i` others.
        local + self.vst.iter().enumerate().take_while(|(i, at)| **at - i <= local).count()
    }
}

/// The segments of a sequence, in the order in which they are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VstPlan {
    /// The segments.
    pub segments: Vec<Segment>,
}

impl VstPlan {
    /// That something of the visual tokens stays behind their windows: else they would go unseen.
    ///
    /// # Errors
    /// If there are some and nothing does.
    pub fn require_kept(&self) -> Result<(), VstError> {
        let visual: usize = self.windows().map(|one| one.rows.len()).sum();
        if visual > 0 && self.visual_kept() == 0 {
            return Err(VstError::NothingStays { visual });
        }
        Ok(())
    }

    /// Tokens that stay of the visual ones, in every layer.
    pub fn visual_kept(&self) -> usize {
        self.windows().map(Segment::kept).sum()
    }

    fn windows(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|one| matches!(one.kind, Kind::Window { .. }))
    }

    /// Positions that are needed, less those of tokens to come.
    pub fn positions(&self) -> usize {
        self.segments.iter().map(|segment| segment.memory + segment.len()).max().unwrap_or(0)
    }

    /// The segments up to the last window: what all questions to a video share.
    pub fn shared(&self) -> &[Segment] {
        let tail = self.segments.iter().position(|segment| segment.kind == Kind::Tail);
        &self.segments[..tail.unwrap_or(self.segments.len())]
    }

    /// Tokens held by every layer behind all segments.
    pub fn held(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.memory + segment.kept())
    }
}

impl VstRule {
    /// Cuts a sequence into windows of the rule's length; the last may be shorter.
    ///
    /// `draw` is asked where [`RatioMix`] draws, with the ratios that fit.
    ///
    /// # Errors
    /// If the rule is empty, no ratio fits a window, or nothing stands behind visual tokens.
    pub fn plan(&self, parts: Parts, purpose: Purpose, draw: Draw) -> Result<VstPlan, VstError> {
        let window = self.window.max(1);
        let windows: Vec<usize> = (0..parts.visual)
            .step_by(window)
            .map(|start| window.min(parts.visual - start))
            .collect();
        self.plan_windows(parts, &windows, purpose, draw)
    }

    /// As [`VstRule::plan`], with windows of these lengths.
    ///
    /// # Errors
    /// As [`VstRule::plan`], or if the windows are not those of the visual tokens.
    pub fn plan_windows(
        &self,
        parts: Parts,
        windows: &[usize],
        purpose: Purpose,
        draw: Draw,
    ) -> Result<VstPlan, VstError> {
        let Parts { prefix, visual, tail } = parts;
        if self.window == 0 {
            return Err(VstError::NoWindow);
        }
        if self.ratios.is_empty() {
            return Err(VstError::NoRatio);
        }
        let in_windows = windows.iter().sum();
        if in_windows != visual || windows.contains(&0) {
            return Err(VstError::Windows { windows: in_windows, visual });
        }
        // In the reference the last window stays raw in training then, and the question is lost in answering.
        if visual > 0 && tail == 0 {
            return Err(VstError::NoTail { visual });
        }

        let mut segments: Vec<Segment> = vec![];
        let mut push = |kind, rows: Range<usize>, vst| {
            let memory = segments.last().map_or(0, |last: &Segment| last.memory + last.kept());
            segments.push(Segment { kind, rows, vst, memory });
        };
        if prefix > 0 {
            push(Kind::Prefix, 0..prefix, vec![]);
        }
        let mut ratios =
            Ratios { rule: self, all: parts.all(), purpose, chosen: vec![], first: vec![] };
        let (mut start, mut carry) = (prefix, 0);
        for &tokens in windows {
            let ratio = ratios.next(start, tokens, draw)?;
            let vst = places(tokens, ratio, carry);
            if ratio > 0 {
                carry = (tokens + carry) % ratio;
            }
            push(Kind::Window { ratio, carry }, start..start + tokens, vst);
            start += tokens;
        }
        for piece in (start..parts.all()).step_by(self.window) {
            push(Kind::Tail, piece..parts.all().min(piece + self.window), vec![]);
        }
        Ok(VstPlan { segments })
    }
}

/// Where learned tokens stand in a window: behind every `ratio` visual tokens, those `carry` counted that the window before has left over.
fn places(tokens: usize, ratio: usize, carry: usize) -> Vec<usize> {
    if ratio == 0 {
        return vec![];
    }
    // An earlier window under a larger ratio may have left more than one learned token's worth.
    let first = ratio.saturating_sub(carry);
    (0..(tokens + carry) / ratio).map(|i| (first + i * ratio).min(tokens) + i).collect()
}

/// The ratios of a sequence, window by window (`Memory.set_compression_ratio`).
struct Ratios<'a> {
    rule: &'a VstRule,
    /// Tokens of the sequence.
    all: usize,
    purpose: Purpose,
    chosen: Vec<usize>,
    /// What fitted the first window.
    first: Vec<usize>,
}

impl Ratios<'_> {
    fn next(&mut self, start: usize, tokens: usize, draw: Draw) -> Result<usize, VstError> {
        let VstRule { ratios, mix, .. } = self.rule;
        // A single ratio fits every window: what it leaves over is carried on.
        if let [ratio] = **ratios {
            return Ok(ratio);
        }
        let fitting: Vec<usize> =
            ratios.iter().copied().filter(|ratio| self.fits(*ratio, start, tokens)).collect();
        if fitting.is_empty() {
            return Err(VstError::Ratio { ratios: ratios.clone(), start, tokens });
        }
        if self.chosen.is_empty() {
            self.first.clone_from(&fitting);
        }
        let ratio = match (mix, self.chosen.first()) {
            (RatioMix::Step, _) | (RatioMix::Instance, None) => draw(&fitting),
            (RatioMix::Sequence, _) => self.first[self.chosen.len() % self.first.len()],
            (RatioMix::Adapt { positions, to_come }, None) => self.adapted(*positions, *to_come),
            (RatioMix::Instance | RatioMix::Adapt { .. }, Some(first)) => *first,
        };
        self.chosen.push(ratio);
        Ok(ratio)
    }

    /// Whether a ratio divides the window, and is not larger; whether it may stay raw.
    fn fits(&self, ratio: usize, start: usize, tokens: usize) -> bool {
        if ratio > 0 {
            return tokens.is_multiple_of(ratio);
        }
        let full_follows = start + tokens + self.rule.window <= self.all;
        self.purpose == Purpose::Answering || (full_follows && !self.chosen.contains(&0))
    }

    /// The ratio that reaches far enough with the fewest tokens to spare, else the one that reaches farthest.
    fn adapted(&self, positions: usize, to_come: usize) -> usize {
        let window = self.rule.window;
        let reach = |ratio: usize| match ratio {
            0 => positions,
            _ => positions.saturating_sub(window) * ratio + window,
        };
        let wanted = self.all + to_come;
        let key = |ratio: &&usize| (reach(**ratio) < wanted, reach(**ratio).abs_diff(wanted));
        *self.first.iter().min_by_key(key).expect("a ratio that fits")
    }
}
