//! What a forward and its backward cost: operations, and bytes in blocks. Modules say it beside their `forward`.

use std::ops::{Add, Mul};

/// Largest block that glibc's allocator keeps for reuse when it is freed; larger ones go back to the system at once
/// (`DEFAULT_MMAP_THRESHOLD_MAX` of `malloc/malloc.c`; the threshold rises to it as larger and larger blocks are freed).
const LARGEST_KEPT: u64 = 32 << 20;

/// Sums of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blocks {
    /// In blocks that the allocator keeps when they are freed.
    pub small: u64,
    /// In blocks that go back.
    pub large: u64,
}

impl Blocks {
    /// One block.
    pub fn one(bytes: u64) -> Self {
        if bytes < LARGEST_KEPT {
            Self { small: bytes, large: 0 }
        } else {
            Self { small: 0, large: bytes }
        }
    }

    /// All of them.
    pub fn bytes(self) -> u64 {
        self.small + self.large
    }

    /// What is left without `other`, kind by kind.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            small: self.small.saturating_sub(other.small),
            large: self.large.saturating_sub(other.large),
        }
    }

    /// The larger of both kinds.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { small: self.small.max(other.small), large: self.large.max(other.large) }
    }
}

impl Add for Blocks {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { small: self.small + other.small, large: self.large + other.large }
    }
}

impl Mul<u64> for Blocks {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { small: self.small * times, large: self.large * times }
    }
}

impl std::iter::Sum for Blocks {
    fn sum<I: Iterator<Item = Self>>(blocks: I) -> Self {
        blocks.fold(Self::default(), Self::add)
    }
}

/// Floating-point operations of a forward; a multiply and an add count two.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flops {
    /// Of products with weights.
    pub products: f64,
    /// Of attention: scores, and values by them.
    pub attention: f64,
}

impl Flops {
    /// Both.
    pub fn all(self) -> f64 {
        self.products + self.attention
    }
}

/// Operations of one `[m, k] x [k, n]`.
pub fn matmul(m: usize, k: usize, n: usize) -> f64 {
    2.0 * m as f64 * k as f64 * n as f64
}

/// How a device does what a decoder layer consists of ([`crate::ops`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// In loops that keep nothing but their inputs: f32 on a CPU.
    Loops,
    /// In tensor operations, attention with all its scores: below f32 on a CPU.
    Scores,
    /// In tensor operations, attention fused: a GPU.
    Fused,
}

/// How activations are held, and what works on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Bytes of an activation.
    pub activation: u64,
    /// Bytes of a number of the decoder's matrices; where they are more than those of an activation, a map keeps a copy in that format.
    pub weight: u64,
    /// How the device does its layers.
    pub kernels: Kernels,
}

/// Memory of a module that is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// From the forward until its backward is through.
    pub kept: Blocks,
    /// Beside it while its backward runs.
    pub backward: Blocks,
}
