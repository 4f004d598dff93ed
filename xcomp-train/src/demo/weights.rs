//! Seeded random weights with the released names and shapes (`model.safetensors`).
//!
//! Training tunes the language model alone, so what is drawn here must let it see and learn:
//! - The frozen tower keeps colours and places apart. Its patch embedding is a random projection whose bias makes a dark room zero; its blocks add little to what comes in.
//! - Attention starts with large query and key biases, as trained Qwen2 models have them: of the heads that share a key head, every other one prefers near tokens and the rest far ones, so that early and late frames are told apart from the first step on.
//! - Outputs of blocks start small beside the embeddings, so that the residual stream carries tokens and colours through all layers.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::base::BaseOptions;
use super::error::DemoError;
use crate::machine::random::Random;

/// Deviation of the token embeddings.
const EMBEDDING: f32 = 0.2;
/// Deviation of the language model's inner projections.
const INNER: f32 = 0.08;
/// Deviation of the projections that write to the residual stream.
const OUTPUT: f32 = 0.03;
/// Deviation of the query and key biases.
const QUERY_KEY_BIAS: f32 = 0.5;
/// What biases of slow rotary pairs gain, for every other key head: with `sign * b` in the query and `b` in the key, a token at distance `d` gains `sign * b^2 * cos(d * frequency)` before the scale.
const DISTANCE_BIAS: [f32; 2] = [3.0, 1.5];
/// Gain of the patch embedding over a projection that keeps the norm.
const PATCH_GAIN: f32 = 1.4;
/// Gain of the output projections of all blocks of the tower together: what they add is independent, so it grows with the root of their number.
const TOWER_OUTPUT_GAIN: f32 = 0.1;
/// Gain of the connector's second layer.
const CONNECTOR_GAIN: f32 = 0.48;
/// Grey level that the tower maps to zero, between the darkest and the lightest room.
const DARK: f32 = 40.0;
/// Mean and deviation that pixels are normalised with (reference `umt_encoder.py`).
const PIXEL_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const PIXEL_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Writes every tensor of the tiny model as f32.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_weights(path: &Path, options: &BaseOptions) -> Result<(), DemoError> {
    let mut weights = Weights { seed: options.seed, tensors: Vec::new() };
    weights.language_model(options);
    weights.connector(options);
    weights.tower(options);
    let views = weights.tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("the bytes are those of the shape"))
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let file = safetensors::serialize(views, Some(metadata)).expect("a handful of small tensors");
    std::fs::write(path, file).map_err(DemoError::write(path))
}

