//! Whether a device holds the numbers that a recipe asks for.

use burn::tensor::{DType, Device};

use super::Plan;
use crate::error::Error;
use crate::recipe::Recipe;
use crate::recipe::tables::{FeatureWord, FloatWord, HeldWord, MomentWord};

impl Plan {
    /// Whether the device computes in every format of the recipe: kernels as WGSL, for one, know neither bf16 nor bytes.
    ///
    /// # Errors
    /// With the key of the first format that it does not compute in, and what to set.
    pub fn require_formats(&self, device: &Device) -> Result<(), Error> {
        missing(&self.recipe, |dtype| device.supports_dtype(dtype)).map_or(Ok(()), |message| {
            Err(Error::Mismatch { path: self.recipe.path.clone(), message })
        })
    }
}

/// What to say of the first key whose format a device does not have.
fn missing(recipe: &Recipe, has: impl Fn(DType) -> bool) -> Option<String> {
    let Recipe { train, optimizer, data, .. } = recipe;
    let float = match train.dtype {
        FloatWord::F32 => DType::F32,
        FloatWord::Bf16 => DType::BF16,
        FloatWord::F16 => DType::F16,
    };
    let held = |word| if word == HeldWord::Bf16 { DType::BF16 } else { DType::F32 };
    let moments = match optimizer.moments_dtype {
        MomentWord::F32 | MomentWord::Auto => DType::F32,
        MomentWord::Bf16 => DType::BF16,
        MomentWord::Int8 => DType::U8,
    };
    let features = if data.feature_format == FeatureWord::Bf16 { DType::BF16 } else { DType::F32 };
    let wanted = [
        ("[train] dtype", float, "f32"),
        ("[train] weights_dtype", held(train.weights_dtype), "f32"),
        ("[train] accumulate_dtype", held(train.accumulate_dtype), "f32"),
        ("[optimizer] moments_dtype", moments, "f32"),
        ("[data] feature_format", features, "exact"),
    ];
    let (key, dtype, instead) = wanted.into_iter().find(|(_, dtype, _)| !has(*dtype))?;
    let name = if dtype == DType::U8 { "bytes".into() } else { dtype.name().to_lowercase() };
    Some(format!(
        "{key}: the device does not compute in {name}; set \"{instead}\", or take another device"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_format_that_a_device_lacks_is_named_with_its_key() {
        let told = |set: &str, lacks: DType| {
            let set = ["train.dtype=f32".to_owned(), set.to_owned()];
            let recipe = Recipe::load(Path::new("../recipes/xcomp-2b.toml"), &set).unwrap();
            missing(&recipe, |dtype| dtype != lacks)
        };
        assert_eq!(told("train.seed=1", DType::BF16), None);
        for (set, lacks, words) in [
            (
                "train.dtype=bf16",
                DType::BF16,
                "[train] dtype: the device does not compute in bf16; set \"f32\"",
            ),
            ("train.weights_dtype=bf16", DType::BF16, "[train] weights_dtype"),
            ("train.accumulate_dtype=bf16", DType::BF16, "[train] accumulate_dtype"),
            (
                "optimizer.moments_dtype=int8",
                DType::U8,
                "moments_dtype: the device does not compute in bytes",
            ),
            (
                "data.feature_format=bf16",
                DType::BF16,
                "feature_format: the device does not compute in bf16; set \"exact\"",
            ),
        ] {
            let told = told(set, lacks).unwrap();
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn the_processor_has_every_format() {
        let device = Device::flex();
        let all = [DType::F32, DType::BF16, DType::F16, DType::U8];
        assert!(all.into_iter().all(|dtype| device.supports_dtype(dtype)));
    }
}
