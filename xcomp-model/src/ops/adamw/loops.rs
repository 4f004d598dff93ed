//! The loops of `adamw`: in place, where nobody else holds the tensors.

use burn::backend::flex::FlexTensor;
use burn::tensor::DType;
use half::bf16;
use rayon::prelude::*;

use super::numbers::Numbers;
use super::step::AdamWStep;
use crate::ops::dynamic_map::DynamicMap;
use crate::ops::random::Key;
use crate::ops::recorded::values;
use crate::ops::rows::PIECE;
use crate::ops::vector::widest;

/// With moments in f32 or bf16.
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
    if [&weight, &mean, &mean_square].iter().all(|held| held.dtype() == DType::F32) {
        in_place(&mut weight, &grad, &mut mean, &mut mean_square, step);
        return (weight, mean, mean_square);
    }
    let state = State {
        weight: floats(&mut weight, step.keys.weight),
        mean: floats(&mut mean, step.keys.mean),
        mean_square: floats(&mut mean_square, step.keys.mean_square),
    };
    state.step(values(&grad), step);
    (weight, mean, mean_square)
}

/// With moments in blocks of bytes.
pub(in crate::ops) fn step_int8(
    weight: FlexTensor,
    grad: &FlexTensor,
    [mean, mean_square]: [[FlexTensor; 2]; 2],
    step: AdamWStep,
) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
    let grad = grad.to_contiguous();
    let [mut weight] = [weight].map(|tensor| tensor.to_contiguous());
    let [mut places, mut scales] = mean.map(|tensor| tensor.to_contiguous());
    let [mut square_places, mut square_scales] = mean_square.map(|tensor| tensor.to_contiguous());
    let state = State {
        weight: floats(&mut weight, step.keys.weight),
        mean: blocks(&mut places, &mut scales, true),
        mean_square: blocks(&mut square_places, &mut square_scales, false),
    };
    state.step(values(&grad), step);
    (weight, places, scales, square_places, square_scales)
}

fn floats(tensor: &mut FlexTensor, key: Key) -> Numbers<'_> {
    if tensor.dtype() == DType::F32 {
        Numbers::F32(tensor.storage_mut::<f32>())
    } else {
        Numbers::Bf16(tensor.storage_mut::<bf16>(), key)
    }
}

fn blocks<'a>(places: &'a mut FlexTensor, scales: &'a mut FlexTensor, signed: bool) -> Numbers<'a> {
    let (places, scales) = (places.storage_mut::<u8>(), scales.storage_mut::<f32>());
    Numbers::Int8 { places, scales, map: DynamicMap::of(signed) }
}

/// A tensor's weight and moments, one of which at least is not f32.
struct State<'a> {
    weight: Numbers<'a>,
    mean: Numbers<'a>,
    mean_square: Numbers<'a>,
}

impl State<'_> {
    /// Piece by piece: widened, stepped, and rounded back; a piece at a time is ever there in f32.
    fn step(self, grad: &[f32], step: AdamWStep) {
        let pieces = self.weight.pieces().into_par_iter().zip(self.mean.pieces());
        let pieces = pieces.zip(self.mean_square.pieces()).zip(grad.par_chunks(PIECE)).enumerate();
        let scratch = || [const { Vec::new() }; 3];
        pieces.for_each_init(scratch, |scratch, (at, (((weight, mean), square), grad))| {
            let mut held = [weight, mean, square];
            held.iter().zip(scratch.iter_mut()).for_each(|(held, wide)| held.load(wide));
            let [weight, mean, square] = scratch;
            piece(weight, mean, square, grad, step);
            let first = (at * PIECE) as u32;
            let wide = scratch.iter();
            held.iter_mut().zip(wide).for_each(|(held, wide)| held.store(wide, first));
        });
    }
}

fn in_place(
    weight: &mut FlexTensor,
    grad: &FlexTensor,
    mean: &mut FlexTensor,
    mean_square: &mut FlexTensor,
    step: AdamWStep,
) {
    let state = weight
        .storage_mut::<f32>()
        .par_chunks_mut(PIECE)
        .zip(mean.storage_mut::<f32>().par_chunks_mut(PIECE))
        .zip(mean_square.storage_mut::<f32>().par_chunks_mut(PIECE));
    state.zip(values(grad).par_chunks(PIECE)).for_each(|(((weight, mean), mean_square), grad)| {
        piece(weight, mean, mean_square, grad, step);
    });
}

widest! {
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
