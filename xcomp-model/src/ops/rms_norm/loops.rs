//! The loops of `rms_norm`, forward and back.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::ops::recorded::{CpuOp, shaped_as, values};
use crate::ops::rows::rows_of;
use crate::ops::vector::{sum_of, widest};

#[derive(Debug, Clone)]
pub(in crate::ops) struct RmsNorm {
    pub(in crate::ops) epsilon: f32,
}

impl CpuOp<2> for RmsNorm {
    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> FlexTensor {
        let (rows, weights) = (values(&x), values(&weight));
        let (width, mut out) = (weights.len(), vec![0.0; rows.len()]);
        let piece = rows_of(width) * width;
        let pieces = out.par_chunks_mut(piece).zip(rows.par_chunks(piece));
        pieces.for_each(|(out, rows)| forward_rows(out, rows, weights, self.epsilon));
        shaped_as(out, &x)
    }

    fn backward(
        &self,
        [x, weight]: [FlexTensor; 2],
        grad: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (rows, weights, grads) = (values(&x), values(&weight), values(&grad));
        let (width, mut of_x) = (weights.len(), vec![0.0; rows.len()]);
        let piece = rows_of(width) * width;
        let inputs = rows.par_chunks(piece).zip(grads.par_chunks(piece));
        let of_weight: Vec<Vec<f32>> = of_x
            .par_chunks_mut(piece)
            .zip(inputs)
            .map(|(of_x, (rows, grads))| {
                let mut of_weight = vec![0.0; width];
                backward_rows(of_x, &mut of_weight, rows, grads, weights, self.epsilon);
                of_weight
            })
            .collect();
        // Added up in the order of the rows, whoever computed them.
        let mut sum = vec![0.0; width];
        for part in of_weight {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        [Some(shaped_as(of_x, &x)), Some(shaped_as(sum, &weight))]
    }
}

widest! {
    fn forward_rows(out: &mut [f32], rows: &[f32], weights: &[f32], epsilon: f32) {
        let width = weights.len();
        for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
            let scale = scale(row, epsilon);
            let parts = out.iter_mut().zip(row).zip(weights);
            parts.for_each(|((out, x), weight)| *out = x * scale * weight);
        }
    }

    /// Fills in the gradient of rows, and adds their part to that of the weight.
    fn backward_rows(
        of_x: &mut [f32],
        of_weight: &mut [f32],
        rows: &[f32],
        grads: &[f32],
        weights: &[f32],
        epsilon: f32,
    ) {
        let width = weights.len();
        let inputs = rows.chunks_exact(width).zip(grads.chunks_exact(width));
        for (of_x, (row, grad)) in of_x.chunks_exact_mut(width).zip(inputs) {
            let scale = scale(row, epsilon);
            of_x.iter_mut().zip(grad.iter().zip(weights)).for_each(|(out, (g, w))| *out = g * w);
            let along = sum_of(of_x, row, |g, x| g * x) * scale * scale / width as f32;
            of_x.iter_mut().zip(row).for_each(|(out, x)| *out = (*out - along * x) * scale);
            let parts = of_weight.iter_mut().zip(row.iter().zip(grad));
            parts.for_each(|(sum, (x, g))| *sum += g * x * scale);
        }
    }
}

/// What a row is multiplied by.
#[inline(always)]
fn scale(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum_of(row, row, |a, b| a * b) / row.len() as f32 + epsilon).sqrt()
}
