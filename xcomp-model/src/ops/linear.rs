//! The linear map, with its weight as checkpoints store it.

use burn::tensor::{DType, Tensor, module};

/// `x W^T + b` over the last dimension.
///
/// # Shapes
/// - `x`: `[.., inputs]`
/// - `weight`: `[outputs, inputs]`, `bias`: `[outputs]`; of another dtype than `x` they are cast to it
/// - output: `[.., outputs]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let dtype = x.dtype();
    let bias = bias.map(|bias| bias.cast(dtype));
    #[cfg(feature = "flex")]
    if super::in_loops(&x) && weight.dtype() == DType::BF16 && !weight.is_require_grad() {
        use super::cpu::CpuOps;
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        let y = <burn::backend::Dispatch as CpuOps>::linear_widened(x, weight);
        let y = Tensor::from_dispatch(y);
        return match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        };
    }
    let weight = weight.cast(dtype);
    #[cfg(feature = "flex")]
    if super::in_loops(&x) {
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
#[cfg(feature = "flex")]
pub(super) mod widened;
