//! The linear map, with its weight as checkpoints store it.

use burn::tensor::{DType, Tensor, module};

/// `x W^T + b` over the last dimension.
///
/// # Shapes
/// - `x`: `[.., inputs]`
/// - `weight`: `[outputs, inputs]`, `bias`: `[outputs]`, in the dtype of `x`
/// - output: `[.., outputs]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) && weight.dtype() == DType::F32 {
        use super::cpu::CpuOps;
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        let y = match bias {
            Some(bias) => {
                <burn::backend::Dispatch as CpuOps>::linear(x, weight, bias.into_dispatch())
            }
            None => <burn::backend::Dispatch as CpuOps>::linear_without_bias(x, weight),
        };
        return Tensor::from_dispatch(y);
    }
    module::linear(x, weight.transpose(), bias)
}

#[cfg(feature = "flex")]
pub(super) mod loops;
