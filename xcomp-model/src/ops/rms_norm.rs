//! Root-mean-square normalisation with its scale.

use burn::tensor::{DType, Tensor};

/// `x / sqrt(mean(x^2) + epsilon) * weight` over the last dimension, normalised in f32, in the dtype of `x`.
///
/// # Shapes
/// - `x`, output: `[.., hidden]`
/// - `weight`: `[hidden]`
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) && weight.dtype() == DType::F32 {
        use super::cpu::CpuOps;
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        let y = <burn::backend::Dispatch as CpuOps>::rms_norm(x, weight, epsilon);
        return Tensor::from_dispatch(y);
    }
    in_tensor_operations(x, weight, epsilon)
}

pub(super) fn in_tensor_operations<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let scale = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt().recip();
    (x * scale).cast(dtype) * weight.cast(dtype).unsqueeze()
}

#[cfg(feature = "flex")]
pub(super) mod loops;
