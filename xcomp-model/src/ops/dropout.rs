//! Inverted dropout whose mask is a function of a key, so that a forward that is run again drops the same.

#[cfg(feature = "flex")]
pub(super) mod loops;
pub(super) mod rule;

use burn::tensor::Tensor;

pub use rule::Dropout;

/// `x` without some of its numbers, the others scaled up (torch `nn.Dropout` while training).
///
/// # Shapes
/// - output: as `x`
pub fn dropout<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) {
        use super::cpu::CpuOps;
        let y = <burn::backend::Dispatch as CpuOps>::dropout(x.into_dispatch(), dropout);
        return Tensor::from_dispatch(y);
    }
    in_tensor_operations(x, dropout)
}

pub(super) fn in_tensor_operations<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let bits = dropout.key.bits_of(0..shape.num_elements(), &x.device().inner());
    let kept = bits.greater_equal_elem(dropout.lowest_kept()).float().cast(dtype).reshape(shape);
    x * kept * dropout.scale()
}
