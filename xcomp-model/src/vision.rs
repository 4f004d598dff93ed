//! Vision towers, and frames on their way into them.

pub mod frames;
pub mod positions;
pub mod umt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::base::vision::VisionConfig;
use crate::cost::Flops;
use crate::vision::umt::Vit;

/// The tower of a model; the variant is no part of a parameter's name.
#[derive(Module, Debug)]
pub enum Vision {
    /// UMT-L (VideoChat-Flash).
    Umt(Vit),
}

impl Vision {
    /// A tower with fresh weights, drawn lazily.
    pub fn new(config: &VisionConfig, device: &Device) -> Self {
        Self::Umt(Vit::new(config, device))
    }

    /// Operations of the tower on one clip of `frames` frames.
    pub fn flops(config: &VisionConfig, frames: usize) -> Flops {
        Vit::flops(config, frames)
    }

    /// Features of clips.
    ///
    /// # Shapes
    /// - `pixels`: `[clips, frames, 3, image_size, image_size]`, normalised
    /// - output: `[clips, frames * grid * grid, hidden_size]`, time slowest
    pub fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        match self {
            Self::Umt(tower) => tower.forward(pixels),
        }
    }
}
