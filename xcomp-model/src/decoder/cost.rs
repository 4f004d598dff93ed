//! What one decoder layer costs: operations of its forward, what its tape keeps of it, and what its backward holds besides.
//!
//! Counted operation by operation from the layer's forward ([`super::qwen2`]). Loops keep their inputs alone
//! ([`crate::ops`]); of tensor operations Burn's tape (`burn-autodiff 0.23`, `ops/`) keeps the operands of a product whose
//! partner is tracked and the inputs of roots and exponentials, and nothing of sums and views, which share their buffer.

use crate::base::llm::LlmConfig;
use crate::cost::{Blocks, Flops, Formats, Kernels, Memory, matmul};
use crate::decoder::qwen2::DecoderLayer;

/// Queries whose scores are computed together (below f32 on a CPU).
const QUERY_CHUNK: u64 = 256;

/// Sequences of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// How many there are.
    pub sequences: u64,
    /// Tokens of each.
    pub each: u64,
}

impl Tokens {
    /// Tokens of all.
    pub fn all(self) -> u64 {
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

impl DecoderLayer {
    /// Operations of the layer over one sequence of `tokens` tokens; attention is causal, so half the square.
    pub fn flops(llm: &LlmConfig, tokens: usize) -> Flops {
        let queries = llm.num_attention_heads * llm.head_dim();
        let keys = llm.num_key_value_heads * llm.head_dim();
        let products = matmul(tokens, llm.hidden_size, queries + 2 * keys)
            + matmul(tokens, queries, llm.hidden_size)
            + 3.0 * matmul(tokens, llm.hidden_size, llm.intermediate_size);
        let pairs = tokens as f64 * (tokens as f64 + 1.0) / 2.0;
        Flops { products, attention: 4.0 * pairs * queries as f64 }
    }

    /// Memory of the layer over these tokens.
    pub fn memory(llm: &LlmConfig, tokens: Tokens, formats: Formats) -> Memory {
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
                + values(inner, 4) * 3
                + cast_weights(hidden, inner, queries, keys, formats);
            return Memory { kept, backward: values(inner, 4) * 3 + values(hidden, 4) * 2 };
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
        Memory {
            kept: norm * 2 + attention + mlp + scores.kept + weights,
            backward: back + values(hidden, 4) * 2,
        }
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

/// Every map keeps a copy of its weight in the format of the activations, unless it has that format.
fn cast_weights(hidden: u64, inner: u64, queries: u64, keys: u64, formats: Formats) -> Blocks {
    if formats.activation == formats.weight {
        return Blocks::default();
    }
    let weight = |width: u64| Blocks::one(formats.activation * hidden * width);
    (weight(queries) + weight(keys)) * 2 + weight(inner) * 3
}
