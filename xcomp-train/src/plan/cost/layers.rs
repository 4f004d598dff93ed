//! What each decoder layer costs for one sample.

use serde::Serialize;
use xcomp_model::cost::Formats;
use xcomp_model::decoder::cost::Tokens;
use xcomp_model::decoder::qwen2::DecoderLayer;

use super::SampleSize;
use super::flops::{LayerWork, Work, layer_work};

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
        let sequence = Tokens { sequences: 1, each: layer.tokens as u64 };
        LayerCost {
            tokens: layer.tokens,
            forward_flops: layer.forward_all(),
            backward_flops: layer.backward_all(),
            kept_bytes: DecoderLayer::memory(&work.config.llm, sequence, formats).kept.bytes(),
        }
    };
    layer_work(work, size).into_iter().map(cost).collect()
}
