//! Random first weights, for tests and measurements: fixed by the seed and each tensor's name alone.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use xcomp_model::base::lora::{self, LoraConfig, adapted};
use xcomp_model::transfer::upload;
use xcomp_model::vlm::Vlm;

use crate::machine::random::Random;
use xcomp_model::weights::{Change, Named};

/// Standard deviation of fresh weights (`initializer_range` of Qwen2).
const STD: f64 = 0.02;
/// Uniform numbers behind a normal one.
const DRAWS: u64 = 2;

/// Draws every parameter: norms are 1, biases 0, everything else is normal.
pub fn random(model: Vlm, seed: u64) -> Vlm {
    struct Drawer(u64);
    impl Change for Drawer {
        fn change<const D: usize>(
            &mut self,
            name: &str,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            let shape = param.lazy_shape().dims::<D>();
            let values = values(self.0, name, shape.iter().product());
            param.map(|old| upload(TensorData::new(values, shape), &old.device()))
        }
    }
    model.change_each(&mut Drawer(seed))
}

/// Draws the first factor of every adapter, as PEFT does; the second is 0, so that nothing is added yet.
pub fn fresh_adapters(model: Vlm, seed: u64) -> Vlm {
    struct Drawer(u64);
    impl Change for Drawer {
        fn change<const D: usize>(
            &mut self,
            name: &str,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            if adapted(name).is_none() {
                return param;
            }
            let shape = param.lazy_shape().dims::<D>();
            let count = shape.iter().product();
            let first = name.ends_with(lora::A);
            let bound = if first { LoraConfig::bound(shape[D - 1]) } else { 0.0 };
            let values = uniform(self.0, name, count, bound);
            param.map(|old| upload(TensorData::new(values, shape), &old.device()))
        }
    }
    model.change_each(&mut Drawer(seed))
}

/// Where the numbers of a tensor begin.
fn start(seed: u64, name: &str) -> u64 {
    let digest = Sha256::digest(format!("{seed} {name}"));
    let (words, _) = digest.as_chunks::<8>();
    u64::from_le_bytes(words[0])
}

/// Evenly spread over `-bound..bound`.
fn uniform(seed: u64, name: &str, count: usize, bound: f64) -> Vec<f32> {
    let start = start(seed, name);
    let draw = |at| (bound * (2.0 * Random::behind(start, at as u64).unit() - 1.0)) as f32 + 0.0; // no -0
    (0..count).into_par_iter().map(draw).collect()
}

fn values(seed: u64, name: &str, count: usize) -> Vec<f32> {
    let field = name.rsplit('.').next().unwrap_or(name);
    if field.ends_with("bias") {
        return vec![0.0; count];
    }
    if name.contains("norm") {
        return vec![1.0; count];
    }
    let start = start(seed, name);
    let draw = |at: usize| (STD * Random::behind(start, DRAWS * at as u64).normal()) as f32;
    (0..count).into_par_iter().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_seed_and_name_and_look_normal() {
        let draw = |seed, name| values(seed, name, 20_000);
        assert_eq!(draw(1, "a.weight"), draw(1, "a.weight"));
        assert_ne!(draw(1, "a.weight"), draw(2, "a.weight"));
        assert_ne!(draw(1, "a.weight"), draw(1, "b.weight"));
        let drawn = draw(3, "x.weight");
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        let variance = drawn.iter().map(|v| v * v).sum::<f32>() / drawn.len() as f32;
        assert!(mean.abs() < 1e-3 && (variance.sqrt() - 0.02).abs() < 1e-3, "{mean} {variance}");
    }

    #[test]
    fn first_factors_fill_their_range_and_second_factors_are_zero() {
        let drawn = uniform(3, "x.lora.a", 20_000, 0.25);
        let (mean, most) = (
            drawn.iter().sum::<f32>() / 20_000.0,
            drawn.iter().fold(0.0_f32, |m, v| m.max(v.abs())),
        );
        let variance = drawn.iter().map(|v| v * v).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 5e-3 && (0.24..=0.25).contains(&most), "{mean} {most}");
        assert!((variance - 0.25 * 0.25 / 3.0).abs() < 1e-3, "{variance}");
        assert!(uniform(3, "x.lora.b", 10, 0.0).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn norms_are_one_and_biases_zero() {
        assert_eq!(values(0, "model.layers.0.input_layernorm.weight", 2), [1.0, 1.0]);
        assert_eq!(values(0, "blocks.0.norm1.bias", 2), [0.0, 0.0]);
        assert_eq!(values(0, "blocks.0.attn.q_bias", 2), [0.0, 0.0]);
    }
}
