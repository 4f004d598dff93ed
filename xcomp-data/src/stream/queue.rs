//! Between workers and the trainer: tickets out, outcomes in order, bytes bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::order::{Ticket, Tickets};
use super::policy::QuarantineEvent;
use crate::DataError;
use crate::sample::example::Example;

/// Samples that may wait for each worker, whatever their size.
pub const WAITING_PER_WORKER: usize = 16;

/// What became of a ticket.
pub(super) struct Outcome {
    pub(super) after: (u64, u64),
    pub(super) example: Result<Option<Example>, DataError>,
    pub(super) event: Option<QuarantineEvent>,
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max_bytes: usize,
    max_waiting: u64,
    stopped: Arc<AtomicBool>,
}

struct State {
    tickets: Tickets,
    /// Number of the next ticket that a worker gets, and of the next outcome that is handed out.
    issued: u64,
    taken: u64,
    exhausted: bool,
    /// Outcomes with the bytes that they hold.
    ready: BTreeMap<u64, (Outcome, usize)>,
    bytes: usize,
    peak_bytes: usize,
    decode: Duration,
}

impl Queue {
    pub(super) fn new(tickets: Tickets, max_bytes: usize, workers: usize) -> Self {
        let state = State {
            tickets,
            issued: 0,
            taken: 0,
            exhausted: false,
            ready: BTreeMap::new(),
            bytes: 0,
            peak_bytes: 0,
            decode: Duration::ZERO,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            max_bytes,
            max_waiting: (WAITING_PER_WORKER * workers) as u64,
            stopped: Arc::new(AtomicBool::new(false)),
        }
    }

    /// A worker asks for something to read; `None` ends it.
    pub(super) fn issue(&self) -> Option<(u64, Ticket)> {
        let mut state = self.lock();
        while !self.is_stopped() && state.issued - state.taken >= self.max_waiting {
            state = self.wait(state);
        }
        if self.is_stopped() || state.exhausted {
            return None;
        }
        let Some(ticket) = state.tickets.next() else {
            state.exhausted = true;
            self.changed.notify_all();
            return None;
        };
        let number = state.issued;
        state.issued += 1;
        Some((number, ticket))
    }

    /// Waits until `bytes` more fit; the sample that is handed out next always fits, else nothing would move.
    pub(super) fn reserve(&self, number: u64, bytes: usize) {
        let mut state = self.lock();
        while !self.is_stopped() && number != state.taken && state.bytes + bytes > self.max_bytes {
            state = self.wait(state);
        }
        state.bytes += bytes;
        state.peak_bytes = state.peak_bytes.max(state.bytes);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.lock().bytes -= bytes;
        self.changed.notify_all();
    }

    /// A worker hands in what became of a ticket; it had reserved `bytes`.
    pub(super) fn put(&self, number: u64, outcome: Outcome, bytes: usize, spent: Duration) {
        let mut state = self.lock();
        state.ready.insert(number, (outcome, bytes));
        state.decode += spent;
        self.changed.notify_all();
    }

    /// The trainer takes the next outcome; `None` after the last one.
    pub(super) fn take(&self) -> Option<Outcome> {
        let mut state = self.lock();
        loop {
            let number = state.taken;
            if let Some((outcome, bytes)) = state.ready.remove(&number) {
                state.taken += 1;
                state.bytes -= bytes;
                self.changed.notify_all();
                return Some(outcome);
            }
            if self.is_stopped() || (state.exhausted && state.taken == state.issued) {
                return None;
            }
            state = self.wait(state);
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Taking the lock keeps a waiting worker from missing the call.
        drop(self.lock());
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Set when reading is no longer wanted; decoders look at it.
    pub(super) fn cancel(&self) -> &Arc<AtomicBool> {
        &self.stopped
    }

    /// Bytes that wait, the most there were, and seconds of reading.
    pub(super) fn load(&self) -> (usize, usize, f64) {
        let state = self.lock();
        (state.bytes, state.peak_bytes, state.decode.as_secs_f64())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the queue")
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).expect("no thread panics while it holds the queue")
    }
}
