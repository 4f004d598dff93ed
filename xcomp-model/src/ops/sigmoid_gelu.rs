//! Approximations of the Gaussian error linear unit by a sigmoid.

use burn::tensor::{Tensor, activation::sigmoid};

/// `x * sigmoid(a x + b x^3)` with `[a, b]` as given: CLIP's quick form, and the one by tanh, as `1 + tanh(u) = 2 sigmoid(2 u)`.
pub fn sigmoid_gelu<const D: usize>(x: Tensor<D>, [a, b]: [f64; 2]) -> Tensor<D> {
    let exponent = x.clone() * (x.clone().square() * b + a);
    x * sigmoid(exponent)
}
