//! What one step of AdamW is computed with.

use crate::ops::random::Key;

/// The constants of one step (torch `optim/adamw.py`, `_single_tensor_adamw`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    pub beta2: f64,
    /// Keeps the division finite; added outside the root.
    pub epsilon: f64,
    /// `1 - beta1^t`.
    pub correction1: f64,
    /// `1 - beta2^t`.
    pub correction2: f64,
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// What is rounded by chance follows from them.
    pub keys: StepKeys,
}

/// What random bits of one step on one tensor follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepKeys {
    /// Of the weight.
    pub weight: Key,
    /// Of the mean gradient.
    pub mean: Key,
    /// Of the mean squared gradient.
    pub mean_square: Key,
}

impl StepKeys {
    /// Those of 1-based `step` on the tensor called `name` in the run of a seed.
    pub fn new(seed: u64, step: u64, name: &str) -> Self {
        let key = |what: &str| Key::new(seed, step, &format!("{what} {name}"));
        Self { weight: key("weight"), mean: key("exp_avg"), mean_square: key("exp_avg_sq") }
    }
}
