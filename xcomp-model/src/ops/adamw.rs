//! One step of AdamW on one tensor.

pub(super) mod step;

use burn::tensor::Tensor;

pub use step::AdamWStep;

/// The running means of one tensor.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Of the gradient.
    pub mean: Tensor<1>,
    /// Of its square.
    pub mean_square: Tensor<1>,
}

impl Moments {
    /// Before the first step.
    pub fn zeros_like(weight: &Tensor<1>) -> Self {
        Self { mean: weight.zeros_like(), mean_square: weight.zeros_like() }
    }
}

/// The moved weight and the updated means; nothing here has a tape.
///
/// # Shapes
/// - all: `[elements]`, f32
pub fn adamw(
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: Moments,
    step: AdamWStep,
) -> (Tensor<1>, Moments) {
    let Moments { mean, mean_square } = moments;
    #[cfg(feature = "flex")]
    if super::in_loops(&weight) {
        use super::cpu::CpuOptimizer;
        let (weight, mean, mean_square) = <burn::backend::Dispatch as CpuOptimizer>::adamw(
            weight.into_dispatch(),
            grad.into_dispatch(),
            mean.into_dispatch(),
            mean_square.into_dispatch(),
            step,
        );
        let [mean, mean_square] = [mean, mean_square].map(Tensor::from_dispatch);
        return (Tensor::from_dispatch(weight), Moments { mean, mean_square });
    }
    in_tensor_operations(weight, grad, Moments { mean, mean_square }, step)
}

pub(super) fn in_tensor_operations(
    weight: Tensor<1>,
    grad: Tensor<1>,
    Moments { mean, mean_square }: Moments,
    step: AdamWStep,
) -> (Tensor<1>, Moments) {
    let mean = mean * step.beta1 + grad.clone() * (1.0 - step.beta1);
    let mean_square = mean_square * step.beta2 + grad.square() * (1.0 - step.beta2);
    let root = mean_square.clone().sqrt() / step.correction2.sqrt() + step.epsilon;
    let decayed = weight * (1.0 - step.lr * step.weight_decay);
    let moved = decayed - mean.clone() / root * (step.lr / step.correction1);
    (moved, Moments { mean, mean_square })
}

#[cfg(feature = "flex")]
pub(super) mod loops;
