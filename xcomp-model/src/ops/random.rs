//! Random bits that follow from a key and the place of an element alone: the same on every device, and drawn again at will.
//!
//! The place goes through rounds of a Feistel network on two halves of 16 bits. No product exceeds 31 bits, so that a GPU,
//! whose integers are signed, computes the same bits in tensor operations.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

/// Rounds: after four no test of this module sees a pattern; two more are the margin.
const ROUNDS: usize = 6;
/// Of half a place, and of the bits that are drawn.
const BITS: u32 = 16;
const MASK: u32 = (1 << BITS) - 1;
/// The middle of a product depends on all of its factors.
const MIDDLE: u32 = 8;
/// What the state of `SplitMix64` grows by.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fixes the bits of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// An odd factor below 2^15 and an addend below 2^16 for each round.
    rounds: [(u32, u32); ROUNDS],
}

impl Key {
    /// The key of a seed, a number such as that of a step, and a name such as that of a tensor.
    pub fn new(seed: u64, number: u64, name: &str) -> Self {
        let named = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3) // FNV-1a
        });
        let mut state = mixed(mixed(mixed(seed) ^ number) ^ named);
        let rounds = std::array::from_fn(|_| {
            state = state.wrapping_add(GOLDEN);
            let word = mixed(state);
            // The top bit keeps factors from being small.
            let factor = (word as u32 & 0x3fff) | 0x4001;
            (factor, (word >> 32) as u32 & MASK)
        });
        Self { rounds }
    }

    /// 16 random bits for the element at `place`.
    #[inline(always)]
    pub(super) fn bits(&self, place: u32) -> u32 {
        let (mut left, mut right) = (place >> BITS, place & MASK);
        for (factor, addend) in self.rounds {
            let middle = ((right * factor + addend) >> MIDDLE) & MASK;
            (left, right) = (right, left ^ middle);
        }
        right
    }

    /// The bits of the elements at these places of a flat tensor, in tensor operations.
    pub(super) fn bits_of(&self, places: Range<usize>, device: &Device) -> Tensor<1, Int> {
        let place = Tensor::<1, Int>::arange(places.start as i64..places.end as i64, device);
        let low = |x: Tensor<1, Int>| x.bitwise_and_scalar(MASK);
        let (left, right) = (place.clone().bitwise_right_shift_scalar(BITS), low(place));
        let round = |(left, right): (Tensor<1, Int>, Tensor<1, Int>), (factor, addend)| {
            let product = right.clone().mul_scalar(factor).add_scalar(addend);
            let middle = low(product.bitwise_right_shift_scalar(MIDDLE));
            (right, left.bitwise_xor(middle))
        };
        self.rounds.into_iter().fold((left, right), round).1
    }
}

/// `SplitMix64`'s finalizer (Steele, Lea and Flood, 2014).
fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_operations_draw_the_same_bits() {
        let key = Key::new(42, 7, "model.layers.0.mlp.up_proj");
        let drawn: Vec<i64> = key.bits_of(0..70_000, &Device::flex()).into_data().iter().collect();
        let want: Vec<i64> = (0..70_000).map(|place| i64::from(key.bits(place))).collect();
        assert_eq!(drawn, want);
    }

    #[test]
    fn a_key_is_fixed_by_all_it_is_made_of() {
        let key = Key::new(1, 2, "a");
        assert_eq!(key, Key::new(1, 2, "a"));
        assert!(
            [Key::new(2, 2, "a"), Key::new(1, 3, "a"), Key::new(1, 2, "b")]
                .iter()
                .all(|other| *other != key)
        );
    }

    /// Every bit, pairs at many distances, and the same place under neighbouring keys: as often equal as not, within five deviations.
    #[test]
    fn bits_look_random_along_a_tensor_and_across_keys() {
        const COUNT: u32 = 1 << 16;
        let even = |name: &str, draw: &dyn Fn(u32) -> u32| {
            for bit in 0..BITS {
                let ones = (0..COUNT).filter(|place| draw(*place) >> bit & 1 == 1).count();
                let off = (ones as f64 - f64::from(COUNT / 2)).abs();
                assert!(off < 5.0 * f64::from(COUNT).sqrt() / 2.0, "{name}, bit {bit}: {ones}");
            }
        };
        for step in 0..8 {
            let key = Key::new(42, step, "w");
            even("itself", &|place| key.bits(place));
            for distance in [1, 2, 3, 8, 64, 255, 256, 1536, 65_536] {
                even("distance", &|place| key.bits(place) ^ key.bits(place + distance));
            }
            let next = Key::new(42, step + 1, "w");
            even("the next step", &|place| key.bits(place) ^ next.bits(place));
        }
    }
}
