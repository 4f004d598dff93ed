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
        out.par_chunks_mut(piece).zip(rows.par_chunks(piece)).for_each(|(out, rows)| {
            widest(|| {
                for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
                    let scale = self.scale(row);
                    let parts = out.iter_mut().zip(row).zip(weights);
                    parts.for_each(|((out, x), weight)| *out = x * scale * weight);
                }
            });
        });
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
            .map(|(of_x, (rows, grads))| widest(|| self.backward_rows(rows, weights, grads, of_x)))
            .collect();
        // Added up in the order of the rows, whoever computed them.
        let mut sum = vec![0.0; width];
        for part in of_weight {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        [Some(shaped_as(of_x, &x)), Some(shaped_as(sum, &weight))]
    }
}

impl RmsNorm {
    #[inline(always)]
    fn scale(&self, row: &[f32]) -> f32 {
        1.0 / (sum_of(row, row, |a, b| a * b) / row.len() as f32 + self.epsilon).sqrt()
    }

    /// Fills in the gradient of rows and gives their part in that of the weight.
    #[inline(always)]
    fn backward_rows(
        &self,
        rows: &[f32],
        weights: &[f32],
        grads: &[f32],
        of_x: &mut [f32],
    ) -> Vec<f32> {
        let width = weights.len();
        let mut of_weight = vec![0.0; width];
        let inputs = rows.chunks_exact(width).zip(grads.chunks_exact(width));
        for (of_x, (row, grad)) in of_x.chunks_exact_mut(width).zip(inputs) {
            let scale = self.scale(row);
            of_x.iter_mut().zip(grad.iter().zip(weights)).for_each(|(out, (g, w))| *out = g * w);
            let along = sum_of(of_x, row, |g, x| g * x) * scale * scale / width as f32;
            of_x.iter_mut().zip(row).for_each(|(out, x)| *out = (*out - along * x) * scale);
            let parts = of_weight.iter_mut().zip(row.iter().zip(grad));
            parts.for_each(|(sum, (x, g))| *sum += g * x * scale);
        }
        of_weight
    }
}
