//! Long work as it goes on, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::numbers::duration;

/// Work that ends sooner is not spoken of.
const FIRST: Duration = Duration::from_secs(1);
/// From picture to picture on a terminal.
const FRAME: Duration = Duration::from_millis(200);
/// From line to line elsewhere: the first ones, and those of work that takes hours.
const OFTEN: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_mins(1);

/// A piece of work, shown from one second on until it is dropped.
#[derive(Debug)]
pub struct Progress {
    state: Arc<Mutex<State>>,
    bar: Option<ProgressBar>,
    end: Option<Sender<()>>,
    shower: Option<JoinHandle<()>>,
}

/// How far the work is.
#[derive(Debug)]
struct State {
    what: String,
    begun: Instant,
    /// Done before `begun`.
    before: usize,
    done: usize,
    all: Option<usize>,
    note: String,
}

impl Progress {
    /// Work of so many pieces, such as `samples`; without a number, how many there are is not known.
    ///
    /// Work without a name is told of by its notes on a terminal, and elsewhere by nothing but its lines.
    pub fn new(what: &str, all: impl Into<Option<usize>>) -> Self {
        let (what, begun, all) = (what.to_owned(), Instant::now(), all.into());
        let state = State { what, begun, before: 0, done: 0, all, note: String::new() };
        let state = Arc::new(Mutex::new(state));
        let bar = std::io::stderr().is_terminal().then(|| bar(all));
        let (end, ended) = channel();
        let (shared, drawn) = (Arc::clone(&state), bar.clone());
        let show = move || {
            let mut wait = FIRST;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = shown(&lock(&shared), drawn.as_ref(), wait);
            }
        };
        // Without a thread the work goes on unseen.
        let shower = std::thread::Builder::new().name("progress".into()).spawn(show).ok();
        Self { state, bar, end: Some(end), shower }
    }

    /// So much was done before this work began.
    #[must_use]
    pub fn from(self, before: usize) -> Self {
        let mut state = lock(&self.state);
        (state.before, state.done) = (before, before);
        drop(state);
        self
    }

    /// So much is done by now.
    pub fn at(&self, done: usize) {
        lock(&self.state).done = done;
    }

    /// So much of so much is done by now.
    pub fn of(&self, done: usize, all: usize) {
        let mut state = lock(&self.state);
        (state.done, state.all) = (done, Some(all));
    }

    /// One more is done.
    pub fn step(&self) {
        lock(&self.state).done += 1;
    }

    /// Words behind the numbers.
    pub fn note(&self, words: &str) {
        words.clone_into(&mut lock(&self.state).note);
    }

    /// Whether it stands on a terminal.
    pub fn moves(&self) -> bool {
        self.bar.is_some()
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        self.shower.take().map(JoinHandle::join);
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// Does something that may take long and has no parts to count.
pub fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let _shown = Progress::new(what, None);
    work()
}

/// A line on stderr; a closed stderr is not worth an error.
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap_or_default();
}

/// A state stays whole if its holder panics.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn bar(all: Option<usize>) -> ProgressBar {
    let template =
        if all.is_some() { "{spinner} [{bar:16}] {wide_msg}" } else { "{spinner} {wide_msg}" };
    let style = ProgressStyle::with_template(template).expect("a template of known fields");
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(all.map(|all| all as u64), target);
    bar.with_style(style.progress_chars("=> "))
}

/// Shows a state; gives the time until the next look.
fn shown(state: &State, bar: Option<&ProgressBar>, waited: Duration) -> Duration {
    let text = state.text(state.begun.elapsed().as_secs_f64());
    let Some(bar) = bar else {
        if !state.what.is_empty() {
            say(&text);
        }
        return (waited * 2).clamp(OFTEN, SELDOM);
    };
    state.all.iter().for_each(|all| bar.set_length(*all as u64));
    bar.set_position(state.done as u64);
    bar.set_message(text);
    bar.tick();
    FRAME
}

impl State {
    /// `samples 120/2000 6.0% | 3.2/s | eta 9m47 | the note`.
    fn text(&self, seconds: f64) -> String {
        let Self { what, before, done, all, note, .. } = self;
        if what.is_empty() {
            return note.clone();
        }
        let own = done.saturating_sub(*before);
        let rate = match own as f64 / seconds {
            rate if rate >= 1.0 => format!("{rate:.1}/s"),
            rate => format!("{:.1} s each", 1.0 / rate),
        };
        let left = |all: usize| seconds / own as f64 * all.saturating_sub(*done) as f64;
        let mut parts = match (all, own) {
            (None, 0) => vec![what.clone(), duration(seconds)],
            (None, _) => vec![format!("{what} {done}"), rate, duration(seconds)],
            (Some(all), _) => {
                let share = 100.0 * *done as f64 / (*all).max(1) as f64;
                let eta = if own == 0 { "?".into() } else { duration(left(*all)) };
                vec![format!("{what} {done}/{all} {share:.1}%"), rate, format!("eta {eta}")]
            }
        };
        if own == 0 && all.is_some() {
            parts.remove(1);
        }
        parts.extend((!note.is_empty()).then(|| note.clone()));
        parts.join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let check = |(before, done), all, seconds, note: &str, want| {
            let (what, begun, note) = ("samples".into(), Instant::now(), note.into());
            assert_eq!(State { what, begun, before, done, all, note }.text(seconds), want);
        };
        check((0, 120), Some(2000), 37.5, "", "samples 120/2000 6.0% | 3.2/s | eta 9m48");
        check(
            (0, 2),
            Some(3),
            60.0,
            "1 right",
            "samples 2/3 66.7% | 30.0 s each | eta 30s | 1 right",
        );
        check((5, 6), Some(8), 2.0, "", "samples 6/8 75.0% | 2.0 s each | eta 4s");
        check((5, 5), Some(8), 2.0, "", "samples 5/8 62.5% | eta ?");
        check((0, 0), None, 65.0, "", "samples | 1m05");
        check((0, 40), None, 20.0, "", "samples 40 | 2.0/s | 20s");
    }
}
