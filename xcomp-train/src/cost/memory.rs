//! Bytes on the device at the peak of a step, by part, and bytes on disk.

use serde::Serialize;
use xcomp_model::config::LlmConfig;

use super::SampleSize;
use super::flops::Work;
use super::parameters::{PartCount, tensors};
use crate::tune::tuned;

/// Rows whose logits exist at one time (`xcomp_model::loss`).
const LOGIT_ROWS: usize = 1024;
/// Copies of a chunk of logits that exist together: scores, their log-softmax and its gradient.
const LOGIT_COPIES: usize = 3;

/// Queries whose scores exist together (`xcomp_model::attention`, on the CPU).
const QUERY_CHUNK: usize = 256;

/// How tensors are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Bytes of an activation.
    pub activation: u64,
    /// Bytes of an accumulated gradient.
    pub gradient: u64,
    /// Whether attention keeps its scores (no fused backward on the device).
    pub keeps_scores: bool,
    /// Whether gradients of several micro-steps are summed, so that two sets exist together.
    pub accumulates: bool,
}

/// Bytes of each part at the peak of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// Tuned weights, f32 masters.
    pub tuned_weights: u64,
    /// Frozen weights.
    pub frozen_weights: u64,
    /// Gradients.
    pub gradients: u64,
    /// First and second moments, f32.
    pub moments: u64,
    /// Activations that the backward needs.
    pub activations: u64,
    /// Logits of one chunk of rows.
    pub logits: u64,
    /// The largest tensor's gradients from its two uses, or its update in the optimizer.
    pub work: u64,
    /// Raw frames, and the tower's working set for one clip.
    pub frames: u64,
}

impl Memory {
    /// All of it; frames and activations of the decoder are not there together.
    pub fn peak(&self) -> u64 {
        self.tuned_weights
            + self.frozen_weights
            + self.gradients
            + self.moments
            + self.work
            + self.frames.max(self.activations + self.logits)
    }
}

/// The peak of a step on samples of this size.
pub fn of_step(
    work: &Work,
    counts: &[PartCount],
    batch: &[SampleSize],
    formats: Formats,
) -> Memory {
    let tuned: u64 = counts.iter().map(|count| count.tuned).sum();
    let frozen: u64 = counts.iter().map(|count| count.frozen).sum();
    let sets = if formats.accumulates { 2 } else { 1 };
    Memory {
        tuned_weights: 4 * tuned,
        frozen_weights: 4 * frozen,
        gradients: sets * formats.gradient * tuned,
        moments: 8 * tuned,
        activations: activations(work, batch, formats),
        logits: logits(&work.config.llm, batch),
        work: 2 * 4 * largest_tuned(work),
        frames: batch.iter().map(|size| frames(work, *size, formats)).max().unwrap_or(0),
    }
}

/// Values of the largest tuned tensor.
fn largest_tuned(work: &Work) -> u64 {
    let of_part = tensors(work.config).into_iter().filter(|tensor| tuned(work.parts, &tensor.name));
    of_part.map(|tensor| tensor.count()).max().unwrap_or(0)
}

/// What the layers keep: everything, or only their inputs and one layer's worth.
fn activations(work: &Work, batch: &[SampleSize], formats: Formats) -> u64 {
    let llm = &work.config.llm;
    let layers = 0..llm.num_hidden_layers;
    let tokens = |layer: usize| -> Vec<usize> {
        let of =
            |size: &SampleSize| size.frames * work.compression.tokens(layer) + size.text_tokens;
        batch.iter().map(of).collect()
    };
    let whole = |layer: usize| -> u64 {
        tokens(layer).iter().map(|tokens| layer_bytes(llm, *tokens, formats)).sum()
    };
    if !work.recompute {
        return layers.map(whole).sum();
    }
    let inputs = layers
        .clone()
        .map(|layer| tokens(layer).iter().map(|t| (t * llm.hidden_size) as u64).sum::<u64>())
        .sum::<u64>()
        * formats.activation;
    inputs + layers.map(whole).max().unwrap_or(0)
}

/// What one decoder layer keeps for its backward, by tensor.
fn layer_bytes(llm: &LlmConfig, tokens: usize, formats: Formats) -> u64 {
    let (hidden, inner) = (llm.hidden_size as u64, llm.intermediate_size as u64);
    let queries = (llm.num_attention_heads * llm.head_dim()) as u64;
    let keys = (llm.num_key_value_heads * llm.head_dim()) as u64;
    // Burn's tape is eager: every elementwise operation keeps its operands. Counted per layer as two norms with five
    // f32 tensors each; inputs and sums of the products; plain, scaled, rotated and grouped queries and keys; gate,
    // sigmoid, up and their products. Fitted by hand to three measured runs on the CPU, which it meets within 10 %.
    let norms = 2 * 5 * hidden * 4;
    let values = 6 * hidden + 6 * queries + 6 * keys + 8 * inner;
    let scores = if formats.keeps_scores {
        // Biased scores, probabilities and their product's operand, for whole chunks of the causal half.
        3 * llm.num_attention_heads as u64 * (tokens + QUERY_CHUNK.min(tokens)) as u64 / 2
    } else {
        llm.num_attention_heads as u64
    };
    tokens as u64 * (norms + formats.activation * values + 4 * scores)
}

fn logits(llm: &LlmConfig, batch: &[SampleSize]) -> u64 {
    let rows: usize = batch.iter().map(|size| size.supervised_tokens).sum();
    // The tape keeps the log-softmax of every chunk; only the copies beside it are bounded.
    let kept = rows * llm.vocab_size * 4;
    let working = rows.min(LOGIT_ROWS) * llm.vocab_size * 4 * (LOGIT_COPIES - 1);
    (kept + working) as u64
}

/// Raw frames of a sample, the tower's activations for one clip, and the merged tokens.
fn frames(work: &Work, size: SampleSize, formats: Formats) -> u64 {
    let vision = &work.config.vision;
    let pixels = (vision.image_size * vision.image_size * 3) as u64;
    let clip_frames = vision.clip_frames.min(size.frames.max(1));
    let tokens = (clip_frames * vision.patches()) as u64;
    // Residual, normed input, the widest pair of the block, and the scores of one chunk of queries.
    let block = 2 * vision.hidden_size + 2 * vision.intermediate_size;
    let clip = 4 * clip_frames as u64 * pixels + tokens * block as u64 * formats.activation;
    let merged = (size.frames * work.config.projector.tokens_per_frame * vision.hidden_size) as u64;
    size.frames as u64 * pixels + clip + merged * formats.activation
}

/// Bytes on disk of one checkpoint: tuned weights and both moments in f32, behind small files.
pub fn checkpoint_bytes(counts: &[PartCount]) -> u64 {
    counts.iter().map(|count| 12 * count.tuned).sum()
}

/// Bytes on disk of an export: every weight.
pub fn export_bytes(counts: &[PartCount], bytes_per_value: u64) -> u64 {
    counts.iter().map(|count| bytes_per_value * (count.tuned + count.frozen)).sum()
}
