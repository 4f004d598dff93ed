//! The loops of `adamw`, forward and back.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::step::AdamWStep;
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
    state.zip(values(&grad).par_chunks(PIECE)).for_each(|(((weight, mean), mean_square), grad)| {
        widest(|| piece(weight, mean, mean_square, grad, step));
    });
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
