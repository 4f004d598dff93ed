//! How many tokens of every frame each decoder layer sees, as data.

mod budget;
mod error;
pub mod optimal;

use std::f64::consts::PI;

use crate::compress::layout::VisualSpan;
use crate::compress::reduce::{FrameDrop, Positions, Ranking, Reduce};
pub use error::ScheduleError;

/// The shape of the path from all tokens of a frame to the last few.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// No compression: every layer sees every token (the fine-tuning baseline, paper Table D).
    None,
    /// The released code: `1 + round_half_up((N-1)/2 (1 + cos(l pi / L)))` entering 1-based layer `l` (`llava_qwen.py:97-130`; Eq. 1 with the bracket of Algorithm B).
    Cosine,
    /// The same, but layer 1 gets all tokens, which a large `N` does not follow from the formula: `N(1) = N` (paper Section 3.2) for frames of any size.
    CosineFullFirst,
    /// Eq. 1 of the main paper as printed: a ceiling, `ceil((N-1)/2 cos(l pi / L) + (N+1)/2)`.
    Ceil,
    /// Algorithm B of the supplement as printed: the cosine one layer later.
    AlgorithmB,
    /// After `layer` decoder layers keep the last of every `stride` consecutive tokens (paper Table 2, step-wise).
    Step(Vec<Stage>),
    /// As [`Schedule::Step`], but with the mean of every `stride` tokens.
    Pool(Vec<Stage>),
    /// At a few layers keep the tokens of the whole video that are attended to most (paper Table 2, heuristic; `flash_rank_drop`).
    Rank(Vec<RankStage>),
    /// Behind one layer, when a question is answered, keep the tokens of the whole video that this layer attended to most; positions stay (`FastV`).
    FastV(RankStage),
    /// The same number of tokens in every layer.
    Uniform(usize),
    /// Tokens of a frame on entry to each layer, given by the user.
    List(Vec<usize>),
    /// So many tokens of a frame in the mean over the layers: the released cosine, steeper or flatter.
    Budget(f64),
}

/// One reduction of a step-wise schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The reduction stands between 1-based layer `layer` and the next; 0 is before the stack.
    pub layer: usize,
    /// How many consecutive tokens become one.
    pub stride: usize,
}

/// One drop of a ranked schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankStage {
    /// The drop stands between 1-based layer `layer` and the next, whose attention ranks; 0 is before the stack.
    pub layer: usize,
    /// The share of the video's first tokens that is left behind it.
    pub share: f64,
}

/// Which tokens of a frame survive a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepRule {
    /// The last ones: they have attended to the dropped ones (paper 3.2).
    Suffix,
    /// An evenly spread subset, found greedily (paper Table 3, `llava_qwen.py`).
    Uniform,
}

/// The reductions of every layer, checked against the model: the paper's Section 3.2 as data.
#[derive(Debug, Clone, PartialEq)]
pub struct CompressionPlan {
    tokens_per_frame: usize,
    reduce: Vec<Reduce>,
    tokens: Vec<f64>,
}

impl CompressionPlan {
    /// Resolves `schedule` for frames of `tokens_per_frame` tokens and a stack of `layers` layers.
    ///
    /// # Errors
    /// If the schedule does not fit these sizes.
    pub fn new(
        schedule: &Schedule,
        keep: KeepRule,
        tokens_per_frame: usize,
        layers: usize,
    ) -> Result<Self, ScheduleError> {
        let n = tokens_per_frame;
        let reduce = match schedule {
            Schedule::None => vec![Reduce::Keep; layers],
            Schedule::Cosine => drops(&per_layer(1..=layers, |l| cosine(l, n, layers)), keep, n)?,
            Schedule::CosineFullFirst => {
                let count = |l| if l == 1 { n } else { cosine(l, n, layers) };
                drops(&per_layer(1..=layers, count), keep, n)?
            }
            Schedule::Ceil => drops(&per_layer(1..=layers, |l| ceil(l, n, layers)), keep, n)?,
            Schedule::AlgorithmB => {
                drops(&per_layer(0..layers, |l| cosine(l, n, layers)), keep, n)?
            }
            Schedule::Step(stages) => staged(stages, n, layers, |stride, tokens| {
                FrameDrop::Slots((stride - 1..tokens).step_by(stride).collect())
            })?,
            Schedule::Pool(stages) => {
                staged(stages, n, layers, |stride, _| FrameDrop::Pool(stride))?
            }
            Schedule::Rank(stages) => ranked(stages, Positions::Packed, layers)?,
            Schedule::FastV(stage) => ranked(&[*stage], Positions::Kept, layers)?,
            Schedule::Uniform(count) => drops(&vec![*count; layers], keep, n)?,
            Schedule::List(counts) if counts.len() != layers => {
                return Err(ScheduleError::Length { got: counts.len(), layers });
            }
            Schedule::List(counts) => drops(counts, keep, n)?,
            Schedule::Budget(mean) if !(1.0..=n as f64).contains(mean) => {
                return Err(ScheduleError::Budget { mean: *mean, most: n });
            }
            Schedule::Budget(mean) => drops(&budget::tokens_of_budget(*mean, n, layers), keep, n)?,
        };
        Ok(Self::of(n, reduce))
    }

