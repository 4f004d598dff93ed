//! Requests to stop: signals and the time budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};

use crate::error::Error;

/// Bytes that a disk is trusted to write in a second, until a save has been timed.
const BYTES_PER_S: f64 = 100e6;
/// A save is given so many times the longest one so far.
const SAVE_MARGIN: f64 = 1.5;

/// Signals and a time budget that stop the loop.
#[derive(Debug, Clone)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    /// How often it may still be looked at before it asks.
    looks: Option<Arc<AtomicUsize>>,
    deadline: Option<Instant>,
    save_s: f64,
    micro_step_s: f64,
}

impl Stop {
    /// Nobody asks.
    pub fn never() -> Self {
        let signalled = Arc::new(AtomicBool::new(false));
        Self { signalled, looks: None, deadline: None, save_s: 0.0, micro_step_s: 0.0 }
    }

    /// Asks once it has been looked at so many times: at the same place in every run.
    pub fn after_looks(looks: usize) -> Self {
        Self { looks: Some(Arc::new(AtomicUsize::new(looks))), ..Self::never() }
    }

    /// The first SIGINT, SIGTERM or SIGUSR1 (which schedulers send before a job ends) asks; the second ends the process at once.
    ///
    /// # Errors
    /// If the system takes no handler.
    pub fn on_signals(budget: Option<Duration>) -> Result<Self, Error> {
        let mut stop = Self::never();
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            let flag = || Arc::clone(&stop.signalled);
            // In this order: a second signal finds the flag set and shuts down.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag())
                .and_then(|_| signal_hook::flag::register(signal, flag()))
                .map_err(|source| Error::File {
                    action: "cannot handle signals:",
                    path: "signal".into(),
                    source,
                })?;
        }
        stop.deadline = budget.map(|budget| Instant::now() + budget);
        Ok(stop)
    }

    /// The end of standard input asks too: of a process that another one started, and that must not outlive it.
    pub fn at_end_of_input(&self) {
        let flag = Arc::clone(&self.signalled);
        on_end_of_input(move || flag.store(true, Ordering::SeqCst));
    }

    /// Why the loop must stop now, if it must: asked before every micro-step.
    pub fn asked(&self) -> Option<&'static str> {
        let spent = |looks: &Arc<AtomicUsize>| {
            let one_less = |left: usize| left.checked_sub(1);
            looks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err()
        };
        if self.signalled.load(Ordering::SeqCst) || self.looks.as_ref().is_some_and(spent) {
            return Some("a signal");
        }
        let needed = Duration::from_secs_f64(SAVE_MARGIN * self.save_s + self.micro_step_s);
        let late = self.deadline.is_some_and(|deadline| Instant::now() + needed >= deadline);
        late.then_some("the budget")
    }

    /// How large a checkpoint is, before one has been timed.
    pub fn expect_save_of(&mut self, bytes: u64) {
        self.save_s = self.save_s.max(bytes as f64 / BYTES_PER_S);
    }

    /// How long a save took.
    pub fn save_took(&mut self, seconds: f64) {
        self.save_s = self.save_s.max(seconds);
    }

    /// How long a micro-step took.
    pub fn micro_step_took(&mut self, seconds: f64) {
        self.micro_step_s = self.micro_step_s.max(seconds);
    }
}

/// Lets a write beyond `ulimit -f` fail as other writes do, with an error that names the file; its signal would end the process without a word.
///
/// # Errors
/// If the system takes no handler.
pub fn outlive_file_limits() -> std::io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(|_| ())
}

/// Does something once standard input has ended.
pub fn on_end_of_input(then: impl FnOnce() + Send + 'static) {
    std::thread::spawn(|| {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap_or_default();
        then();
    });
}

/// `90`, `45s`, `9m`, `1.5h`.
///
/// # Errors
/// If it is none of these.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit).ok())
        .ok_or_else(|| format!("`{text}` is no duration; write 45s, 9m or 1.5h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let check = |text: &str, seconds: f64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        };
        check("90", 90.0);
        check("45s", 45.0);
        check("9m", 540.0);
        check("1.5h", 5400.0);
        for wrong in ["", "m", "9x", "-3s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_budget_leaves_time_to_save() {
        let mut stop = Stop::never();
        assert_eq!(stop.asked(), None);
        stop.deadline = Some(Instant::now() + Duration::from_secs(100));
        stop.save_took(20.0);
        stop.micro_step_took(60.0);
        assert_eq!(stop.asked(), None);
        stop.micro_step_took(80.0);
        assert_eq!(stop.asked(), Some("the budget"));
    }
}
