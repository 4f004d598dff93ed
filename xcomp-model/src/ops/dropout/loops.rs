//! The loops of `dropout`, forward and back: the mask is never in memory.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::Dropout;
use crate::ops::random::Key;
use crate::ops::recorded::{CpuOp, shaped_as, values};
use crate::ops::rows::PIECE;
use crate::ops::vector::widest;

impl CpuOp<1> for Dropout {
    fn forward(&self, [x]: [FlexTensor; 1]) -> FlexTensor {
        masked(*self, &x)
    }

    fn backward(
        &self,
        [_]: [FlexTensor; 1],
        grad: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        [Some(masked(*self, &grad))]
    }
}

fn masked(dropout: Dropout, x: &FlexTensor) -> FlexTensor {
    let (lowest, scale) = (dropout.lowest_kept(), dropout.scale() as f32);
    let mut out = vec![0.0; values(x).len()];
    let pieces = out.par_chunks_mut(PIECE).zip(values(x).par_chunks(PIECE)).enumerate();
    pieces.for_each(|(piece, (out, x))| {
        mask(out, x, (piece * PIECE) as u32, dropout.key, lowest, scale);
    });
    shaped_as(out, x)
}

widest! {
    /// `scale` times each number whose place draws at least `lowest`, 0 for the others.
    fn mask(out: &mut [f32], x: &[f32], first: u32, key: Key, lowest: u32, scale: f32) {
        for (place, (out, x)) in (first..).zip(out.iter_mut().zip(x)) {
            let kept = key.bits(place) >= lowest;
            *out = if kept { x * scale } else { 0.0 };
        }
    }
}
