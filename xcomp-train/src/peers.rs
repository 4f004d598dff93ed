//! Processes that take every step together: the engine moves numbers, we add them, in an order that does not depend on how many
//! processes there are.

pub mod lanes;
#[cfg(feature = "mpi")]
pub mod mpi;

use std::fmt;

/// The processes of a run. Every call is collective: all ranks make the same calls in the same order.
pub trait Peers: fmt::Debug {
    /// This process.
    fn rank(&self) -> usize;
    /// Number of processes.
    fn world(&self) -> usize;
    /// This process among those of its machine.
    fn local_rank(&self) -> usize;
    /// `flat` holds a share for every rank, `counts[rank]` long, rank after rank; gives this rank's share, summed over ranks as
    /// [`lanes::tree_sum_rows`] does.
    fn reduce_scatter(&self, flat: &[f32], counts: &[usize]) -> Vec<f32>;
    /// The shares of all ranks, rank after rank, on every rank.
    fn all_gather(&self, share: &[f32], counts: &[usize]) -> Vec<f32>;
    /// The `len` numbers that rank `from` holds, on rank 0; nothing elsewhere.
    fn to_first(&self, from: usize, len: usize, held: Option<&[f32]>) -> Option<Vec<f32>>;
    /// A few bytes of every rank, by rank, on every rank.
    fn exchange(&self, note: &[u8]) -> Vec<Vec<u8>>;
    /// Ends all processes at once.
    fn abort(&self, code: u8) -> !;
}

/// The only process.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }
    fn world(&self) -> usize {
        1
    }
    fn local_rank(&self) -> usize {
        0
    }
    fn reduce_scatter(&self, flat: &[f32], _counts: &[usize]) -> Vec<f32> {
        flat.to_vec()
    }
    fn all_gather(&self, share: &[f32], _counts: &[usize]) -> Vec<f32> {
        share.to_vec()
    }
    fn to_first(&self, _from: usize, _len: usize, held: Option<&[f32]>) -> Option<Vec<f32>> {
        held.map(<[f32]>::to_vec)
    }
    fn exchange(&self, note: &[u8]) -> Vec<Vec<u8>> {
        vec![note.to_vec()]
    }
    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}
