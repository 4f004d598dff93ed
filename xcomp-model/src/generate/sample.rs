//! Choosing the next token from its scores: drawn on the host, the best one found on the device.

use burn::tensor::{DType, Device, Int, Tensor};

use crate::transfer::{kept, read};

/// How a token is drawn; the words are Hugging Face's `generation_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the scores; 0 always takes the best token (greedy).
    pub temperature: f32,
    /// Only the best so many tokens; 0 for all.
    pub top_k: usize,
    /// Only the best tokens that together have this probability; 1 for all.
    pub top_p: f32,
    /// Scores of tokens already generated are divided (if positive) or multiplied (if negative) by this; 1 changes nothing.
    pub repetition_penalty: f32,
}

impl Sampling {
    /// The best token, always.
    pub const GREEDY: Self =
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 };

    /// The same, if every number of it makes sense.
    ///
    /// # Errors
    /// What must hold, in the words of `generation_config.json`.
    pub fn checked(self) -> Result<Self, &'static str> {
        let sound = [self.temperature, self.top_p, self.repetition_penalty];
        let sound = sound.iter().all(|number| number.is_finite() && *number >= 0.0);
        if sound && self.repetition_penalty > 0.0 {
            return Ok(self);
        }
        Err("temperature and top_p must not be negative, repetition_penalty must be above 0")
    }

    /// Whether the best token is taken whatever was generated before ([`best`]).
    pub fn is_best(&self) -> bool {
        self.temperature <= 0.0 && self.repetition_penalty.total_cmp(&1.0).is_eq()
    }

    /// Picks a token; `uniform` is a random number in `[0, 1)`, not looked at when greedy.
    ///
    /// Ties go to the lower token id.
    ///
    /// # Panics
    /// If `scores` is empty.
    pub fn pick(&self, scores: &[f32], generated: &[i32], uniform: f32) -> i32 {
        let mut scores = scores.to_vec();
        self.penalise(&mut scores, generated);
        let better = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        if self.temperature <= 0.0 {
            return (0..scores.len()).min_by(better).expect("a vocabulary has tokens") as i32;
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        if (1..order.len()).contains(&self.top_k) {
            order.select_nth_unstable_by(self.top_k, better);
            order.truncate(self.top_k);
        }
        order.sort_unstable_by(better);
        let best = scores[order[0]];
        let mut weights: Vec<f32> =
            order.iter().map(|i| ((scores[*i] - best) / self.temperature).exp()).collect();
        self.cut_tail(&mut weights);
        draw(&order, &weights, uniform)
    }

    /// Hugging Face's `RepetitionPenaltyLogitsProcessor`.
    fn penalise(&self, scores: &mut [f32], generated: &[i32]) {
        let mut seen: Vec<i32> = generated.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            let score = &mut scores[token as usize];
            *score = if *score > 0.0 {
                *score / self.repetition_penalty
            } else {
                *score * self.repetition_penalty
            };
        }
    }

    /// Zero weight behind the smallest head that has probability `top_p`; the best token always stays.
    fn cut_tail(&self, weights: &mut Vec<f32>) {
        let total: f32 = weights.iter().sum();
        let mut before = 0.0;
        let kept = weights.iter().take_while(|weight| {
            let keep = before < self.top_p * total;
            before += **weight;
            keep
        });
        let kept = kept.count().max(1);
        weights.truncate(kept);
    }
}

/// The best token, found on the device, so that two numbers are read and not a row; `None` where a score is not finite.
///
/// Ties go to the lower token id, as those of [`Sampling::pick`].
///
/// # Shapes
/// - `scores`: `[vocabulary]`
pub fn best(scores: Tensor<1>) -> Option<i32> {
    let scores = scores.cast(DType::F32);
    let vocabulary = scores.dims()[0];
    let count = |device: &Device| Tensor::arange(0..vocabulary as i64, device);
    let ids = kept::<1, Int>(("ids", vec![vocabulary as u64]), &scores.device(), count);
    let worse = scores.clone().lower(scores.clone().max().expand([vocabulary]));
    // Ids are whole in f32 up to 2^24; a sum of zeros is one of NaN where any score is not finite.
    let id = ids.mask_fill(worse, vocabulary as i64).min().float().cast(DType::F32);
    let sound = (scores * 0.0).sum();
    let found: Vec<f32> = read(Tensor::cat(vec![id, sound], 0)).iter().collect();
    (found[1] == 0.0).then_some(found[0] as i32)
}

fn draw(order: &[usize], weights: &[f32], uniform: f32) -> i32 {
    let mut left = uniform * weights.iter().sum::<f32>();
    for (index, weight) in order.iter().zip(weights) {
        left -= weight;
        if left < 0.0 {
            return *index as i32;
        }
    }
    order[weights.len() - 1] as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sampling: &Sampling, generated: &[i32], uniform: f32, want: i32) {
        assert_eq!(sampling.pick(&[1.0, 3.0, 2.0, 3.0], generated, uniform), want, "{sampling:?}");
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let plain = || Sampling::GREEDY;
        assert_eq!(plain().checked(), Ok(plain()));
        for wrong in [
            Sampling { temperature: f32::NAN, ..plain() },
            Sampling { temperature: -1.0, ..plain() },
            Sampling { top_p: f32::INFINITY, ..plain() },
            Sampling { repetition_penalty: 0.0, ..plain() },
        ] {
            assert!(wrong.clone().checked().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn greedy_takes_the_best_and_the_lower_id_of_equals() {
        check(&Sampling::GREEDY, &[], 0.9, 1);
        check(&Sampling { repetition_penalty: 2.0, ..Sampling::GREEDY }, &[1, 1], 0.0, 3);
        check(&Sampling { repetition_penalty: 2.0, ..Sampling::GREEDY }, &[1, 3], 0.0, 2);
    }

    #[test]
    fn the_device_finds_the_token_that_the_host_does() {
        let device = Device::flex();
        let find = |row: &[f32]| best(Tensor::from_floats(row, &device));
        let mut state = 1_u32;
        for length in [1, 2, 7, 151] {
            for _ in 0..50 {
                // Few values, so that many are equal.
                let mut value = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    ((state >> 28) as f32 - 7.5) * 0.5
                };
                let row: Vec<f32> = (0..length).map(|_| value()).collect();
                assert_eq!(find(&row), Some(Sampling::GREEDY.pick(&row, &[], 0.0)), "{row:?}");
            }
        }
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(find(&[1.0, wrong, 2.0]), None);
            assert_eq!(find(&[wrong; 3]), None);
        }
    }

    #[test]
    fn sampling_keeps_to_its_head() {
        let warm = Sampling { temperature: 1.0, ..Sampling::GREEDY };
        check(&warm, &[], 0.0, 1);
        check(&warm, &[], 0.9999, 0);
        check(&Sampling { top_k: 2, ..warm.clone() }, &[], 0.9999, 3);
        check(&Sampling { top_k: 1, ..warm.clone() }, &[], 0.9999, 1);
        check(&Sampling { top_k: 9, ..warm.clone() }, &[], 0.9999, 0);
        check(&Sampling { top_p: 0.1, ..warm }, &[], 0.9999, 1);
    }
}
