//! A run laid over the released one: inside or outside its band, window by window.
//!
//! The released run's samples came in another order than any run here, so single steps say nothing;
//! means over windows of steps must agree within what chance explains.

use serde::Serialize;

use crate::plan::lr::LrSchedule;
use crate::recipe::tables::{LrKind, LrTable};
use crate::run::metrics::broken;
use crate::train::meter::Record;

/// Means and standard deviations of the released run (facts of its public log, 21 windows of 107 steps).
const RELEASED: &str = include_str!("released/released_run.csv");
/// Optimizer steps of the released run.
const STEPS: usize = 2247;
/// Its peak learning rate.
const PEAK: f64 = 1e-5;
/// Its warm-up.
const WARMUP_RATIO: f64 = 0.03;
/// A mean may differ by so many standard errors of the difference.
const BAND: f64 = 4.0;
/// Learning rates agree to this part.
const RATE_TOLERANCE: f64 = 1e-6;

/// Steps of the released run, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// First step.
    pub first: usize,
    /// Last step.
    pub last: usize,
    /// Mean and standard deviation of the loss.
    pub loss: (f64, f64),
    /// Mean and standard deviation of the gradient norm.
    pub grad_norm: (f64, f64),
}

/// One number over one window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verdict {
    /// The run's mean.
    pub run: f64,
    /// The released run's mean.
    pub reference: f64,
    /// How far they may be apart.
    pub allowed: f64,
    /// Whether they are closer.
    pub inside: bool,
}

/// One window of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Row {
    /// First step.
    pub first: usize,
    /// Last step.
    pub last: usize,
    /// Steps that the run logged in it.
    pub logged: usize,
    /// Loss.
    pub loss: Verdict,
    /// Gradient norm before clipping.
    pub grad_norm: Verdict,
}

/// A run beside the released one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Windows in which the run logged enough steps to speak of a mean.
    pub rows: Vec<Row>,
    /// Largest relative difference of a logged learning rate.
    pub learning_rate_off: f64,
    /// Whether everything is inside.
    pub inside: bool,
    /// Numbers of lines of the run's metrics that cannot be read, from 1.
    pub broken_lines: Vec<usize>,
}

/// The windows of the released run.
///
/// # Panics
/// Never: the table is part of the program.
pub fn windows() -> Vec<Window> {
    let lines = RELEASED.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    lines
        .map(|line| {
            let n: Vec<f64> =
                line.split(',').map(|cell| cell.parse().expect("a table of numbers")).collect();
            let (first, last) = (n[0] as usize, n[1] as usize);
            Window { first, last, loss: (n[2], n[3]), grad_norm: (n[4], n[5]) }
        })
        .collect()
}

/// Lays records over the released run.
pub fn compare<'a>(records: impl IntoIterator<Item = &'a Record>) -> Comparison {
    let records: Vec<&Record> = records.into_iter().collect();
    let rows: Vec<Row> = windows().iter().filter_map(|window| row(window, &records)).collect();
    let learning_rate_off = records.iter().map(|record| rate_off(record)).fold(0.0, f64::max);
    let inside = !rows.is_empty()
        && rows.iter().all(|row| row.loss.inside && row.grad_norm.inside)
        && learning_rate_off <= RATE_TOLERANCE;
    Comparison { rows, learning_rate_off, inside, broken_lines: vec![] }
}

/// A window with at least ten logged steps.
fn row(window: &Window, records: &[&Record]) -> Option<Row> {
    const FEWEST: usize = 10;
    let own: Vec<&&Record> =
        records.iter().filter(|r| (window.first..=window.last).contains(&r.step)).collect();
    if own.len() < FEWEST {
        return None;
    }
    let steps = window.last - window.first + 1;
    let verdict = |number: fn(&Record) -> f64, (reference, sd): (f64, f64)| {
        let run = own.iter().map(|record| number(record)).sum::<f64>() / own.len() as f64;
        let allowed = BAND * sd * (1.0 / own.len() as f64 + 1.0 / steps as f64).sqrt();
        Verdict { run, reference, allowed, inside: (run - reference).abs() <= allowed }
    };
    Some(Row {
        first: window.first,
        last: window.last,
        logged: own.len(),
        loss: verdict(|record| record.loss, window.loss),
        grad_norm: verdict(|record| record.grad_norm, window.grad_norm),
    })
}

/// The released run's logged rates follow Hugging Face's formula to 6e-14, so the formula stands for them.
fn rate_off(record: &Record) -> f64 {
    let table = LrTable {
        lr_scheduler_type: LrKind::Cosine,
        warmup_ratio: WARMUP_RATIO,
        ..LrTable::default()
    };
    let want = PEAK * LrSchedule::new(&table, STEPS).factor(record.step);
    (record.learning_rate - want).abs() / want.max(f64::MIN_POSITIVE.sqrt())
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "steps          logged  loss    reference  allowed   grad norm  reference  allowed"
        )?;
        for row in &self.rows {
            let (loss, norm) = (&row.loss, &row.grad_norm);
            let mark = |verdict: &Verdict| if verdict.inside { ' ' } else { '!' };
            writeln!(
                f,
                "{:>5}..{:<6} {:>7}  {:.4}{} {:.4}   ±{:.4}   {:>8.3}{}  {:>8.3}  ±{:.3}",
                row.first,
                row.last,
                row.logged,
                loss.run,
                mark(loss),
                loss.reference,
                loss.allowed,
                norm.run,
                mark(norm),
                norm.reference,
                norm.allowed
            )?;
        }
        if let Some(note) = broken(&self.broken_lines) {
            writeln!(f, "{note}")?;
        }
        if self.rows.is_empty() {
            writeln!(f, "too few steps for a mean: a window needs 10 logged steps")?;
        }
        writeln!(f, "learning rate  at most {:.1e} off, relative", self.learning_rate_off)?;
        let verdict = if self.inside { "inside" } else { "outside" };
        writeln!(f, "verdict        {verdict} the band of the released run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that logs the window's own means, moved by `shift` allowed distances.
    fn records(shift: f64) -> Vec<Record> {
        let table =
            LrTable { lr_scheduler_type: LrKind::Cosine, warmup_ratio: 0.03, ..LrTable::default() };
        let lr = LrSchedule::new(&table, STEPS);
        let of = |window: Window| {
            let allowed = |sd: f64| BAND * sd * (2.0_f64 / 107.0).sqrt();
            (window.first..=window.last).map(move |step| {
                serde_json::from_value(serde_json::json!({
                    "step": step, "loss": window.loss.0 + shift * allowed(window.loss.1),
                    "grad_norm": window.grad_norm.0, "learning_rate": 1e-5 * lr.factor(step),
                    "lr_used": 0.0, "epoch": 0.0, "samples": 32, "frames": 1, "tokens_in": 1,
                    "tokens_mean": 1.0, "step_s": 1.0, "data_wait_pct": 0.0, "samples_per_sec": 1.0,
                    "frames_per_sec": 1.0, "tokens_per_sec": 1.0, "mfu_pct": null, "peak_gib": 1.0,
                }))
                .unwrap()
            })
        };
        windows().into_iter().flat_map(of).collect()
    }

    #[test]
    fn the_band_holds_what_chance_explains_and_nothing_else() {
        let near = compare(&records(0.9));
        assert!(near.inside && near.rows.len() == 21, "{near}");
        assert!(!compare(&records(1.1)).inside);
        assert!(!compare(&records(0.0)[..5]).inside, "too few steps prove nothing");
        let mut other_rate = records(0.0);
        other_rate[100].learning_rate *= 1.001;
        assert!(!compare(&other_rate).inside);
    }
}
