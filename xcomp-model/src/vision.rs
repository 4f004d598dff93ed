//! Vision towers, and frames on their way into them.

pub mod frame_vit;
pub mod frames;
mod patches;
pub mod positions;
pub mod umt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::base::vision::{Body, VisionConfig};
use crate::cost::Flops;
use crate::vision::frame_vit::FrameVit;
use crate::vision::umt::Vit;

/// The tower of a model; the variant is no part of a parameter's name.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a model has one tower")]
pub enum Vision {
    /// Over whole clips: UMT-L (VideoChat-Flash).
    Umt(Vit),
    /// Over single frames: `SigLIP` (LLaVA-Video), CLIP (LLaVA-NeXT-Video, Video-XL).
    Frames(FrameVit),
}

impl Vision {
    /// A tower with fresh weights, drawn lazily.
    pub fn new(config: &VisionConfig, device: &Device) -> Self {
        match config.body {
            Body::Joint(pretrained) => Self::Umt(Vit::new(config, pretrained, device)),
            Body::Frames(body) => Self::Frames(FrameVit::new(config, body, device)),
        }
    }

    /// Operations of the tower on one clip of `frames` frames.
    pub fn flops(config: &VisionConfig, frames: usize) -> Flops {
        match config.body {
            Body::Joint(_) => Vit::flops(config, frames),
            Body::Frames(body) => FrameVit::flops(config, body, frames),
        }
    }

    /// Features of clips.
    ///
    /// # Shapes
    /// - `pixels`: `[clips, frames, 3, image_size, image_size]`, normalised
    /// - output: `[clips, frames * grid * grid, hidden_size]`, time slowest
    pub fn forward(&self, pixels: Tensor<5>) -> Tensor<3> {
        self.forward_with_class(pixels).0
    }

    /// As [`Vision::forward`], and the class token of every frame, `[clips, frames, hidden_size]`, where the tower has one.
    pub fn forward_with_class(&self, pixels: Tensor<5>) -> (Tensor<3>, Option<Tensor<3>>) {
        match self {
            Self::Umt(tower) => (tower.forward(pixels), None),
            Self::Frames(tower) => tower.forward_with_class(pixels),
        }
    }
}