/// Tensors in the order in which they are drawn: name, shape, little-endian bytes.
struct Weights {
    seed: u64,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Weights {
    fn put(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), bytes));
    }

    fn fill(&mut self, name: &str, size: usize, value: f32) {
        self.put(name, &[size], &vec![value; size]);
    }

    /// Normal draws that the seed and the name fix, and nothing else.
    fn normal(&self, name: &str, count: usize, deviation: f32) -> Vec<f32> {
        let mut random = Random::named(self.seed, name);
        (0..count).map(|_| random.normal() as f32 * deviation).collect()
    }

    fn draw(&mut self, name: &str, shape: &[usize], deviation: f32) {
        let values = self.normal(name, shape.iter().product(), deviation);
        self.put(name, shape, &values);
    }

    fn language_model(&mut self, options: &BaseOptions) {
        let (hidden, inner) = (options.hidden_size, options.intermediate_size);
        let head_dim = hidden / options.num_attention_heads;
        let key_value = head_dim * options.num_key_value_heads;
        let group = options.num_attention_heads / options.num_key_value_heads;
        self.draw("model.embed_tokens.weight", &[options.vocab_size, hidden], EMBEDDING);
        for layer in 0..options.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            for (part, size) in [("q", hidden), ("k", key_value), ("v", key_value)] {
                self.draw(&name(&format!("self_attn.{part}_proj.weight")), &[size, hidden], INNER);
            }
            self.distance_bias(&name("self_attn.q_proj.bias"), options, group);
            self.distance_bias(&name("self_attn.k_proj.bias"), options, 1);
            self.fill(&name("self_attn.v_proj.bias"), key_value, 0.0);
            self.draw(&name("self_attn.o_proj.weight"), &[hidden, hidden], OUTPUT);
            self.draw(&name("mlp.gate_proj.weight"), &[inner, hidden], INNER);
            self.draw(&name("mlp.up_proj.weight"), &[inner, hidden], INNER);
            self.draw(&name("mlp.down_proj.weight"), &[hidden, inner], OUTPUT);
            self.fill(&name("input_layernorm.weight"), hidden, 1.0);
            self.fill(&name("post_attention_layernorm.weight"), hidden, 1.0);
        }
        self.fill("model.norm.weight", hidden, 1.0);
    }

    /// Biases of queries (`group` heads to a key head) or of keys (`group` is 1): random, with a taste for distance in slow rotary pairs.
    fn distance_bias(&mut self, name: &str, options: &BaseOptions, group: usize) {
        let head_dim = options.hidden_size / options.num_attention_heads;
        let slow = head_dim / 4..head_dim / 2 - 1;
        let size = head_dim * options.num_key_value_heads * group;
        let mut values = self.normal(name, size, QUERY_KEY_BIAS);
        for (head, bias) in values.chunks_exact_mut(head_dim).enumerate() {
            let sign = if (head % group).is_multiple_of(2) { 1.0 } else { -1.0 };
            let taste = sign * DISTANCE_BIAS[head / group % DISTANCE_BIAS.len()];
            for bias in &mut bias[slow.clone()] {
                *bias += taste;
            }
        }
        self.put(name, &[size], &values);
    }

    fn connector(&mut self, options: &BaseOptions) {
        let (from, to) = (options.vision_hidden_size, options.hidden_size);
        for (at, from, gain) in [(0, from, 1.0), (2, to, CONNECTOR_GAIN)] {
            let name = |part: &str| format!("model.mm_projector.mlp.{at}.{part}");
            self.draw(&name("weight"), &[to, from], gain / (from as f32).sqrt());
            self.fill(&name("bias"), to, 0.0);
        }
    }

    fn tower(&mut self, options: &BaseOptions) {
        let name = |part: &str| format!("model.vision_tower.vision_tower.encoder.{part}");
        let width = options.vision_hidden_size;
        self.patch_embedding(&name("patch_embed.proj"), width, options.patch_size);
        let keep = 1.0 / (width as f32).sqrt();
        let gain = TOWER_OUTPUT_GAIN / (options.vision_blocks as f32).sqrt();
        for block in 0..options.vision_blocks {
            let name = |part: &str| name(&format!("blocks.{block}.{part}"));
            for norm in ["norm1", "norm2"] {
                self.fill(&name(&format!("{norm}.weight")), width, 1.0);
                self.fill(&name(&format!("{norm}.bias")), width, 0.0);
            }
            for bias in ["attn.q_bias", "attn.v_bias", "attn.proj.bias", "mlp.fc2.bias"] {
                self.fill(&name(bias), width, 0.0);
            }
            self.draw(&name("attn.qkv.weight"), &[3 * width, width], keep);
            self.draw(&name("attn.proj.weight"), &[width, width], keep * gain);
            self.draw(&name("mlp.fc1.weight"), &[4 * width, width], keep);
            self.fill(&name("mlp.fc1.bias"), 4 * width, 0.0);
            self.draw(&name("mlp.fc2.weight"), &[width, 4 * width], keep / 2.0 * gain);
        }
        self.fill(&name("vision_layernorm.weight"), width, 1.0);
        self.fill(&name("vision_layernorm.bias"), width, 0.0);
    }

    /// A random projection of each patch, shifted so that a dark patch becomes zero.
    fn patch_embedding(&mut self, name: &str, width: usize, patch: usize) {
        let plane = patch * patch;
        let weight_name = format!("{name}.weight");
        let deviation = PATCH_GAIN / (3.0 * plane as f32).sqrt();
        let weight = self.normal(&weight_name, width * 3 * plane, deviation);
        let dark: Vec<f32> =
            (0..3).map(|c| (DARK / 255.0 - PIXEL_MEAN[c]) / PIXEL_DEVIATION[c]).collect();
        let of_dark = |row: &[f32]| -> f32 {
            row.chunks_exact(plane).zip(&dark).map(|(w, dark)| w.iter().sum::<f32>() * dark).sum()
        };
        let bias: Vec<f32> = weight.chunks_exact(3 * plane).map(|row| -of_dark(row)).collect();
        self.put(&weight_name, &[width, 3, 1, patch, patch], &weight);
        self.put(&format!("{name}.bias"), &[width], &bias);
    }
}
