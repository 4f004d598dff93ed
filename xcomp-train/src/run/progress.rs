//! What a user sees while a run goes on: the last step's line beside a bar on a terminal, every line elsewhere.

use crate::show::numbers::duration;
use crate::show::progress::{Progress, say};
use crate::train::event::Event;
use crate::train::meter::Record;

/// Shows events.
#[derive(Debug)]
pub struct RunProgress {
    /// From the first step on.
    bar: Option<Progress>,
    steps: usize,
}

impl RunProgress {
    /// Nothing is shown yet.
    pub fn new(steps: usize) -> Self {
        Self { bar: None, steps }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started { step, steps } => {
                self.line(&match step {
                    0 => format!("starts: {steps} steps"),
                    step => format!("goes on after step {step} of {steps}"),
                });
                self.bar = Some(Progress::new("", *steps).from(*step));
            }
            Event::Note(note) => self.line(note),
            Event::Step(record) => self.step(record),
            Event::Validated(held_out) => self.line(&format!(
                "step {}: held-out loss {:.4} over {} samples, {:.1} s",
                held_out.step, held_out.eval_loss.0, held_out.eval_samples, held_out.eval_s
            )),
            Event::Saved(published) => self.line(&format!(
                "saved {} in {:.1} s",
                published.saved.folder.display(),
                published.seconds
            )),
        }
    }

    fn step(&self, record: &Record) {
        let line = step_line(record, self.steps);
        match self.bar.as_ref().filter(|bar| bar.moves()) {
            Some(bar) => {
                bar.at(record.step);
                bar.note(&line);
            }
            None => say(&line),
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        self.bar.as_ref().map_or_else(|| say(text), |bar| bar.line(text));
    }
}

/// `step 100/2247 4.5% | loss 0.7123 | gnorm 2.31 | lr 9.9e-6 | 1.02 smp/s 300 fr/s | mfu 31% | wait 1% | mem 44.4G | eta 18h42`.
pub fn step_line(record: &Record, steps: usize) -> String {
    let left_s = record.step_s * steps.saturating_sub(record.step) as f64;
    let memory = match record.peak_gib {
        Some(gib) => format!("mem {gib:.1}G"),
        None => format!("host mem {:.1}G", record.rss_gib), // the device does not say
    };
    let mfu = record.mfu_pct.map_or(String::new(), |mfu| format!(" | mfu {mfu:.0}%"));
    let percent = |seconds: f64| 100.0 * seconds / record.step_s.max(f64::MIN_POSITIVE);
    let ranks = record.exchange.map_or(String::new(), |spent| {
        let (moved, waited) = (percent(spent.reduce_s + spent.gather_s), percent(spent.wait_s));
        format!(" | exchange {moved:.0}% ranks wait {waited:.0}%")
    });
    let limited = match record.limited {
        0 => String::new(),
        limited => format!(" | {limited} of {} with fewer frames", record.samples),
    };
    format!(
        "step {}/{steps} {:.1}% | loss {:.4} | gnorm {:.2} | lr {:.1e} | {:.2} smp/s {:.0} fr/s{mfu} | wait {:.0}%{ranks}{limited} | {memory} | eta {}",
        record.step,
        100.0 * record.step as f64 / steps as f64,
        record.loss,
        record.grad_norm,
        record.learning_rate,
        record.samples_per_sec,
        record.frames_per_sec,
        record.data_wait_pct,
        duration(left_s)
    )
}

#[cfg(test)]
mod tests {
    use crate::train::owners::Exchange;

    use super::*;

    #[test]
    fn a_step_is_one_line() {
        let record: Record = serde_json::from_value(serde_json::json!({
            "step": 100, "loss": 0.71234, "grad_norm": 2.309, "learning_rate": 9.9e-6, "lr_used": 1e-5,
            "epoch": 0.04, "samples": 32, "frames": 9600, "tokens_in": 1, "tokens_mean": 1.0,
            "step_s": 31.36, "data_wait_pct": 1.2, "samples_per_sec": 1.02, "frames_per_sec": 300.0,
            "tokens_per_sec": 1.0, "mfu_pct": 31.4, "peak_gib": 44.42,
        }))
        .unwrap();
        assert_eq!(
            step_line(&record, 2247),
            "step 100/2247 4.5% | loss 0.7123 | gnorm 2.31 | lr 9.9e-6 | 1.02 smp/s 300 fr/s | mfu 31% | wait 1% | mem 44.4G | eta 18h42"
        );
        let exchange = Exchange { wait_s: 0.6272, reduce_s: 1.0, gather_s: 0.568 };
        let line = step_line(&Record { exchange: Some(exchange), ..record }, 2247);
        assert!(line.contains(" | wait 1% | exchange 5% ranks wait 2% | mem"), "{line}");
    }
}
