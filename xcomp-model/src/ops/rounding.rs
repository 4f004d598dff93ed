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

/// The same by chance, in tensor operations: noise of one unit in the last place, then rounding to the nearest.
///
/// # Shapes
/// - `random`: as `x`, 16 bits each
pub(super) fn rounded_in_tensor_operations(
    x: burn::tensor::Tensor<1>,
    random: burn::tensor::Tensor<1, burn::tensor::Int>,
) -> burn::tensor::Tensor<1> {
    /// Bits of a bf16 behind its leading one.
    const FRACTION: f64 = 7.0;
    let noise = random.float() / f64::from(1 << 16) - 0.5;
    let exponent = (x.clone().abs().log() / std::f64::consts::LN_2).floor() - FRACTION;
    let unit = (exponent * std::f64::consts::LN_2).exp();
    (x + noise * unit).cast(burn::tensor::DType::BF16)
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

        /// Over many draws the mean is the number, on both ways.
        #[test]
        fn the_mean_of_many_roundings_is_the_number(number in 0.01_f32..100.0, seed: u64) {
            const DRAWS: usize = 4096;
            let key = Key::new(seed, 0, "x");
            let unit = f64::from(number).log2().floor().exp2() / 128.0;
            // The mean of so many draws of at most one unit: five deviations.
            let most = 5.0 * unit / 2.0 / (DRAWS as f64).sqrt();
            let mean = |sum: f64| sum / DRAWS as f64 - f64::from(number);
            let loops: f64 = (0..DRAWS as u32).map(|at| f64::from(rounded(number, key.bits(at)).to_f32())).sum();
            prop_assert!(mean(loops).abs() < most, "{}", mean(loops));
            let x = Tensor::<1>::from_data(TensorData::new(vec![number; DRAWS], [DRAWS]), &Device::flex());
            let drawn = rounded_in_tensor_operations(x, key.bits_of(0..DRAWS, &Device::flex()));
            let sum: f64 = drawn.into_data().iter::<f32>().map(f64::from).sum();
            prop_assert!(mean(sum).abs() < most, "{}", mean(sum));
        }
    }
}
