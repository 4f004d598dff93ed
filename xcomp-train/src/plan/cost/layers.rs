//! What each decoder layer costs for one sample.

use serde::Serialize;

use super::SampleSize;
use super::flops::{LayerWork, Work, layer_work};
use super::layer_memory::{Tokens, decoder_layer};
use super::memory::Formats;

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerCost {
    /// Tokens inside it.
    pub tokens: usize,
    /// FLOPs of its forward.
    pub forward_flops: f64,
    /// FLOPs of its backward, nothing computed twice.
    pub backward_flops: f64,
    /// Bytes that its tape keeps for the backward; with recompute only while the layer is run again.
    pub kept_bytes: u64,
}

/// Every layer, first to last.
pub fn of_layers(work: &Work, size: SampleSize, formats: Formats) -> Vec<LayerCost> {
    let cost = |layer: LayerWork| {
        let through = if layer.passes { layer.matmul + 2.0 * layer.attention } else { 0.0 };
        let sequence = Tokens { sequences: 1, each: layer.tokens as u64 };
        LayerCost {
            tokens: layer.tokens,
            forward_flops: layer.matmul + layer.attention,
            backward_flops: through + if layer.moves { layer.matmul } else { 0.0 },
            kept_bytes: decoder_layer(&work.config.llm, sequence, formats).kept.bytes(),
        }
    };
    layer_work(work, size).into_iter().map(cost).collect()
}
