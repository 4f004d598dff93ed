//! Memory of one decoder layer: what its tape keeps from the forward, and what its backward holds besides.
//!
//! Counted operation by operation from the layer's forward (`xcomp_model::decoder::qwen2`). Loops keep their inputs alone
//! (`xcomp_model::ops`); of tensor operations Burn's tape (`burn-autodiff 0.23`, `ops/`) keeps the operands of a product whose
//! partner is tracked and the inputs of roots and exponentials, and nothing of sums and views, which share their buffer.

use xcomp_model::base::llm::LlmConfig;

use super::blocks::Blocks;
use super::memory::{Formats, Kernels};

/// Queries whose scores are computed together (`xcomp_model::ops`, below f32 on a CPU).
const QUERY_CHUNK: u64 = 256;

/// Sequences of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) sequences: u64,
    pub(super) each: u64,
}

impl Tokens {
    pub(super) fn all(self) -> u64 {
        self.sequences * self.each
    }

    /// Pairs of query and key for which scores are held, for each chunk of queries: up to its last key.
    fn chunks_of_pairs(self) -> impl Iterator<Item = u64> {
        (0..self.each).step_by(QUERY_CHUNK as usize).map(move |start| {
            let rows = QUERY_CHUNK.min(self.each - start);
            self.sequences * rows * (start + rows)
        })
    }
}

/// Memory of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerMemory {
    /// From the forward until its backward is through.
    pub(super) kept: Blocks,
    /// Beside it while its backward runs.
    pub(super) backward: Blocks,
}

/// The layer over these tokens.
pub(super) fn decoder_layer(llm: &LlmConfig, tokens: Tokens, formats: Formats) -> LayerMemory {
    let activation = formats.activation;
    let (hidden, inner) = (llm.hidden_size as u64, llm.intermediate_size as u64);
    let queries = (llm.num_attention_heads * llm.head_dim()) as u64;
    let keys = (llm.num_key_value_heads * llm.head_dim()) as u64;
    let values = |width: u64, bytes: u64| Blocks::one(tokens.all() * width * bytes);

    if formats.kernels == Kernels::Loops {
        // Two norms and what they give; queries and keys before and after rotation, values, what enters the output map;
        // gate, up, and what enters the down map.
        let kept = values(hidden, 4) * 4
            + (values(queries, 4) + values(keys, 4)) * 3
            + values(inner, 4) * 3;
        return LayerMemory { kept, backward: values(inner, 4) * 3 + values(hidden, 4) * 2 };
    }
    // Of each norm: the f32 input, the normalised and the scaled values.
    let norm = values(hidden, 4) + values(hidden, activation) * 2;
    // Scaled and rotated queries, rotated keys, values, and what enters the output map.
    let attention = (values(queries, activation) + values(keys, activation)) * 2;
    // Gate, its sigmoid, both multiplied, up, and what enters the down map.
    let mlp = values(inner, activation) * 5;
    let scores = scores(llm, tokens, formats);
    let weights = cast_weights(hidden, inner, queries, keys, formats);
    // First the gradients of gate, its sigmoid and up; then, when the feed-forward block and the probabilities are gone,
    // those on their way back through the softmax. Always those of the residual stream and of a branch.
    let gone = mlp + norm + scores.probabilities;
    let back = (values(inner, activation) * 3).max(scores.gradients.without(gone));
    LayerMemory {
        kept: norm * 2 + attention + mlp + scores.kept + weights,
        backward: back + values(hidden, 4) * 2,
    }
}

/// Scores of attention.
struct Scores {
    kept: Blocks,
    /// Of which probabilities.
    probabilities: Blocks,
    /// Of exponentials and scores, on the way back.
    gradients: Blocks,
}

fn scores(llm: &LlmConfig, tokens: Tokens, formats: Formats) -> Scores {
    let heads = llm.num_attention_heads as u64;
    if formats.kernels == Kernels::Fused {
        // A fused kernel keeps the logarithm of each row's sum.
        let sums = Blocks::one(4 * heads * tokens.all());
        return Scores {
            kept: sums,
            probabilities: Blocks::default(),
            gradients: Blocks::default(),
        };
    }
    let all = |bytes: u64| -> Blocks {
        tokens.chunks_of_pairs().map(|pairs| Blocks::one(heads * pairs * bytes)).sum()
    };
    let probabilities = all(formats.activation);
    // Shifted scores and their exponentials are f32.
    Scores { kept: all(4) * 2 + probabilities, probabilities, gradients: all(4) * 2 }
}

/// Below f32 every map keeps its weight in the format of the activations.
fn cast_weights(hidden: u64, inner: u64, queries: u64, keys: u64, formats: Formats) -> Blocks {
    if formats.activation == 4 {
        return Blocks::default();
    }
    let weight = |width: u64| Blocks::one(formats.activation * hidden * width);
    (weight(queries) + weight(keys)) * 2 + weight(inner) * 3
}
