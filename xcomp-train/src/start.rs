//! The model of the first step: weights from a folder or drawn from the seed, tuned parts on the tape.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use xcomp_model::config::ModelConfig;
use xcomp_model::error::ModelError;
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::VISION_PREFIX;

use crate::named::{Change, Named};
use crate::plan::Plan;
use crate::recipe::tables::Init;
use crate::tune::{Part, tuned};

/// The model that a run starts from: what is tuned is on the tape of `device`, a frozen tower is not.
///
/// # Errors
/// If the checkpoint cannot be loaded.
pub fn starting_model(plan: &Plan, device: &Device) -> Result<Vlm, ModelError> {
    let device = device.clone().autodiff();
    let model = match plan.recipe.model.init {
        Init::Checkpoint => load(&plan.config, Path::new(&plan.recipe.model.checkpoint), &device)?,
        Init::Random => random(&plan.config, plan.recipe.train.seed, &device),
    };
    Ok(freeze(model, &plan.parts))
}

/// A model with the weights of a folder.
///
/// # Errors
/// If a tensor is missing, unused or of another shape, or a file is damaged; the error names it.
pub fn load(config: &ModelConfig, folder: &Path, device: &Device) -> Result<Vlm, ModelError> {
    let mut model = Vlm::new(config, device);
    model.load_weights(folder)?;
    Ok(model)
}

/// A model whose weights are drawn in a fixed order from `seed`.
pub fn random(config: &ModelConfig, seed: u64, device: &Device) -> Vlm {
    struct Draw;
    impl Change for Draw {
        fn change<const D: usize>(
            &mut self,
            _name: &str,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            let _drawn = param.val();
            param
        }
    }
    device.seed(seed);
    Vlm::new(config, device).change_each(&mut Draw)
}

/// Takes everything but `parts` off the tape; a tower of which nothing is tuned never meets one.
pub fn freeze(model: Vlm, parts: &[Part]) -> Vlm {
    struct Freeze<'a> {
        parts: &'a [Part],
        vision: bool,
    }
    impl Change for Freeze<'_> {
        fn change<const D: usize>(
            &mut self,
            name: &str,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            let tuned = tuned(self.parts, name);
            self.vision |= tuned && name.starts_with(VISION_PREFIX);
            param.set_require_grad(tuned)
        }
    }
    let mut freeze = Freeze { parts, vision: false };
    let model = model.change_each(&mut freeze);
    if freeze.vision { model } else { Vlm { vision: model.vision.valid(), ..model } }
}
