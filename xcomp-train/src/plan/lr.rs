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
    /// Where the rate ends, as a share of the peak.
    floor: f64,
    /// Last steps of a stable rate's decay.
    decay: usize,
}

impl LrSchedule {
    /// The schedule of a run of `steps` optimizer steps.
    ///
    /// The warm-up is `ceil(warmup_ratio * steps)` unless `warmup_steps` is given (`training_args.py`, `get_warmup_steps`).
    pub fn new(table: &LrTable, steps: usize) -> Self {
        let by_ratio = (table.warmup_ratio * steps as f64).ceil() as usize;
        let warmup = if table.warmup_steps > 0 { table.warmup_steps } else { by_ratio };
        let (kind, floor) = (table.lr_scheduler_type, table.min_lr_rate);
        Self { kind, warmup, steps, floor, decay: table.decay_steps }
    }

    /// Steps that warm up.
    pub fn warmup(&self) -> usize {
        self.warmup
    }

    /// Why the steps of the run do not hold it; nothing where they do.
    pub fn does_not_fit(&self) -> Option<String> {
        let Self { warmup, steps, decay, .. } = *self;
        (decay > 0 && warmup + decay > steps).then(|| {
            format!("[schedule] decay_steps: {decay} and a warm-up of {warmup} are more than the {steps} steps of the run")
        })
    }

    /// Share of the peak rate that the update of 0-based `step` uses; the first is 0 if there is a warm-up.
    ///
    /// As `get_scheduler` of `transformers` 4.48 (`optimization.py`); the stable steps are those that warm-up and decay leave.
    ///
    /// What Hugging Face logs at step `s` (1-based) is this at `s`: the rate of the update after it.
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warmup {
            return step as f64 / self.warmup.max(1) as f64;
        }
        let rest = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let progress = (step - self.warmup) as f64 / rest;
        let falling = |progress: f64| 0.5 * (1.0 + (PI * progress).cos());
        match self.kind {
            LrKind::Cosine => falling(progress).max(0.0),
            LrKind::CosineWithMinLr => {
                (falling(progress) * (1.0 - self.floor) + self.floor).max(0.0)
            }
            LrKind::WarmupStableDecay => {
                let stable = self.steps.saturating_sub(self.decay);
                let value = match step.checked_sub(stable) {
                    None => return 1.0,
                    Some(into) if into < self.decay => {
                        falling(into as f64 / self.decay as f64).max(0.0)
                    }
                    Some(_) => 0.0,
                };
                (1.0 - self.floor) * value + self.floor
            }
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

    /// Rates of `get_scheduler(name, torch.optim.SGD([p], lr=1.0), ..)` of `transformers` 4.48.3, one after each `step()`.
    #[test]
    #[rustfmt::skip]
    fn every_kind_has_the_rates_of_transformers() {
        use LrKind::{Constant, Cosine, CosineWithMinLr, Linear, WarmupStableDecay};
        let rows: &[(LrKind, usize, f64, usize, &[f64])] = &[
            (Linear, 2, 0.0, 0, &[0.0, 0.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]),
            (Constant, 2, 0.0, 0, &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (Constant, 0, 0.0, 0, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (Cosine, 2, 0.0, 0, &[0.0, 0.5, 1.0, 0.904_508_497_187_473_7, 0.654_508_497_187_473_7, 0.345_491_502_812_526_33, 0.095_491_502_812_526_33, 0.0]),
            (CosineWithMinLr, 2, 0.1, 0, &[0.0, 0.5, 1.0, 0.914_057_647_468_726_3, 0.689_057_647_468_726_3, 0.410_942_352_531_273_76, 0.185_942_352_531_273_72, 0.1]),
            // num_stable_steps = 3, num_decay_steps = 5, min_lr_ratio = 0.1
            (WarmupStableDecay, 2, 0.1, 5, &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.914_057_647_468_726_3, 0.689_057_647_468_726_3, 0.410_942_352_531_273_76, 0.185_942_352_531_273_72, 0.1]),
            // num_stable_steps = 3, num_decay_steps = 3
            (WarmupStableDecay, 0, 0.0, 3, &[1.0, 1.0, 1.0, 1.0, 0.75, 0.250_000_000_000_000_1, 0.0]),
        ];
        for (kind, warmup_steps, min_lr_rate, decay_steps, want) in rows {
            let (kind, steps) = (*kind, want.len() - 1);
            let (warmup_steps, min_lr_rate, decay_steps) = (*warmup_steps, *min_lr_rate, *decay_steps);
            let table = LrTable { lr_scheduler_type: kind, warmup_steps, min_lr_rate, decay_steps, ..LrTable::default() };
            let schedule = LrSchedule::new(&table, steps);
            assert_eq!(schedule.does_not_fit(), None);
            for (step, want) in want.iter().enumerate() {
                let got = schedule.factor(step);
                assert!((got - want).abs() <= 1e-15, "{kind:?} at {step}: {got}, not {want}");
            }
        }
    }

    #[test]
    fn a_decay_that_is_longer_than_the_run_is_refused() {
        let kind = LrKind::WarmupStableDecay;
        let table = LrTable {
            lr_scheduler_type: kind,
            warmup_steps: 3,
            decay_steps: 5,
            ..LrTable::default()
        };
        assert_eq!(LrSchedule::new(&table, 8).does_not_fit(), None);
        let why = LrSchedule::new(&table, 7).does_not_fit().unwrap();
        assert!(
            why.contains("decay_steps: 5 and a warm-up of 3 are more than the 7 steps"),
            "{why}"
        );
    }

    #[test]
    fn a_given_warm_up_wins_over_the_ratio() {
        let table = LrTable { warmup_steps: 3, warmup_ratio: 0.5, ..LrTable::default() };
        assert_eq!(LrSchedule::new(&table, 100).warmup(), 3);
    }
}
