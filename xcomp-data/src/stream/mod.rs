//! The endless, resumable stream of samples: decoded across videos by worker threads, handed out in order.
//!
//! The order is a pure function of (mixture hash, seed, epoch); a [`Position`] that travels with each sample is all a resume needs.

pub mod cost;
mod meter;
mod order;
mod policy;
mod queue;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::sample::example::Example;
use crate::sample::options::LoadOptions;
use crate::{DataError, Mixture};

pub use meter::StreamMeter;
use order::Tickets;
pub use order::{Order, epoch_order};
use policy::Tolerance;
pub use policy::{BadSample, BadSamplePolicy, QuarantineEvent};
use queue::Queue;
pub use queue::WAITING_PER_WORKER;

/// How a mixture is streamed.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// How records become samples.
    pub load: LoadOptions,
    /// Seed of the order.
    pub seed: u64,
    /// In which order samples come.
    pub order: Order,
    /// Epochs after which the stream ends; `None`: never.
    pub epochs: Option<u64>,
    /// Decoding threads.
    pub workers: usize,
    /// Most bytes of pictures that wait or are being read; one sample may always be read.
    pub queue_bytes: usize,
    /// What happens to samples that cannot be read.
    pub bad: BadSample,
    /// This process among `world` processes.
    pub rank: usize,
    /// Number of processes that share the samples.
    pub world: usize,
    /// Sums that a step is cut into, a multiple of `world`; neighbouring ones belong to one process.
    pub lanes: usize,
    /// Samples of one optimizer step over all processes; a multiple of `lanes`.
    pub step_samples: usize,
    /// Whether the last, incomplete step of an epoch is left out, as the reference does.
    pub drop_last: bool,
    /// Predicted cost of every sample of the mixture, by which the samples of a step are assigned to lanes; `None`: in turn.
    ///
    /// It must be the same on every rank and on resume: [`CostModel::predict`](crate::stream::cost::CostModel::predict).
    pub balance: Option<Arc<[f64]>>,
}

impl StreamOptions {
    /// One process, one worker a core, 2 GiB of pictures, neighbours for bad samples.
    pub fn new(load: LoadOptions, seed: u64) -> Self {
        Self {
            load,
            seed,
            order: Order::Shuffled,
            epochs: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            queue_bytes: 2 << 30,
            bad: BadSample::default(),
            rank: 0,
            world: 1,
            lanes: 1,
            step_samples: 1,
            drop_last: false,
            balance: None,
        }
    }
}

/// Where a stream stands, after a sample; written into checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Passes through the mixture that are complete.
    pub epoch: u64,
    /// Samples of this epoch that all ranks together have taken.
    pub next: u64,
    /// Seed of the order; checked on resume.
    pub seed: u64,
    /// Hash of the mixture; empty at the very start, else checked on resume.
    pub mixture: String,
    /// Ranks that took them.
    pub world: u64,
    /// Samples that this rank has taken since the start.
    pub samples: u64,
    /// How many of them could not be read as they are.
    pub bad: u64,
    /// How many of these came one after the other just now.
    pub bad_in_a_row: u64,
}

impl Position {
    /// The beginning of a run.
    pub fn start() -> Self {
        Self::default()
    }
}

/// Samples in order, with the position after each.
pub struct Stream {
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
    position: Position,
    tolerance: Tolerance,
    events: VecDeque<QuarantineEvent>,
    meter: StreamMeter,
    ended: bool,
}

/// Starts to read the samples of a mixture from a position on.
///
/// # Errors
/// When the position belongs to another mixture or seed, or the options contradict each other.
#[expect(clippy::needless_pass_by_value, reason = "every worker thread holds the mixture")]
pub fn stream(
    mixture: Arc<Mixture>,
    options: StreamOptions,
    from: Position,
) -> Result<Stream, DataError> {
    check_options(&options, &mixture)?;
    let position = resumed(&mixture, &options, from)?;
    let tickets = Tickets::new(Arc::clone(&mixture), &options, &position)?;
    let position = Position { world: options.world as u64, ..position };
    let tolerance = Tolerance::open(&options.bad)?;
    let queue = Arc::new(Queue::new(tickets, options.queue_bytes, options.workers));
    let shared = Arc::new(options);
    let start = |index| {
        let (queue, mixture, options) =
            (Arc::clone(&queue), Arc::clone(&mixture), Arc::clone(&shared));
        std::thread::Builder::new()
            .name(format!("xcomp-data-{index}"))
            .spawn(move || worker::run(&queue, &mixture, &options))
            .map_err(|error| DataError::Internal(format!("cannot start a worker thread: {error}")))
    };
    let workers = (0..shared.workers).map(start).collect::<Result<_, _>>()?;
    let (events, meter) = (VecDeque::new(), StreamMeter::default());
    Ok(Stream { queue, workers, position, tolerance, events, meter, ended: false })
}

