//! Losses on samples that are held out of the training, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::train::meter::Raw;

/// A line of `metrics.jsonl` with the loss on held-out samples; names as Hugging Face's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Optimizer steps taken.
    pub step: usize,
    /// Mean loss, over samples or tokens as `train.loss_norm` says.
    pub eval_loss: Raw,
    /// Samples that were used.
    pub eval_samples: usize,
    /// Samples that could not be used.
    pub eval_left_out: usize,
    /// Seconds of this start that it took.
    pub eval_s: f64,
    /// Mean loss by dataset.
    pub eval_sources: BTreeMap<String, Raw>,
}

/// What a run knows of its validations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    /// Which samples they are over.
    pub(super) set: String,
    /// Steps taken when the last one was complete.
    pub(super) step: usize,
    /// Its loss; none if no sample could be used, or it was not finite.
    pub(super) loss: Option<f64>,
    /// The lowest loss so far.
    pub(super) lowest: Option<f64>,
    /// Validations since that one.
    pub(super) behind: usize,
    /// What one that was cut short has found, sample by sample, and after which step.
    pub(super) found: Vec<Found>,
    pub(super) found_at: usize,
}

/// Dataset, bits of the summed loss and weight of a sample, or why it cannot be used.
pub(super) type Found = Result<(String, u32, usize), String>;

impl Validated {
    /// Whether nothing is held out.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The loss of the weights after so many steps, where they were validated.
    pub fn loss_at(&self, step: usize) -> Option<Option<f64>> {
        (self.step == step && step > 0).then_some(self.loss)
    }

    /// Takes the loss of the weights after so many steps; one that is not finite is not below any.
    pub(super) fn take(&mut self, step: usize, loss: f64) {
        (self.step, self.loss) = (step, Some(loss).filter(|loss| loss.is_finite()));
        if self.loss.is_some_and(|loss| self.lowest.is_none_or(|lowest| loss < lowest)) {
            (self.lowest, self.behind) = (self.loss, 0);
        } else {
            self.behind += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_validations_that_are_not_below_the_lowest() {
        let mut validated = Validated::default();
        let counts: Vec<usize> = [2.0, f64::NAN, 1.5, 1.5, 1.6, f64::INFINITY, 1.4]
            .into_iter()
            .enumerate()
            .map(|(at, loss)| {
                validated.take(at + 1, loss);
                validated.behind
            })
            .collect();
        assert_eq!(counts, [0, 1, 0, 1, 2, 3, 0]);
        assert_eq!(validated.loss_at(7), Some(Some(1.4)));
        assert_eq!(validated.loss_at(6), None);
        validated.take(8, f64::NAN);
        assert_eq!(validated.loss_at(8), Some(None));
        let text = serde_json::to_string(&validated).unwrap();
        assert_eq!(serde_json::from_str::<Validated>(&text).unwrap(), validated);
    }
}
