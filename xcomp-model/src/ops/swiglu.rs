//! The gate of Qwen2's feed-forward block.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

/// `silu(gate) * up`.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&gate) {
        use super::cpu::CpuOps;
        let (gate, up) = (gate.into_dispatch(), up.into_dispatch());
        return Tensor::from_dispatch(<burn::backend::Dispatch as CpuOps>::swiglu(gate, up));
    }
    silu(gate) * up
}

#[cfg(feature = "flex")]
pub(super) mod loops;