    /// The plan that does these reductions to frames of `tokens_per_frame` tokens, layer by layer.
    pub(crate) fn of(tokens_per_frame: usize, reduce: Vec<Reduce>) -> Self {
        let tokens = reduce.iter().scan(tokens_per_frame as f64, |left, reduce| {
            *left = tokens_after(reduce, *left, tokens_per_frame);
            Some(*left)
        });
        let tokens = tokens.collect();
        Self { tokens_per_frame, reduce, tokens }
    }

    /// Tokens of a frame before the first layer.
    pub fn tokens_per_frame(&self) -> usize {
        self.tokens_per_frame
    }

    /// Number of decoder layers.
    pub fn layers(&self) -> usize {
        self.reduce.len()
    }

    /// Tokens of a frame inside each layer; where a video is ranked the mean over its frames.
    pub fn tokens_per_layer(&self) -> &[f64] {
        &self.tokens
    }

    /// Visual tokens inside 0-based `layer` of a video of `frames` frames: exactly those of the forward.
    pub fn visual_tokens(&self, layer: usize, frames: usize) -> usize {
        let first = VisualSpan::new(0, frames, self.tokens_per_frame);
        self.reduce[..=layer].iter().fold(first, VisualSpan::after).len()
    }

    /// Whether every layer sees the same tokens of every frame.
    pub fn frames_stay_whole(&self) -> bool {
        !self.reduce.iter().any(|reduce| matches!(reduce, Reduce::Video(_)))
    }

    /// What happens on entry to 0-based `layer`.
    pub fn reduce(&self, layer: usize) -> &Reduce {
        &self.reduce[layer]
    }

    /// Mean tokens of a frame over the layers.
    pub fn mean_tokens(&self) -> f64 {
        self.tokens.iter().sum::<f64>() / self.tokens.len() as f64
    }
}

/// Tokens of a frame that had `left` of `first` before `reduce`.
fn tokens_after(reduce: &Reduce, left: f64, first: usize) -> f64 {
    match reduce {
        Reduce::Keep => left,
        Reduce::Frames(drop) => drop.tokens_after(left as usize) as f64,
        Reduce::Video(Ranking { share, .. }) => share * first as f64,
    }
}

/// Tokens entering 1-based layer `l` by the released formula; rounds half up (`llava_qwen.py:106`).
pub fn cosine(l: usize, tokens_per_frame: usize, layers: usize) -> usize {
    let half = (tokens_per_frame - 1) as f64 * 0.5;
    1 + (half * (1.0 + (l as f64 * PI / layers as f64).cos()) + 0.5) as usize
}

/// Tokens entering 1-based layer `l` by Eq. 1 of the main paper as printed.
fn ceil(l: usize, tokens_per_frame: usize, layers: usize) -> usize {
    let (half_drop, middle) =
        ((tokens_per_frame - 1) as f64 * 0.5, (tokens_per_frame + 1) as f64 * 0.5);
    (half_drop * (l as f64 * PI / layers as f64).cos() + middle).ceil() as usize
}

