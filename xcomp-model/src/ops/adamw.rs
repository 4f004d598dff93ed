//! One step of AdamW on one tensor, whose weight and moments may be held in fewer bits than it computes with.

#[cfg(feature = "flex")]
pub(super) mod loops;
mod moment;
#[cfg(feature = "flex")]
mod numbers;
pub(super) mod step;

use burn::tensor::{DType, Tensor};

pub use moment::{MIN_QUANTISED, Moment, MomentFormat};
pub use step::{AdamWStep, StepKeys};

use super::rounding::rounded_in_tensor_operations;

/// Numbers that tensor operations work on at once where they are held in fewer bits: whole blocks.
pub const STRIDE: usize = 16 << 20;

/// The running means of one tensor.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Of the gradient.
    pub mean: Moment,
    /// Of its square.
    pub mean_square: Moment,
}

impl Moments {
    /// Before the first step.
    pub fn zeros_like(weight: &Tensor<1>, format: MomentFormat) -> Self {
        let ([count], device) = (weight.dims(), weight.device());
        let zeros = |signed| Moment::zeros(count, format, signed, &device);
        Self { mean: zeros(true), mean_square: zeros(false) }
    }

    /// Both in f32.
    #[must_use]
    pub fn exact(&self) -> Self {
        let exact = |moment: &Moment| Moment::Float(moment.numbers());
        Self { mean: exact(&self.mean), mean_square: exact(&self.mean_square) }
    }
}

/// The moved weight and the updated means, held as they were; nothing here has a tape.
///
/// Everything is computed in f32; a weight in bf16 and moments in bf16 are rounded by chance, with the bits of its keys.
///
/// # Shapes
/// - all: `[elements]`, the gradient in f32
pub fn adamw(
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: Moments,
    step: AdamWStep,
) -> (Tensor<1>, Moments) {
    #[cfg(feature = "flex")]
    if super::on_cpu(&weight.device()) {
        return on_a_cpu(weight, grad, moments, step);
    }
    in_tensor_operations(weight, grad, &moments, step)
}

/// In loops, by how the moments are held.
#[cfg(feature = "flex")]
fn on_a_cpu(
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: Moments,
    step: AdamWStep,
) -> (Tensor<1>, Moments) {
    use super::cpu::CpuOptimizer;
    let (weight, grad) = (weight.into_dispatch(), grad.into_dispatch());
    match (moments.mean, moments.mean_square) {
        (Moment::Float(mean), Moment::Float(mean_square)) => {
            let (mean, mean_square) = (mean.into_dispatch(), mean_square.into_dispatch());
            let (weight, mean, mean_square) = <burn::backend::Dispatch as CpuOptimizer>::adamw(
                weight,
                grad,
                mean,
                mean_square,
                step,
            );
            let [mean, mean_square] =
                [mean, mean_square].map(|held| Moment::Float(Tensor::from_dispatch(held)));
            (Tensor::from_dispatch(weight), Moments { mean, mean_square })
        }
        (
            Moment::Int8 { places, scales, .. },
            Moment::Int8 { places: square_places, scales: square_scales, .. },
        ) => {
            let (weight, places, scales, square_places, square_scales) =
                <burn::backend::Dispatch as CpuOptimizer>::adamw_int8(
                    weight,
                    grad,
                    places.into_dispatch(),
                    scales.into_dispatch(),
                    square_places.into_dispatch(),
                    square_scales.into_dispatch(),
                    step,
                );
            let held = |places, scales, signed| {
                let scales = Tensor::from_dispatch(scales);
                Moment::Int8 { places: Tensor::from_dispatch(places), scales, signed }
            };
            let mean = held(places, scales, true);
            let mean_square = held(square_places, square_scales, false);
            (Tensor::from_dispatch(weight), Moments { mean, mean_square })
        }
        _ => unreachable!("both moments of a tensor are held alike"),
    }
}

pub(super) fn in_tensor_operations(
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: &Moments,
    step: AdamWStep,
) -> (Tensor<1>, Moments) {
    let wide =
        |moment: &Moment| matches!(moment, Moment::Float(held) if held.dtype() == DType::F32);
    let exact = wide(&moments.mean) && wide(&moments.mean_square);
    let [count] = weight.dims();
    if (exact && weight.dtype() == DType::F32) || count <= STRIDE {
        return piece(weight, grad, moments, step, 0);
    }
    let (mut weights, mut means, mut squares) = (vec![], vec![], vec![]);
    for from in (0..count).step_by(STRIDE) {
        let to = (from + STRIDE).min(count);
        let cut = |tensor: &Tensor<1>| tensor.clone().slice_dim(0, from..to);
        let (mean, mean_square) =
            (moments.mean.slice(from, to), moments.mean_square.slice(from, to));
        let own = Moments { mean, mean_square };
        let (weight, moved) = piece(cut(&weight), cut(&grad), &own, step, from);
        weights.push(weight);
        means.push(moved.mean);
        squares.push(moved.mean_square);
    }
    let moments = Moments { mean: Moment::cat(means), mean_square: Moment::cat(squares) };
    (Tensor::cat(weights, 0), moments)
}

/// A part of a tensor from the number at `first` on.
fn piece(
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: &Moments,
    step: AdamWStep,
    first: usize,
) -> (Tensor<1>, Moments) {
    let dtype = weight.dtype();
    let (mean, mean_square) = (moments.mean.numbers(), moments.mean_square.numbers());
    let mean = mean * step.beta1 + grad.clone() * (1.0 - step.beta1);
    let mean_square = mean_square * step.beta2 + grad.square() * (1.0 - step.beta2);
    let root = mean_square.clone().sqrt() / step.correction2.sqrt() + step.epsilon;
    let decayed = weight.cast(DType::F32) * (1.0 - step.lr * step.weight_decay);
    let moved = decayed - mean.clone() / root * (step.lr / step.correction1);
    let moved = if dtype == DType::BF16 {
        let [count] = moved.dims();
        let random = step.keys.weight.bits_of(first..first + count, &moved.device());
        rounded_in_tensor_operations(moved, random)
    } else {
        moved
    };
    let mean = moments.mean.holding(mean, &step.keys.mean, first);
    let mean_square = moments.mean_square.holding(mean_square, &step.keys.mean_square, first);
    (moved, Moments { mean, mean_square })
}
