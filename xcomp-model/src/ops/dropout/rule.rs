//! What is dropped, as data.

use crate::ops::random::Key;

/// What is dropped of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the numbers that become 0, in `0..1`; in steps of 2^-16.
    pub share: f64,
    /// Which ones.
    pub key: Key,
}

impl Dropout {
    /// Bits below this are dropped.
    pub(super) fn lowest_kept(self) -> u32 {
        (self.share * f64::from(1_u32 << 16)).round() as u32
    }

    /// What kept numbers are multiplied by, so that the mean stays.
    pub(super) fn scale(self) -> f64 {
        1.0 / (1.0 - self.share)
    }
}
