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
pub(super) mod loops;
