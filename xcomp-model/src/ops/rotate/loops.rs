//! The loops of `rotate`, forward and back.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use crate::ops::heads::{in_memory, laid_side_by_side, side_by_side};
use crate::ops::recorded::{CpuOp, dims, values};
use crate::ops::rows::rows_of;
use crate::ops::vector::widest;

#[derive(Debug, Clone)]
pub(in crate::ops) struct Rotate {
    cos: FlexTensor,
    sin: FlexTensor,
}

impl Rotate {
    pub(in crate::ops) fn new(cos: &FlexTensor, sin: &FlexTensor) -> Self {
        Self { cos: cos.to_contiguous(), sin: sin.to_contiguous() }
    }

    /// Turned by the angles times `direction`.
    fn turned(&self, x: &FlexTensor, direction: f32) -> FlexTensor {
        let sizes @ [_, heads, seq, head_dim] = dims(x);
        let (numbers, cos, sin) = (in_memory(x), values(&self.cos), values(&self.sin));
        let (half, token, mut out) = (head_dim / 2, heads * head_dim, vec![0.0; numbers.len()]);
        let piece = rows_of(token);
        let pieces = out.par_chunks_mut(piece * token).zip(numbers.par_chunks(piece * token));
        pieces.enumerate().for_each(|(index, (out, tokens))| {
            widest(|| {
                let tokens = out.chunks_exact_mut(token).zip(tokens.chunks_exact(token));
                for ((out, token), place) in tokens.zip(index * piece..) {
                    let angles = place % seq * half..(place % seq + 1) * half;
                    let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
                    let heads = out.chunks_exact_mut(head_dim).zip(token.chunks_exact(head_dim));
                    heads.for_each(|(out, head)| turn(head, cos, sin, direction, out));
                }
            });
        });
        side_by_side(out, sizes)
    }
}

impl CpuOp<1> for Rotate {
    fn laid_out(input: &FlexTensor) -> FlexTensor {
        laid_side_by_side(input)
    }

    fn forward(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        self.turned(&x, 1.0)
    }

    /// A rotation is undone by the opposite one.
    fn backward(
        &self,
        _: [FlexTensor; 1],
        grad: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [Some(self.turned(&grad, -1.0))]
    }
}

#[inline(always)]
fn turn(row: &[f32], cos: &[f32], sin: &[f32], direction: f32, out: &mut [f32]) {
    let (low, high) = row.split_at(cos.len());
    let (out_low, out_high) = out.split_at_mut(cos.len());
    for i in 0..cos.len() {
        let sin = sin[i] * direction;
        out_low[i] = low[i] * cos[i] - high[i] * sin;
        out_high[i] = high[i] * cos[i] + low[i] * sin;
    }
}