fn check_options(options: &StreamOptions, mixture: &Mixture) -> Result<(), DataError> {
    let wrong = |message: &str| Err(DataError::Options(message.into()));
    if options.workers == 0 {
        return wrong("workers must be at least 1");
    }
    if options.world == 0 || options.rank >= options.world {
        return wrong("rank must be below world");
    }
    if options.lanes == 0 || !options.lanes.is_multiple_of(options.world) {
        return wrong("lanes must be a multiple of world");
    }
    if options.step_samples == 0 || !options.step_samples.is_multiple_of(options.lanes) {
        return wrong("step_samples must be a multiple of lanes");
    }
    if options.balance.as_ref().is_some_and(|costs| costs.len() != mixture.len()) {
        return wrong("balance must have one cost for each sample of the mixture");
    }
    if options.world > 1 && options.bad.policy == BadSamplePolicy::Skip {
        return wrong(
            "policy `skip` would leave ranks with different numbers of samples; use `neighbour`",
        );
    }
    Ok(())
}

/// The position with its identity filled in, or an error when it belongs elsewhere.
fn resumed(
    mixture: &Mixture,
    options: &StreamOptions,
    from: Position,
) -> Result<Position, DataError> {
    if from.mixture.is_empty() {
        let (seed, mixture) = (options.seed, mixture.hash().to_owned());
        let world = options.world as u64;
        return Ok(Position { seed, mixture, world, ..from });
    }
    if from.mixture == mixture.hash() && from.seed == options.seed {
        return Ok(from);
    }
    let name =
        |hash: &str, seed| format!("mixture {} with seed {seed}", &hash[..hash.len().min(12)]);
    Err(DataError::WrongMixture {
        saved: name(&from.mixture, from.seed),
        now: name(mixture.hash(), options.seed),
    })
}

impl Stream {
    /// Where the stream stands: after the sample that was handed out last.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Events of unreadable samples since the last call.
    pub fn take_events(&mut self) -> Vec<QuarantineEvent> {
        self.events.drain(..).collect()
    }

    /// What the stream has done so far.
    pub fn meter(&self) -> StreamMeter {
        let (queued_bytes, peak_bytes, decode_s) = self.queue.load();
        StreamMeter { decode_s, queued_bytes, peak_bytes, ..self.meter.clone() }
    }

    /// Moves the position over one outcome; gives its sample unless it was skipped.
    fn take(&mut self, outcome: queue::Outcome) -> Option<Result<(Example, Position), DataError>> {
        (self.position.epoch, self.position.next) = outcome.after;
        self.position.samples += 1;
        match outcome.event {
            None => self.position.bad_in_a_row = 0,
            Some(event) => {
                self.position.bad += 1;
                self.position.bad_in_a_row += 1;
                let judged = self.tolerance.judge(&event, &self.position);
                self.meter.count_bad(&event);
                self.events.push_back(event);
                if let Err(error) = judged {
                    return Some(Err(error));
                }
            }
        }
        match outcome.example {
            Ok(Some(example)) => {
                self.meter.count(&example);
                Some(Ok((example, self.position.clone())))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for Stream {
    type Item = Result<(Example, Position), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let asked = Instant::now();
            let outcome = self.queue.take();
            self.meter.wait_s += asked.elapsed().as_secs_f64();
            let Some(outcome) = outcome else {
                self.ended = true;
                return None;
            };
            let item = self.take(outcome);
            if let Some(item) = item {
                self.ended = item.is_err();
                return Some(item);
            }
        }
        None
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.queue.stop();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its decoders; there is nothing to learn from joining.
            let _ = worker.join();
        }
    }
}
