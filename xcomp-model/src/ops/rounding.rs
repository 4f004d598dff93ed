//! f32 to bf16 by stochastic rounding: up or down by chance, so that the mean is the number itself.

#[cfg(feature = "flex")]
use half::bf16;

/// Bits of an f32 that a bf16 lacks.
#[cfg(feature = "flex")]
const CUT: u32 = 16;

/// A number rounded by 16 random bits; what is not finite stays so.
#[cfg(feature = "flex")]
#[inline(always)]
pub(super) fn rounded(number: f32, random: u32) -> bf16 {
    let bits = number.to_bits();
    if number.is_finite() {
        bf16::from_bits(((bits + random) >> CUT) as u16)
    } else {
        bf16::from_f32(number)
    }
}

/// The same in tensor operations: the nearest, or with the chance of its distance the neighbour beyond the number.
///
/// # Shapes
/// - `random`: as `x`, 16 bits each
pub(super) fn rounded_in_tensor_operations(
    x: burn::tensor::Tensor<1>,
    random: burn::tensor::Tensor<1, burn::tensor::Int>,
) -> burn::tensor::Tensor<1> {
    use burn::tensor::DType;

    /// Bits of a bf16 behind its leading one.
    const FRACTION: f64 = 7.0;
    let exponent = (x.clone().abs().log() / std::f64::consts::LN_2).floor() - FRACTION;
    let unit = (exponent * std::f64::consts::LN_2).exp();
    let near = x.clone().cast(DType::BF16).cast(DType::F32);
    let apart = x.clone() - near.clone();
    // The loops move away from zero by so many of 65536 draws; here the move is seen from the nearest. Halves keep ties apart.
    let draw = (random.float() + 0.5) / f64::from(1 << 16);
    let nearest_is_larger = near.clone().abs().greater(x.abs());
    let draw = (draw.clone().neg() + 1.0).mask_where(nearest_is_larger, draw);
    let moves = draw.lower(apart.clone().abs() / unit.clone());
    let beyond = near.clone() + apart.sign() * unit;
    near.mask_where(moves, beyond).cast(DType::BF16)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::ops::random::Key;

    #[test]
    fn what_is_not_finite_stays_so() {
        assert!(rounded(f32::NAN, 0xffff).is_nan());
        assert_eq!(rounded(f32::NEG_INFINITY, 0xffff), bf16::NEG_INFINITY);
    }

    proptest! {
        /// One of the two neighbours, and the number itself where a bf16 holds it.
        #[test]
        fn a_number_becomes_a_neighbour(number in -1e30_f32..1e30, random in 0..1_u32 << CUT) {
            let down = bf16::from_bits((number.to_bits() >> CUT) as u16);
            let up = bf16::from_bits((number.to_bits() >> CUT) as u16 + 1);
            let got = rounded(number, random);
            prop_assert!(got == down || got == up);
            prop_assert_eq!(rounded(down.to_f32(), random), down);
        }

        /// Over many draws the mean is the number.
        #[test]
        fn the_mean_of_many_roundings_is_the_number(number in 0.01_f32..100.0, seed: u64) {
            const DRAWS: usize = 4096;
            let key = Key::new(seed, 0, "x");
            let unit = f64::from(number).log2().floor().exp2() / 128.0;
            // The mean of so many draws of at most one unit: five deviations.
            let most = 5.0 * unit / 2.0 / (DRAWS as f64).sqrt();
            let drawn = (0..DRAWS as u32).map(|at| f64::from(rounded(number, key.bits(at)).to_f32()));
            let mean = drawn.sum::<f64>() / DRAWS as f64 - f64::from(number);
            prop_assert!(mean.abs() < most, "{}", mean);
        }

        /// Whatever the numbers, and beside powers of two, where neighbours below are nearer than those above.
        #[test]
        fn tensor_operations_round_as_loops_do(numbers in prop::collection::vec(-100_f32..100.0, 64), power in -8_i32..8, seed: u64) {
            let (key, device) = (Key::new(seed, 0, "x"), Device::flex());
            let edge = (f64::from(power).exp2() as f32).to_bits();
            let beside = (0..32).flat_map(|at| [edge - 997 * at, edge + 997 * at]).map(f32::from_bits);
            let numbers: Vec<f32> = numbers.into_iter().chain(beside).chain([0.0]).collect();
            let count = numbers.len();
            let x = Tensor::<1>::from_data(TensorData::new(numbers.clone(), [count]), &device);
            let drawn = rounded_in_tensor_operations(x, key.bits_of(0..count, &device));
            let drawn: Vec<f32> = drawn.into_data().iter::<f32>().collect();
            for (at, (number, drawn)) in numbers.into_iter().zip(drawn).enumerate() {
                let want = rounded(number, key.bits(at as u32)).to_f32();
                prop_assert_eq!(want.to_bits(), drawn.to_bits(), "{}", number);
            }
        }
    }
}
