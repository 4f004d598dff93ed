//! The exact (erf) Gaussian error linear unit.

use burn::tensor::{Tensor, activation};

/// `x / 2 * (1 + erf(x / sqrt 2))`.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) {
        use super::cpu::CpuOps;
        let y = <burn::backend::Dispatch as CpuOps>::gelu_erf(x.into_dispatch());
        return Tensor::from_dispatch(y);
    }
    activation::gelu(x)
}

#[cfg(feature = "flex")]
pub(super) mod loops;