fn per_layer(layers: impl Iterator<Item = usize>, tokens: impl Fn(usize) -> usize) -> Vec<usize> {
    layers.map(tokens).collect()
}

/// Reductions that lead to `counts[l]` tokens in layer `l`.
fn drops(
    counts: &[usize],
    keep: KeepRule,
    tokens_per_frame: usize,
) -> Result<Vec<Reduce>, ScheduleError> {
    let mut left: Vec<usize> = (1..=tokens_per_frame).collect(); // 1-based positions still there
    let mut reduce = Vec::with_capacity(counts.len());
    for (layer, &asked) in counts.iter().enumerate() {
        if asked == 0 || asked > left.len() {
            return Err(ScheduleError::Count { layer, asked, available: left.len() });
        }
        if asked == left.len() {
            reduce.push(Reduce::Keep);
            continue;
        }
        let next = match keep {
            KeepRule::Suffix => left[left.len() - asked..].to_vec(),
            KeepRule::Uniform => spread(left.clone(), asked, tokens_per_frame),
        };
        let slots =
            left.iter().enumerate().filter(|(_, p)| next.contains(p)).map(|(i, _)| i).collect();
        reduce.push(Reduce::Frames(FrameDrop::Slots(slots)));
        left = next;
    }
    Ok(reduce)
}

/// Removes positions one by one, each time the one whose loss leaves the rest most evenly spread (`llava_qwen.py:108-126`).
///
/// The first minimum wins; the last position is not scored.
fn spread(mut left: Vec<usize>, asked: usize, tokens_per_frame: usize) -> Vec<usize> {
    while left.len() > asked {
        let without = |index: usize| {
            let mut rest = left.clone();
            rest.remove(index);
            rest
        };
        let unevenness = |rest: &[usize]| -> f64 {
            let len = rest.len() as f64;
            let ideal = |j: usize| (j + 1) as f64 / len * tokens_per_frame as f64;
            rest[..rest.len() - 1]
                .iter()
                .enumerate()
                .map(|(j, p)| (ideal(j) - *p as f64).powi(2))
                .sum()
        };
        let mut best = without(0);
        for candidate in (1..left.len()).map(without) {
            if unevenness(&candidate) < unevenness(&best) {
                best = candidate;
            }
        }
        left = best;
    }
    left
}

fn staged(
    stages: &[Stage],
    tokens_per_frame: usize,
    layers: usize,
    drop: impl Fn(usize, usize) -> FrameDrop,
) -> Result<Vec<Reduce>, ScheduleError> {
    let mut plan = vec![Reduce::Keep; layers];
    let (mut tokens, mut next) = (tokens_per_frame, 0);
    for &Stage { layer, stride } in stages {
        if layer < next || layer >= layers {
            return Err(ScheduleError::Stage { layer, layers });
        }
        if stride == 0 || !tokens.is_multiple_of(stride) {
            return Err(ScheduleError::Stride { layer, stride, tokens });
        }
        plan[layer] = Reduce::Frames(drop(stride, tokens));
        tokens /= stride;
        next = layer + 1;
    }
    Ok(plan)
}

