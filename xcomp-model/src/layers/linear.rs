//! A linear map with its weight stored as the checkpoint stores it.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use crate::layers::lora::Lora;
use crate::ops;

/// Standard deviation of freshly initialised weights (`initializer_range` of Qwen2).
const INIT_STD: f64 = 0.02;

/// `y = x W^T + b` with the weight in PyTorch's layout `[outputs, inputs]`, so that no tensor is transposed on loading or saving.
///
/// The master weight may be f32 while activations are bf16: it is cast to the dtype of `x`, and the gradient comes back in f32.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What is tuned in the place of the weight, if an adapter is ([`crate::lora`]).
    pub lora: Option<Lora>,
}

impl Linear {
    /// A map with a bias; weights are drawn lazily, unless a checkpoint replaces them first.
    pub fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let bias = Initializer::Zeros.init([outputs], device);
        Self { bias: Some(bias), ..Self::without_bias(inputs, outputs, device) }
    }

    /// A map without a bias.
    pub fn without_bias(inputs: usize, outputs: usize, device: &Device) -> Self {
        let init = Initializer::Normal { mean: 0.0, std: INIT_STD };
        Self { weight: init.init([outputs, inputs], device), bias: None, lora: None }
    }

    /// Applies the map to the last dimension.
    ///
    /// # Shapes
    /// - `x`: `[.., inputs]`
    /// - output: `[.., outputs]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let map = |x| ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val));
        match &self.lora {
            None => map(x),
            Some(lora) => map(x.clone()) + lora.forward(x),
        }
    }
}
