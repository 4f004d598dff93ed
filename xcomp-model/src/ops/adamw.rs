//! One step of AdamW on one tensor.

use burn::tensor::Tensor;

/// The constants of one step (torch `optim/adamw.py`, `_single_tensor_adamw`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    pub beta2: f64,
    /// Keeps the division finite; added outside the root.
    pub epsilon: f64,
    /// `1 - beta1^t`.
    pub correction1: f64,
    /// `1 - beta2^t`.
    pub correction2: f64,
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

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
pub(super) mod loops {
    use burn::backend::flex::FlexTensor;
    use rayon::prelude::*;

    use super::AdamWStep;
    use crate::ops::recorded::values;
    use crate::ops::rows::PIECE;
    use crate::ops::vector::widest;

    /// In place, where nobody else holds the tensors.
    pub(in crate::ops) fn step(
        weight: FlexTensor,
        grad: &FlexTensor,
        mean: FlexTensor,
        mean_square: FlexTensor,
        step: AdamWStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let grad = grad.to_contiguous();
        let [mut weight, mut mean, mut mean_square] =
            [weight, mean, mean_square].map(|tensor| tensor.to_contiguous());
        let state = weight
            .storage_mut::<f32>()
            .par_chunks_mut(PIECE)
            .zip(mean.storage_mut::<f32>().par_chunks_mut(PIECE))
            .zip(mean_square.storage_mut::<f32>().par_chunks_mut(PIECE));
        state.zip(values(&grad).par_chunks(PIECE)).for_each(
            |(((weight, mean), mean_square), grad)| {
                widest(|| piece(weight, mean, mean_square, grad, step));
            },
        );
        (weight, mean, mean_square)
    }

    #[inline(always)]
    fn piece(
        weight: &mut [f32],
        mean: &mut [f32],
        mean_square: &mut [f32],
        grad: &[f32],
        step: AdamWStep,
    ) {
        let (beta1, beta2) = (step.beta1 as f32, step.beta2 as f32);
        let (fresh1, fresh2) = ((1.0 - step.beta1) as f32, (1.0 - step.beta2) as f32);
        let (root2, epsilon) = (step.correction2.sqrt() as f32, step.epsilon as f32);
        let size = (step.lr / step.correction1) as f32;
        let keep = (1.0 - step.lr * step.weight_decay) as f32;
        let state = weight.iter_mut().zip(mean).zip(mean_square);
        for (((weight, mean), mean_square), grad) in state.zip(grad) {
            *mean = *mean * beta1 + grad * fresh1;
            *mean_square = *mean_square * beta2 + grad * grad * fresh2;
            *weight = *weight * keep - *mean / (mean_square.sqrt() / root2 + epsilon) * size;
        }
    }
}
