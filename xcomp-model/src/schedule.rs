//! How many tokens of every frame each decoder layer sees, as data.

use std::f64::consts::PI;

/// The shape of the path from all tokens of a frame to the last few.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// No compression: every layer sees every token (the fine-tuning baseline, paper Table D).
    None,
    /// The released code: `1 + round_half_up((N-1)/2 (1 + cos(l pi / L)))` entering 1-based layer `l` (`llava_qwen.py:97-130`; Eq. 1 with the bracket of Algorithm B).
    Cosine,
    /// Eq. 1 of the main paper as printed: a ceiling, `ceil((N-1)/2 cos(l pi / L) + (N+1)/2)`.
    Ceil,
    /// Algorithm B of the supplement as printed: the cosine one layer later.
    AlgorithmB,
    /// After `layer` decoder layers keep the last of every `stride` consecutive tokens (paper Table 2, step-wise).
    Step(Vec<Stage>),
    /// As [`Schedule::Step`], but with the mean of every `stride` tokens.
    Pool(Vec<Stage>),
    /// The same number of tokens in every layer.
    Uniform(usize),
    /// Tokens of a frame on entry to each layer, given by the user.
    List(Vec<usize>),
}

/// One reduction of a step-wise schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The reduction stands between 1-based layer `layer` and the next; 0 is before the stack.
    pub layer: usize,
    /// How many consecutive tokens become one.
    pub stride: usize,
}

/// Which tokens of a frame survive a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepRule {
    /// The last ones: they have attended to the dropped ones (paper 3.2).
    Suffix,
    /// An evenly spread subset, found greedily (paper Table 3, `llava_qwen.py`).
    Uniform,
}

/// What happens to the tokens of every frame on entry to one decoder layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reduce {
    /// Nothing.
    Keep,
    /// Keep these slots (ascending, of the tokens that the frame still has).
    Slots(Vec<usize>),
    /// Replace every run of so many tokens by its mean.
    Pool(usize),
}

/// A schedule that does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A stride does not divide the tokens that a frame still has.
    #[error(
        "compression stride {stride} after layer {layer} does not divide the {tokens} tokens a frame has there; use a divisor of {tokens}"
    )]
    Stride {
        /// 1-based layer before the reduction.
        layer: usize,
        /// The stride.
        stride: usize,
        /// Tokens of a frame before it.
        tokens: usize,
    },
    /// A stage lies outside the stack, or stages are not in order.
    #[error(
        "compression stage after layer {layer} does not fit a stack of {layers} layers; give ascending layers below {layers}"
    )]
    Stage {
        /// 1-based layer of the stage.
        layer: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A token list of the wrong length.
    #[error(
        "the compression token list has {got} entries, the model has {layers} layers; give one number per layer"
    )]
    Length {
        /// Entries given.
        got: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// A token count that is zero or grows.
    #[error(
        "compression asks for {asked} tokens a frame in layer {layer} (0-based), where {available} are left; counts start at 1 and never grow"
    )]
    Count {
        /// 0-based layer.
        layer: usize,
        /// Tokens asked for.
        asked: usize,
        /// Tokens left.
        available: usize,
    },
}

/// The reductions of every layer, checked against the model: the paper's Section 3.2 as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionPlan {
    tokens_per_frame: usize,
    reduce: Vec<Reduce>,
    tokens: Vec<usize>,
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
            Schedule::Ceil => drops(&per_layer(1..=layers, |l| ceil(l, n, layers)), keep, n)?,
            Schedule::AlgorithmB => {
                drops(&per_layer(0..layers, |l| cosine(l, n, layers)), keep, n)?
            }
            Schedule::Step(stages) => staged(stages, n, layers, |stride, tokens| {
                Reduce::Slots((stride - 1..tokens).step_by(stride).collect())
            })?,
            Schedule::Pool(stages) => staged(stages, n, layers, |stride, _| Reduce::Pool(stride))?,
            Schedule::Uniform(count) => drops(&vec![*count; layers], keep, n)?,
            Schedule::List(counts) if counts.len() != layers => {
                return Err(ScheduleError::Length { got: counts.len(), layers });
            }
            Schedule::List(counts) => drops(counts, keep, n)?,
        };
        let tokens = reduce
            .iter()
            .scan(n, |left, reduce| {
                *left = reduce.tokens_after(*left);
                Some(*left)
            })
            .collect();
        Ok(Self { tokens_per_frame, reduce, tokens })
    }

    /// Tokens of a frame before the first layer.
    pub fn tokens_per_frame(&self) -> usize {
        self.tokens_per_frame
    }

    /// Number of decoder layers.
    pub fn layers(&self) -> usize {
        self.reduce.len()
    }

    /// Tokens of a frame inside 0-based `layer`.
    pub fn tokens(&self, layer: usize) -> usize {
        self.tokens[layer]
    }

    /// Tokens of a frame inside each layer.
    pub fn tokens_per_layer(&self) -> &[usize] {
        &self.tokens
    }

    /// What happens on entry to 0-based `layer`.
    pub fn reduce(&self, layer: usize) -> &Reduce {
        &self.reduce[layer]
    }

    /// Mean tokens of a frame over the layers.
    pub fn mean_tokens(&self) -> f64 {
        self.tokens.iter().sum::<usize>() as f64 / self.tokens.len() as f64
    }
}

impl Reduce {
    /// Tokens of a frame that had `tokens`, after this reduction.
    pub fn tokens_after(&self, tokens: usize) -> usize {
        match self {
            Reduce::Keep => tokens,
            Reduce::Slots(slots) => slots.len(),
            Reduce::Pool(stride) => tokens / stride,
        }
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
        reduce.push(Reduce::Slots(slots));
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
    reduce: impl Fn(usize, usize) -> Reduce,
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
        plan[layer] = reduce(stride, tokens);
        tokens /= stride;
        next = layer + 1;
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &Schedule, layers: usize, want: &[usize]) {
        let plan = CompressionPlan::new(schedule, KeepRule::Suffix, 16, layers).unwrap();
        assert_eq!(plan.tokens_per_layer(), want, "{schedule:?}");
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
    }
}
