//! The rotation of rotary position embedding, in the half-split form of Qwen2 (`rotate_half`).

use burn::tensor::Tensor;

/// Rotates the two halves of every head by the angle of its position.
///
/// # Shapes
/// - `x`, output: `[batch, heads, seq, head_dim]`
/// - `cos`, `sin`: `[seq, head_dim / 2]`, without a tape
pub fn rotate(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) {
        use super::cpu::CpuOps;
        let (x, cos, sin) = (x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch());
        return Tensor::from_dispatch(<burn::backend::Dispatch as CpuOps>::rotate(x, cos, sin));
    }
    in_tensor_operations(x, &cos, &sin)
}

pub(super) fn in_tensor_operations(x: Tensor<4>, cos: &Tensor<2>, sin: &Tensor<2>) -> Tensor<4> {
    let (half, dtype) = (x.dims()[3] / 2, x.dtype());
    let [cos, sin] = [cos, sin].map(|table| table.clone().cast(dtype).unsqueeze::<4>());
    let low = x.clone().slice_dim(3, 0..half);
    let high = x.slice_dim(3, half..2 * half);
    let turned_low = low.clone() * cos.clone() - high.clone() * sin.clone();
    Tensor::cat(vec![turned_low, high * cos + low * sin], 3)
}

#[cfg(feature = "flex")]
pub(super) mod loops;
