//! What a user sees while a run goes on: one moving line on a terminal, plain lines elsewhere. All of it on stderr.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::event::Event;
use crate::train::meter::Record;

/// Shows events.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: usize,
}

impl Progress {
    /// A line that moves if stderr is a terminal.
    pub fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template("{msg}").expect("a template of one field"));
            bar
        });
        Self { bar, steps }
    }

    /// Shows an event.
    pub fn show(&self, event: &Event) {
        match event {
            Event::Started { step: 0, steps } => self.line(&format!("starts: {steps} steps")),
            Event::Started { step, steps } => {
                self.line(&format!("goes on after step {step} of {steps}"));
            }
            Event::Note(note) => self.line(note),
            Event::Step(record) => {
                let line = step_line(record, self.steps);
                match &self.bar {
                    Some(bar) => bar.set_message(line),
                    None => self.line(&line),
                }
            }
            Event::Saved(published) => self.line(&format!(
                "saved {} in {:.1} s",
                published.saved.folder.display(),
                published.seconds
            )),
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // A closed stderr must not end a run.
            None => writeln!(std::io::stderr(), "{text}").unwrap_or_default(),
        }
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
    format!(
        "step {}/{steps} {:.1}% | loss {:.4} | gnorm {:.2} | lr {:.1e} | {:.2} smp/s {:.0} fr/s{mfu} | wait {:.0}% | {memory} | eta {}",
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

/// `18h42`, `7m05`, `12s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}"),
        (h, m, _) => format!("{h}h{m:02}"),
    }
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn durations_are_short() {
        let check = |seconds, text: &str| assert_eq!(duration(seconds), text);
        check(12.4, "12s");
        check(425.0, "7m05");
        check(67_329.0, "18h42");
    }
}
