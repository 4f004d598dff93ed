//! Seeded random weights of a family's names and shapes (`model.safetensors`).
//!
//! Training tunes the language model alone, so what is drawn here must let it see and learn:
//! - The frozen tower keeps colours and places apart. Its patch embedding is a random projection whose bias makes a dark room zero; its blocks add little to what comes in.
//! - Attention starts with large query and key biases, as trained Qwen2 models have them: of the heads that share a key head, every other one prefers near tokens and the rest far ones, so that early and late frames are told apart from the first step on.
//! - Outputs of blocks start small beside the embeddings, so that the residual stream carries tokens and colours through all layers.

use std::path::Path;

use burn::tensor::Device;
use safetensors::tensor::{Dtype, TensorView};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::Absent;
use xcomp_model::base::place::{Place, Region};
use xcomp_model::base::role::Role;
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::Parameter;

use super::error::DemoError;
use crate::machine::random::Random;

/// Deviation of the token embeddings, and of all else that stands for a token.
const EMBEDDING: f32 = 0.2;
/// Deviation of learnt positions: that of computed ones, which are sines and cosines.
const POSITION: f32 = 0.7;
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

/// Writes every tensor of a model of these sizes as f32, but those that its family lets a folder lack: they are filled as it is loaded.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write_weights(path: &Path, config: &ModelConfig, seed: u64) -> Result<(), DemoError> {
    let draw = Draw { config, seed };
    let all = Vlm::new(config, &Device::default()).parameters();
    let needed = all.into_iter().filter(|one| (config.family.absent)(&one.name) == Absent::Refuse);
    let tensors: Vec<_> = needed
        .map(|parameter| {
            let values = draw.values(&parameter).into_iter();
            (
                parameter.name,
                parameter.shape,
                values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>(),
            )
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("the bytes are those of the shape"))
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let file = safetensors::serialize(views, Some(metadata)).expect("a handful of small tensors");
    std::fs::write(path, file).map_err(DemoError::write(path))
}

/// Values that the seed and the name of a tensor fix, and nothing else.
struct Draw<'a> {
    config: &'a ModelConfig,
    seed: u64,
}

impl Draw<'_> {
    fn normal(&self, name: &str, count: usize, deviation: f32) -> Vec<f32> {
        let mut random = Random::named(self.seed, name);
        (0..count).map(|_| random.normal() as f32 * deviation).collect()
    }

    fn values(&self, parameter: &Parameter) -> Vec<f32> {
        let (name, count) = (parameter.name.as_str(), parameter.count());
        let llm = &self.config.llm;
        let role = self.config.family.role(name).expect("a parameter has a place");
        match role {
            Role::QueryBias => {
                self.distance_bias(name, count, llm.num_attention_heads / llm.num_key_value_heads)
            }
            Role::KeyBias => self.distance_bias(name, count, 1),
            Role::PatchBias => self.dark_bias(name, count),
            Role::Bias => vec![0.0; count],
            Role::Gain => vec![1.0; count],
            _ => self.normal(name, count, self.deviation(parameter, role)),
        }
    }

    /// Deviation of a weight that is drawn.
    fn deviation(&self, parameter: &Parameter, role: Role) -> f32 {
        let inputs: usize = parameter.shape[1..].iter().product();
        let keep = 1.0 / (inputs as f32).sqrt();
        let depth = self.config.vision.depth as f32;
        let place = self.config.family.place(&parameter.name).map(Place::region);
        match (place.expect("a parameter has a place"), role) {
            (_, Role::Token) => EMBEDDING,
            (_, Role::Position) => POSITION,
            (_, Role::Patches) => self.patch_deviation(),
            (Region::Llm, Role::Output) => OUTPUT,
            (Region::Vision, Role::Output) => keep * (TOWER_OUTPUT_GAIN / depth.sqrt()),
            (Region::Connector, Role::Output) => CONNECTOR_GAIN / (inputs as f32).sqrt(),
            (Region::Llm, _) => INNER,
            (Region::Vision | Region::Connector, _) => keep,
        }
    }

    /// Biases of queries (`group` heads to a key head) or of keys (`group` is 1): random, with a taste for distance in slow rotary pairs.
    fn distance_bias(&self, name: &str, count: usize, group: usize) -> Vec<f32> {
        let head_dim = self.config.llm.head_dim();
        let slow = head_dim / 4..head_dim / 2 - 1;
        let mut values = self.normal(name, count, QUERY_KEY_BIAS);
        for (head, bias) in values.chunks_exact_mut(head_dim).enumerate() {
            let sign = if (head % group).is_multiple_of(2) { 1.0 } else { -1.0 };
            let taste = sign * DISTANCE_BIAS[head / group % DISTANCE_BIAS.len()];
            for bias in &mut bias[slow.clone()] {
                *bias += taste;
            }
        }
        values
    }

    fn patch_deviation(&self) -> f32 {
        let patch = self.config.vision.patch_size;
        PATCH_GAIN / (3.0 * (patch * patch) as f32).sqrt()
    }

    /// Shifts the random projection of each patch so that a dark patch becomes zero.
    fn dark_bias(&self, name: &str, width: usize) -> Vec<f32> {
        let plane = self.config.vision.patch_size * self.config.vision.patch_size;
        let weight_name = name.replace("bias", "weight");
        let weight = self.normal(&weight_name, width * 3 * plane, self.patch_deviation());
        let pixels = self.config.family.pixels;
        let dark: Vec<f32> =
            (0..3).map(|c| (DARK / 255.0 - pixels.mean[c]) / pixels.std[c]).collect();
        let of_dark = |row: &[f32]| -> f32 {
            row.chunks_exact(plane).zip(&dark).map(|(w, dark)| w.iter().sum::<f32>() * dark).sum()
        };
        weight.chunks_exact(3 * plane).map(|row| -of_dark(row)).collect()
    }
}
