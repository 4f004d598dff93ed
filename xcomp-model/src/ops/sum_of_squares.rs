//! The sum of squares: what a gradient norm is made of.

use burn::tensor::Tensor;

/// The sum of the squares of all elements, in an order that never depends on the number of threads.
///
/// # Shapes
/// - `x`: `[elements]`, without a tape
/// - output: `[1]`
pub fn sum_of_squares(x: Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) {
        use super::cpu::CpuReductions;
        let x = x.into_dispatch();
        return Tensor::from_dispatch(<burn::backend::Dispatch as CpuReductions>::sum_of_squares(
            x,
        ));
    }
    x.square().sum()
}

#[cfg(feature = "flex")]
pub(super) mod loops {
    use burn::backend::flex::FlexTensor;
    use burn::tensor::Shape;
    use rayon::prelude::*;

    use crate::ops::recorded::{tensor, values};
    use crate::ops::rows::PIECE;
    use crate::ops::vector::{sum_of, widest};

    pub(in crate::ops) fn sum_of_squares(x: &FlexTensor) -> FlexTensor {
        let x = x.to_contiguous();
        let pieces = values(&x).par_chunks(PIECE);
        let sums: Vec<f32> = pieces.map(|x| widest(|| sum_of(x, x, |a, b| a * b))).collect();
        let sum: f64 = sums.into_iter().map(f64::from).sum();
        tensor(vec![sum as f32], Shape::new([1]))
    }
}
