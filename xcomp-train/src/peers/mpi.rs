//! Ranks that `mpirun` or `srun` has started: MPI moves, we add.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::collective::CommunicatorCollectives;
use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::Peers;
use super::lanes::tree_sum_rows;
use crate::error::{EXIT_PEERS, Error};
use crate::show::numbers::duration;
use crate::show::progress::say;

/// Numbers of one rank's share that one call moves: MPI 3 counts in 31 bits, and buffers stay small.
const CHUNK: usize = 1 << 20;
/// How often a call that waits is looked at, at most.
const LOOK: Duration = Duration::from_secs(10);

/// This process among those that were started with it.
pub struct Mpi {
    /// Ends MPI when it is dropped, last.
    _universe: Universe,
    comm: SimpleCommunicator,
    local_rank: usize,
    /// Since when a call waits.
    waiting: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.world())
    }
}

impl Mpi {
    /// Joins the processes that were started together; a call that waits longer than `patience` for the others ends all of them.
    ///
    /// # Errors
    /// If MPI has been started in this process already.
    pub fn start(patience: Duration) -> Result<Self, Error> {
        // The loop is not the first thread, but it is the only one that calls.
        let started = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, _) =
            started.ok_or_else(|| Error::Argument("--mpi: MPI is in use already".into()))?;
        let comm = universe.world();
        let local_rank = comm.split_shared(comm.rank()).rank() as usize;
        let waiting = Arc::new(Mutex::new(None));
        watch(Arc::clone(&waiting), comm.rank(), patience);
        Ok(Self { _universe: universe, comm, local_rank, waiting })
    }

    /// Makes a call that waits for other ranks.
    fn call<T>(&self, call: impl FnOnce(&SimpleCommunicator) -> T) -> T {
        let set = |since| *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = since;
        set(Some(Instant::now()));
        let done = call(&self.comm);
        set(None);
        done
    }

    /// Sends `flat`'s share of every rank there; gives what came, rank after rank.
    fn all_to_all(&self, flat: &[f32], counts: &[usize]) -> Vec<f32> {
        let mine = vec![counts[self.rank()]; self.world()];
        let mut came = vec![0.0; mine.iter().sum()];
        let ((counts, offsets), (mine, places)) = (layout(counts), layout(&mine));
        let sent = Partition::new(flat, counts, offsets);
        let mut taken = PartitionMut::new(&mut came[..], mine, places);
        self.call(|comm| comm.all_to_all_varcount_into(&sent, &mut taken));
        came
    }

    fn gather<T: Equivalence + Copy + Default>(&self, share: &[T], counts: &[usize]) -> Vec<T> {
        let mut came = vec![T::default(); counts.iter().sum()];
        let (counts, places) = layout(counts);
        let mut taken = PartitionMut::new(&mut came[..], counts, places);
        self.call(|comm| comm.all_gather_varcount_into(share, &mut taken));
        came
    }
}

/// Ends this process, and with it the job, if a call waits too long: a rank may hang where no error tells of it.
fn watch(waiting: Arc<Mutex<Option<Instant>>>, rank: i32, patience: Duration) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK.min(patience / 4));
            let since = *waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if since.is_some_and(|since| since.elapsed() > patience) {
                let waited = duration(patience.as_secs_f64());
                say(&format!(
                    "error: rank {rank} has waited {waited} for the other ranks; does one hang? --patience lets it wait longer"
                ));
                std::process::exit(EXIT_PEERS.into());
            }
        }
    });
}

/// Counts and offsets as MPI takes them.
fn layout(counts: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let int = |count: usize| i32::try_from(count).expect("a chunk is small");
    let starts = counts.iter().scan(0, |at, count| {
        let start = *at;
        *at += count;
        Some(int(start))
    });
    (counts.iter().map(|count| int(*count)).collect(), starts.collect())
}

/// The part of every share that chunk `chunk` moves: where it starts in a flat buffer, and how long it is.
fn chunked(counts: &[usize], chunk: usize) -> Vec<(usize, usize)> {
    let mut at = 0;
    let of = |count: &usize| {
        let from = (chunk * CHUNK).min(*count);
        let part = (at + from, CHUNK.min(count - from));
        at += count;
        part
    };
    counts.iter().map(of).collect()
}

fn chunks(counts: &[usize]) -> std::ops::Range<usize> {
    0..counts.iter().copied().max().unwrap_or(0).div_ceil(CHUNK)
}

impl Peers for Mpi {
    fn rank(&self) -> usize {
        self.comm.rank() as usize
    }

    fn world(&self) -> usize {
        self.comm.size() as usize
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn reduce_scatter(&self, flat: &[f32], counts: &[usize]) -> Vec<f32> {
        let (mut share, mut sent) = (Vec::with_capacity(counts[self.rank()]), vec![]);
        for chunk in chunks(counts) {
            let parts = chunked(counts, chunk);
            sent.clear();
            for (at, len) in &parts {
                sent.extend_from_slice(&flat[*at..at + len]);
            }
            let lens: Vec<usize> = parts.iter().map(|(_, len)| *len).collect();
            share.extend(tree_sum_rows(self.all_to_all(&sent, &lens), self.world()));
        }
        share
    }

    fn all_gather(&self, share: &[f32], counts: &[usize]) -> Vec<f32> {
        let mut all = vec![0.0; counts.iter().sum()];
        for chunk in chunks(counts) {
            let parts = chunked(counts, chunk);
            let lens: Vec<usize> = parts.iter().map(|(_, len)| *len).collect();
            let from = (chunk * CHUNK).min(share.len());
            let came = self.gather(&share[from..from + lens[self.rank()]], &lens);
            let mut rest = &came[..];
            for (at, len) in parts {
                let (part, behind) = rest.split_at(len);
                all[at..at + len].copy_from_slice(part);
                rest = behind;
            }
        }
        all
    }

    fn to_first(&self, from: usize, len: usize, held: Option<&[f32]>) -> Option<Vec<f32>> {
        if from == 0 {
            return held.filter(|_| self.rank() == 0).map(<[f32]>::to_vec);
        }
        if self.rank() == from {
            let held = held.expect("a rank sends what it holds");
            for part in held.chunks(CHUNK) {
                self.call(|comm| comm.process_at_rank(0).send(part));
            }
        }
        (self.rank() == 0).then(|| {
            let mut all = vec![0.0; len];
            for part in all.chunks_mut(CHUNK) {
                self.call(|comm| comm.process_at_rank(from as i32).receive_into(part));
            }
            all
        })
    }

    fn exchange(&self, note: &[u8]) -> Vec<Vec<u8>> {
        // Never empty: Rust's empty slice lies at address 1, which Open MPI reads as MPI_IN_PLACE.
        let note = [note, &[0]].concat();
        let mut lens = vec![0_u64; self.world()];
        self.call(|comm| comm.all_gather_into(&(note.len() as u64), &mut lens[..]));
        let lens: Vec<usize> = lens.into_iter().map(|len| len as usize).collect();
        let all = self.gather(&note, &lens);
        let mut rest = &all[..];
        let take = |len: &usize| {
            let (note, behind) = rest.split_at(*len);
            rest = behind;
            note[..len - 1].to_vec()
        };
        lens.iter().map(take).collect()
    }

    fn abort(&self, code: u8) -> ! {
        self.comm.abort(code.into())
    }
}
