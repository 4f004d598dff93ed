//! The learning rate over the run, exactly as Hugging Face computes it.

use std::f64::consts::PI;

use crate::recipe::tables::{LrKind, LrTable};

/// What one parameter is stepped with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// A learning rate for every optimizer step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrSchedule {
    kind: LrKind,
    warmup: usize,
    steps: usize,
}

impl LrSchedule {
    /// The schedule of a run of `steps` optimizer steps.
    ///
    /// The warm-up is `ceil(warmup_ratio * steps)` unless `warmup_steps` is given (`training_args.py`, `get_warmup_steps`).
    pub fn new(table: &LrTable, steps: usize) -> Self {
        let by_ratio = (table.warmup_ratio * steps as f64).ceil() as usize;
        let warmup = if table.warmup_steps > 0 { table.warmup_steps } else { by_ratio };
        Self { kind: table.lr_scheduler_type, warmup, steps }
    }

    /// Steps that warm up.
    pub fn warmup(&self) -> usize {
        self.warmup
    }

    /// Share of the peak rate that the update of 0-based `step` uses; the first is 0 if there is a warm-up.
    ///
    /// What Hugging Face logs at step `s` (1-based) is this at `s`: the rate of the update after it.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup.max(1) as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = (step - self.warmup) as f64 / rest;
        match self.kind {
            LrKind::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            LrKind::Linear => (1.0 - progress).max(0.0),
            LrKind::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: LrKind, ratio: f64, steps: usize) -> LrSchedule {
        let table = LrTable { lr_scheduler_type: kind, warmup_ratio: ratio, ..LrTable::default() };
        LrSchedule::new(&table, steps)
    }

    #[test]
    fn the_released_run_warms_up_for_68_steps() {
        let cosine = schedule(LrKind::Cosine, 0.03, 2247);
        assert_eq!(cosine.warmup(), 68);
        // Logged at steps 1, 68, 69, 1000 and 2247 of the released run.
        for (step, logged) in [
            (1, 1.470_588_235_294_117_8e-7),
            (68, 1e-5),
            (69, 9.999_994_803e-6),
            (1000, 6.125_652_768_030_69e-6),
            (2247, 0.0),
        ] {
            let rate = 1e-5 * cosine.factor(step);
            assert!((rate - logged).abs() <= 1e-9 * logged.max(1e-12), "{step}: {rate}");
        }
        assert!(cosine.factor(0).abs() < f64::EPSILON);
    }

    #[test]
    fn linear_and_constant_follow_their_names() {
        let linear = schedule(LrKind::Linear, 0.0, 4);
        assert_eq!(
            (0..5).map(|s| linear.factor(s)).collect::<Vec<_>>(),
            [1.0, 0.75, 0.5, 0.25, 0.0]
        );
        let constant = schedule(LrKind::Constant, 0.5, 4);
        assert_eq!((0..4).map(|s| constant.factor(s)).collect::<Vec<_>>(), [0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_given_warm_up_wins_over_the_ratio() {
        let table = LrTable { warmup_steps: 3, warmup_ratio: 0.5, ..LrTable::default() };
        assert_eq!(LrSchedule::new(&table, 100).warmup(), 3);
    }
}
