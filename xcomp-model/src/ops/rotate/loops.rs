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
        let sizes @ [_, heads, _, head_dim] = dims(x);
        let (numbers, cos, sin) = (in_memory(x), values(&self.cos), values(&self.sin));
        let (token, mut out) = (heads * head_dim, vec![0.0; numbers.len()]);
        let piece = rows_of(token);
        let pieces = out.par_chunks_mut(piece * token).zip(numbers.par_chunks(piece * token));
        pieces.enumerate().for_each(|(index, (out, tokens))| {
            turn(out, tokens, [cos, sin], [heads, head_dim / 2], index * piece, direction);
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

widest! {
    /// Tokens of so many heads, each of twice as many numbers as it has angles; the first stands at `first`, and all sequences share the angles.
    fn turn(
        out: &mut [f32],
        tokens: &[f32],
        angles: [&[f32]; 2],
        sizes: [usize; 2],
        first: usize,
        direction: f32,
    ) {
        let ([cos, sin], [heads, half]) = (angles, sizes);
        let (token, head_dim, seq) = (heads * 2 * half, 2 * half, cos.len() / half);
        let tokens = out.chunks_exact_mut(token).zip(tokens.chunks_exact(token));
        for ((out, token), place) in tokens.zip(first..) {
            let angles = place % seq * half..(place % seq + 1) * half;
            let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
            for (out, head) in out.chunks_exact_mut(head_dim).zip(token.chunks_exact(head_dim)) {
                let (low, high) = head.split_at(half);
                let (out_low, out_high) = out.split_at_mut(half);
                for i in 0..half {
                    let sin = sin[i] * direction;
                    out_low[i] = low[i] * cos[i] - high[i] * sin;
                    out_high[i] = high[i] * cos[i] + low[i] * sin;
                }
            }
        }
    }
}