fn ranked(
    stages: &[RankStage],
    positions: Positions,
    layers: usize,
) -> Result<Vec<Reduce>, ScheduleError> {
    // What ranks by the layer below needs one.
    let lowest = usize::from(positions == Positions::Kept);
    let mut plan = vec![Reduce::Keep; layers];
    let (mut available, mut next) = (1.0, lowest);
    for &RankStage { layer, share } in stages {
        if layer < next || layer >= layers {
            return Err(ScheduleError::Stage { layer, layers });
        }
        let fits = share > 0.0 && share <= available;
        if !fits {
            return Err(ScheduleError::Share { layer, share, available });
        }
        plan[layer] = Reduce::Video(Ranking { share, positions });
        (available, next) = (share, layer + 1);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &Schedule, layers: usize, want: &[usize]) {
        let plan = CompressionPlan::new(schedule, KeepRule::Suffix, 16, layers).unwrap();
        let tokens: Vec<usize> = (0..layers).map(|layer| plan.visual_tokens(layer, 1)).collect();
        assert_eq!(tokens, want, "{schedule:?}");
        let whole: Vec<usize> =
            plan.tokens_per_layer().iter().map(|tokens| *tokens as usize).collect();
        assert_eq!(whole, want, "{schedule:?}");
    }

    #[test]
    fn the_schedules_are_those_of_the_paper_and_its_code() {
        #[rustfmt::skip]
        check(&Schedule::Cosine, 28, &[16,16,16,15,15,14,14,13,12,12,11,10,9,9,8,7,6,5,5,4,3,3,2,2,1,1,1,1]);
        #[rustfmt::skip]
        check(&Schedule::Ceil, 28, &[16,16,16,16,15,15,14,14,13,12,11,11,10,9,8,7,7,6,5,4,4,3,3,2,2,2,2,1]);
        #[rustfmt::skip]
        check(&Schedule::AlgorithmB, 28, &[16,16,16,16,15,15,14,14,13,12,12,11,10,9,9,8,7,6,5,5,4,3,3,2,2,1,1,1]);
        let steps = vec![Stage { layer: 2, stride: 4 }, Stage { layer: 4, stride: 4 }];
        check(&Schedule::Step(steps), 6, &[16, 16, 4, 4, 1, 1]);
        check(&Schedule::None, 3, &[16, 16, 16]);
        check(&Schedule::Uniform(8), 3, &[8, 8, 8]);
    }

    #[test]
    fn a_ranked_video_keeps_truncated_shares_of_its_first_tokens() {
        let stage = |layer, share| RankStage { layer, share };
        let stages = vec![stage(1, 0.75), stage(3, 0.3)];
        let plan = CompressionPlan::new(&Schedule::Rank(stages), KeepRule::Suffix, 16, 4).unwrap();
        let tokens: Vec<usize> = (0..4).map(|layer| plan.visual_tokens(layer, 3)).collect();
        assert_eq!(tokens, [48, 36, 36, 14]); // 14.4 of 48
        assert!((plan.mean_tokens() - (16.0 + 12.0 + 12.0 + 4.8) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn the_mean_of_the_released_schedule_is_that_of_the_reference() {
        let plan = CompressionPlan::new(&Schedule::Cosine, KeepRule::Suffix, 16, 28).unwrap();
        assert!((plan.mean_tokens() - 8.25).abs() < 1e-12);
    }

    #[test]
    fn a_schedule_that_does_not_fit_is_refused() {
        let refused =
            |schedule| CompressionPlan::new(&schedule, KeepRule::Suffix, 16, 4).unwrap_err();
        assert!(matches!(
            refused(Schedule::Step(vec![Stage { layer: 1, stride: 3 }])),
            ScheduleError::Stride { tokens: 16, .. }
        ));
        assert!(matches!(
            refused(Schedule::Step(vec![Stage { layer: 4, stride: 4 }])),
            ScheduleError::Stage { layer: 4, layers: 4 }
        ));
        assert!(matches!(
            refused(Schedule::List(vec![16, 8])),
            ScheduleError::Length { got: 2, layers: 4 }
        ));
        assert!(matches!(
            refused(Schedule::List(vec![16, 8, 9, 1])),
            ScheduleError::Count { layer: 2, asked: 9, available: 8 }
        ));
        let rank = |stages: &[(usize, f64)]| {
            let stage = |(layer, share): &(usize, f64)| RankStage { layer: *layer, share: *share };
            refused(Schedule::Rank(stages.iter().map(stage).collect()))
        };
        assert!(matches!(rank(&[(4, 0.5)]), ScheduleError::Stage { layer: 4, layers: 4 }));
        assert!(matches!(rank(&[(2, 0.5), (2, 0.25)]), ScheduleError::Stage { layer: 2, .. }));
        let fastv = refused(Schedule::FastV(RankStage { layer: 0, share: 0.5 }));
        assert!(matches!(fastv, ScheduleError::Stage { layer: 0, .. }));
        assert!(matches!(rank(&[(1, 0.0)]), ScheduleError::Share { layer: 1, .. }));
        assert!(matches!(rank(&[(1, f64::NAN)]), ScheduleError::Share { .. }));
        assert!(matches!(rank(&[(1, 0.5), (2, 0.6)]), ScheduleError::Share { layer: 2, .. }));
    }
}
