//! The connector: token merging, then a two-layer perceptron into the language model's width.

use crate::ops::gelu;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::base::vision_config::ProjectorConfig;
use crate::connector::token_merging::merge_tokens;
use crate::layers::linear::Linear;

/// `model.mm_projector` of the checkpoint: `mlp.0`, GELU, `mlp.2`.
#[derive(Module, Debug)]
pub struct Projector {
    /// Two linear maps with the (parameterless) GELU between them, so that indices are the
    /// checkpoint's.
    pub mlp: Vec<Option<Linear>>,
    #[module(skip)]
    config: ProjectorConfig,
}

impl Projector {
    /// A connector with fresh weights, drawn lazily.
    pub fn new(config: &ProjectorConfig, device: &Device) -> Self {
        let first = Linear::new(config.mm_hidden_size, config.hidden_size, device);
        let last = Linear::new(config.hidden_size, config.hidden_size, device);
        Self { mlp: vec![Some(first), None, Some(last)], config: config.clone() }
    }

    /// Its sizes.
    pub fn config(&self) -> &ProjectorConfig {
        &self.config
    }

    /// Merges the features of clips to the connector's tokens per frame. No parameters.
    ///
    /// # Shapes
    /// - `features`: `[clips, frames * patches, mm_hidden_size]`
    /// - output: `[clips, frames * tokens_per_frame, mm_hidden_size]`
    ///
    /// # Panics
    ///
    /// If a frame has fewer patches than tokens.
    pub fn merge(&self, features: Tensor<3>, frames: usize) -> Tensor<3> {
        let ProjectorConfig { tokens_per_frame, merge_heads, group_order, .. } = self.config;
        merge_tokens(features, frames * tokens_per_frame, merge_heads, group_order)
    }

    /// Maps tokens to the language model's width.
    ///
    /// # Shapes
    /// - `x`: `[.., mm_hidden_size]`
    /// - output: `[.., hidden_size]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.mlp.iter().fold(x, |x, layer| match layer {
            Some(linear) => linear.forward(x),
            None => gelu(x),
        })
    }
}
