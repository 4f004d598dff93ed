//! How a step runs on a device, and in how many bytes what outlives it is held.

use xcomp_model::base::family::Region;
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::cost::{Blocks, Formats};
use xcomp_model::ops::MomentFormat;

use super::parameters::TensorShape;

/// Pages of the program that its first training step touches (measured: 14 to 16 MiB).
const PROGRAM: u64 = 16 << 20;
/// Heap of a thread of matrix products: packed tiles (measured: 2.5 MiB each).
const COMPUTING_THREAD: u64 = 5 << 19;
/// Heap of a decoding thread beside its frames, at the least (measured on clips of 64 pixels).
const DECODING_THREAD: u64 = 3 << 20;

/// How a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// How activations are held.
    pub formats: Formats,
    /// The process on whose heap tensors lie; none on a GPU.
    pub process: Option<Process>,
    /// Sets of gradients beside those of a tape: sums of earlier micro-steps, and of later windows.
    pub sums: u64,
    /// How weights, gradients and moments are held.
    pub held: Held,
    /// Whether adapters drop some of their inputs.
    pub drops: bool,
    /// How the samples of a forward stand in it.
    pub arrangement: Arrangement,
    /// Whether the samples of a forward go through it side by side, on tapes of their own.
    pub apart: bool,
    /// Clips that go through the tower together.
    pub clips_at_once: usize,
}

impl Running {
    /// Threads that compute in the process.
    pub(super) fn threads(&self) -> usize {
        self.process.map_or(1, |process| process.computing_threads.max(1))
    }
}

/// Bytes of numbers that outlive a micro-step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Of a tuned matrix; vectors are f32.
    pub tuned: u64,
    /// Of a frozen matrix of the language model.
    pub frozen: u64,
    /// Of a summed gradient.
    pub gradient: u64,
    /// How moments are held.
    pub moments: MomentFormat,
}

impl Held {
    /// A tuned weight.
    pub(super) fn weight(self, tensor: &TensorShape) -> Blocks {
        Blocks::one(if tensor.matrix { self.tuned } else { 4 } * tensor.count)
    }

    pub(super) fn frozen(self, tensor: &TensorShape) -> Blocks {
        let of_llm = tensor.matrix && tensor.place.region() == Region::Llm;
        Blocks::one(if of_llm { self.frozen } else { 4 } * tensor.count)
    }

    /// The sum of a gradient over micro-steps.
    pub(super) fn sum(self, tensor: &TensorShape) -> Blocks {
        Blocks::one(self.gradient * tensor.count)
    }

    /// Both moments.
    pub(super) fn moments(self, tensor: &TensorShape) -> Blocks {
        Blocks::one(self.moments.bytes(tensor.count as usize) as u64) * 2
    }

    /// Whether the optimizer widens what it steps.
    pub(super) fn is_narrow(self) -> bool {
        self.tuned < 4 || self.moments != MomentFormat::F32
    }

    /// Bytes on disk of a tuned weight and of its moments.
    pub fn saved(self, tensor: &TensorShape) -> (u64, u64) {
        (self.weight(tensor).bytes(), self.moments(tensor).bytes())
    }
}

/// A process that trains on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Threads of matrix products.
    pub computing_threads: usize,
    /// Threads that read samples.
    pub decoding_threads: usize,
}

impl Process {
    /// Bytes that it takes whatever it trains.
    pub(super) fn own_bytes(self) -> u64 {
        PROGRAM
            + COMPUTING_THREAD * self.computing_threads as u64
            + DECODING_THREAD * self.decoding_threads as u64
    }
}
