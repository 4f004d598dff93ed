//! Sizes of the vision tower, from a Hugging Face `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::json::{count, divides, invalid, missing};
use crate::error::ModelError;

/// Frames of a clip the tower was pretrained with (reference `umt/vit.py`, `ckpt_num_frame`).
const CHECKPOINT_FRAMES: usize = 4;
/// Patches per side the tower was pretrained with: 224 pixels in patches of 16.
const CHECKPOINT_GRID: usize = 14;
/// Layer whose output is taken where `config.json` names none (the released `config.json`).
const SELECT_LAYER: i64 = -2;

/// Sizes of the vision tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Pixels per side of a frame.
    pub image_size: usize,
    /// Pixels per side of a patch.
    pub patch_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Blocks that are built: the tower's depth less those the selected layer drops.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Width of the perceptron.
    pub intermediate_size: usize,
    /// Frames of a clip.
    pub clip_frames: usize,
    /// Frames of a clip in pretraining: the origin of the position table.
    pub checkpoint_frames: usize,
    /// Patches per side in pretraining.
    pub checkpoint_grid: usize,
}

/// The block `vision_config`, which overrides the tower's name: for towers of other sizes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tower {
    image_size: usize,
    patch_size: usize,
    hidden_size: usize,
    /// Depth before the selected layer is taken.
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
}

/// `umt-hd-large`: UMT-L at 448 pixels (reference `umt_encoder.py`, `build_vit`).
const UMT_HD_LARGE: Tower = Tower {
    image_size: 448,
    patch_size: 16,
    hidden_size: 1024,
    num_hidden_layers: 24,
    num_attention_heads: 16,
    intermediate_size: 4096,
};

impl VisionConfig {
    /// Reads the tower's sizes: the block `vision_config` if there is one, else the sizes that
    /// belong to the name in `mm_vision_tower`.
    ///
    /// # Errors
    ///
    /// If the tower is unknown, or a size is missing or impossible.
    pub fn from_hf(config: &Value) -> Result<Self, ModelError> {
        let tower = tower(config)?;
        let config = Self {
            image_size: tower.image_size,
            patch_size: tower.patch_size,
            hidden_size: tower.hidden_size,
            depth: built_blocks(config, tower.num_hidden_layers)?,
            num_heads: tower.num_attention_heads,
            intermediate_size: tower.intermediate_size,
            clip_frames: count(config, "mm_local_num_frames")?,
            checkpoint_frames: CHECKPOINT_FRAMES,
            checkpoint_grid: CHECKPOINT_GRID,
        };
        config.check()?;
        Ok(config)
    }

    /// Patches per side of a frame.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of a frame.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    fn check(&self) -> Result<(), ModelError> {
        divides("vision_config.patch_size", self.patch_size, "image_size", self.image_size)?;
        divides(
            "vision_config.num_attention_heads",
            self.num_heads,
            "hidden_size",
            self.hidden_size,
        )
    }
}

fn tower(config: &Value) -> Result<Tower, ModelError> {
    if let Some(block) = config.get("vision_config").filter(|block| !block.is_null()) {
        return Tower::deserialize(block)
            .map_err(|error| invalid("vision_config", block, &error.to_string()));
    }
    let key = "mm_vision_tower";
    let name = config.get(key).ok_or_else(|| missing(key))?;
    match name.as_str().and_then(|name| name.rsplit('/').next()) {
        Some("umt-hd-large") => Ok(UMT_HD_LARGE),
        _ => Err(invalid(key, name, "\"umt-hd-large\", or its sizes in a block `vision_config`")),
    }
}

/// The selected layer counts from the end: -2 leaves out the last block of the tower.
fn built_blocks(config: &Value, depth: usize) -> Result<usize, ModelError> {
    let key = "mm_vision_select_layer";
    let Some(value) = config.get(key) else {
        return Ok((depth as i64 + SELECT_LAYER + 1).max(0) as usize);
    };
    let blocks = value.as_i64().filter(|layer| *layer < 0).map(|layer| depth as i64 + layer + 1);
    match blocks {
        Some(blocks @ 1..) => Ok(blocks as usize),
        _ => Err(invalid(key, value, &format!("a layer from -{depth} to -1"))),
    }
}
