//! Random first weights, for tests and measurements: fixed by the seed and each tensor's name alone.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
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

fn values(seed: u64, name: &str, count: usize) -> Vec<f32> {
    let field = name.rsplit('.').next().unwrap_or(name);
    if field.ends_with("bias") {
        return vec![0.0; count];
    }
    if name.contains("norm") {
        return vec![1.0; count];
    }
    let digest = Sha256::digest(format!("{seed} {name}"));
    let (words, _) = digest.as_chunks::<8>();
    let start = u64::from_le_bytes(words[0]);
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
    fn norms_are_one_and_biases_zero() {
        assert_eq!(values(0, "model.layers.0.input_layernorm.weight", 2), [1.0, 1.0]);
        assert_eq!(values(0, "blocks.0.norm1.bias", 2), [0.0, 0.0]);
        assert_eq!(values(0, "blocks.0.attn.q_bias", 2), [0.0, 0.0]);
    }
}
