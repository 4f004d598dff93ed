//! Bytes in blocks: what becomes of a block when it is freed depends on its size.

use std::ops::{Add, Mul};

/// Largest block that glibc's allocator keeps for reuse when it is freed; larger ones go back to the system at once
/// (`DEFAULT_MMAP_THRESHOLD_MAX` of `malloc/malloc.c`; the threshold rises to it as larger and larger blocks are freed).
const LARGEST_KEPT: u64 = 32 << 20;

/// Sums of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Blocks {
    /// In blocks that the allocator keeps when they are freed.
    pub(super) small: u64,
    /// In blocks that go back.
    pub(super) large: u64,
}

impl Blocks {
    /// One block.
    pub(super) fn one(bytes: u64) -> Self {
        if bytes < LARGEST_KEPT {
            Self { small: bytes, large: 0 }
        } else {
            Self { small: 0, large: bytes }
        }
    }

    pub(super) fn bytes(self) -> u64 {
        self.small + self.large
    }

    /// What is left without `other`, kind by kind.
    pub(super) fn without(self, other: Self) -> Self {
        Self {
            small: self.small.saturating_sub(other.small),
            large: self.large.saturating_sub(other.large),
        }
    }

    /// The larger of both kinds.
    pub(super) fn max(self, other: Self) -> Self {
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
