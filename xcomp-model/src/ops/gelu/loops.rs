//! The loops of `gelu`, forward and back.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::backend::flex::FlexTensor;

use crate::ops::recorded::{CpuOp, shaped_as, values};
use crate::ops::rows::{map, map2};
use crate::ops::vector::{erf, exp};

/// `1 / sqrt(2 pi)`.
const DENSITY_AT_ZERO: f32 = 0.398_942_3;

#[derive(Debug, Clone)]
pub(in crate::ops) struct Gelu;

impl CpuOp<1> for Gelu {
    fn forward(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        shaped_as(map(values(&x), |x| x * normal_cdf(x)), &x)
    }

    fn backward(
        &self,
        [x]: [FlexTensor; 1],
        grad: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let slope = |x: f32| normal_cdf(x) + x * DENSITY_AT_ZERO * exp(-0.5 * x * x);
        [Some(shaped_as(map2(values(&x), values(&grad), |x, g| g * slope(x)), &x))]
    }
}

#[inline(always)]
fn normal_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}
