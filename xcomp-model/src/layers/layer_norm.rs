//! Layer normalisation with the checkpoint's field names.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{DType, Device, Tensor};

/// `(x - mean) / sqrt(var + epsilon) * weight + bias` over the last dimension, computed in f32.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Param<Tensor<1>>,
    /// `[width]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// A norm of scale one and offset zero.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([width], device),
            bias: Initializer::Zeros.init([width], device),
            epsilon,
        }
    }

    /// Normalises the last dimension; the dtype of `x` is kept.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let dtype = x.dtype();
        let weight = self.weight.val().cast(DType::F32);
        let bias = self.bias.val().cast(DType::F32);
        let x = x.cast(DType::F32);
        burn::tensor::module::layer_norm(x, weight, Some(bias), self.epsilon).cast(dtype)
    }
}
