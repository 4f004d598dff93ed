//! Sizes of the vision tower and the connector, from a Hugging Face `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// In which order merged tokens form groups of [`ProjectorConfig::tokens_per_frame`], the frames of LP-Comp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupOrder {
    /// As merging leaves them: unmerged tokens by similarity, then the others, so that a group is no frame.
    #[default]
    Reference,
    /// By time and place in the clip.
    Frame,
}

/// Sizes of the connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectorConfig {
    /// Width of the tower.
    pub mm_hidden_size: usize,
    /// Width of the language model.
    pub hidden_size: usize,
    /// Tokens of a frame after merging: 16 in the released model.
    pub tokens_per_frame: usize,
    /// Heads over which token features are averaged before matching: those of the tower
    /// (reference `tome16_mlp_hd64.py`).
    pub merge_heads: usize,
    /// The order of merged tokens, no matter of a checkpoint's sizes: who loads one sets it.
    #[serde(skip)]
    pub group_order: GroupOrder,
}

impl ProjectorConfig {
    /// Reads the connector's sizes; `mm_projector_type` is `tome<tokens per frame>_mlp_hd64`.
    ///
    /// # Errors
    ///
    /// If the connector is of another type, or does not fit the tower.
    pub fn from_hf(config: &Value, vision: &VisionConfig) -> Result<Self, ModelError> {
        let mm_hidden_size = count(config, "mm_hidden_size")?;
        if mm_hidden_size != vision.hidden_size {
            let expected = format!("{}, the tower's width", vision.hidden_size);
            return Err(invalid("mm_hidden_size", &mm_hidden_size.into(), &expected));
        }
        Ok(Self {
            mm_hidden_size,
            hidden_size: count(config, "hidden_size")?,
            tokens_per_frame: tokens_per_frame(config, vision)?,
            merge_heads: vision.num_heads,
            group_order: GroupOrder::default(),
        })
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

fn tokens_per_frame(config: &Value, vision: &VisionConfig) -> Result<usize, ModelError> {
    let key = "mm_projector_type";
    let value = config.get(key).ok_or_else(|| missing(key))?;
    let name = value.as_str().and_then(|name| name.strip_prefix("tome")?.strip_suffix("_mlp_hd64"));
    match name.and_then(|tokens| tokens.parse().ok()) {
        Some(tokens) if (1..=vision.patches()).contains(&tokens) => Ok(tokens),
        _ => {
            let expected = format!("\"tome<1 to {}>_mlp_hd64\"", vision.patches());
            Err(invalid(key, value, &expected))
        }
    }
}

fn count(config: &Value, key: &'static str) -> Result<usize, ModelError> {
    let value = config.get(key).ok_or_else(|| missing(key))?;
    match value.as_u64() {
        Some(count @ 1..) => Ok(count as usize),
        _ => Err(invalid(key, value, "a positive integer")),
    }
}

fn divides(
    key: &'static str,
    part: usize,
    whole_key: &str,
    whole: usize,
) -> Result<(), ModelError> {
    if part > 0 && whole > 0 && whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(invalid(key, &part.into(), &format!("a divisor of {whole_key}, which is {whole}")))
}

fn missing(key: &'static str) -> ModelError {
    ModelError::ConfigMissing { key }
}

fn invalid(key: &'static str, found: &Value, expected: &str) -> ModelError {
    ModelError::ConfigInvalid { key, found: found.to_string(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The keys of the released `config.json` that size the tower and the connector.
    fn released() -> Value {
        json!({
            "hidden_size": 1536,
            "mm_hidden_size": 1024,
            "mm_vision_tower": "umt-hd-large",
            "mm_vision_select_layer": -2,
            "mm_local_num_frames": 8,
            "mm_projector_type": "tome16_mlp_hd64",
        })
    }

    fn read(config: &Value) -> Result<(VisionConfig, ProjectorConfig), ModelError> {
        let vision = VisionConfig::from_hf(config)?;
        let projector = ProjectorConfig::from_hf(config, &vision)?;
        Ok((vision, projector))
    }

    fn check_error(key: &str, value: Value, expect: &str) {
        let mut config = released();
        config[key] = value;
        assert_eq!(read(&config).unwrap_err().to_string(), expect);
    }

    #[test]
    fn reads_the_released_model() {
        let (vision, projector) = read(&released()).unwrap();
        assert_eq!((vision.depth, vision.patches(), vision.clip_frames), (23, 784, 8));
        assert_eq!((projector.tokens_per_frame, projector.merge_heads), (16, 16));
    }

    #[test]
    fn a_block_of_sizes_overrides_the_name() {
        let mut config = released();
        config["vision_config"] = json!({
            "image_size": 64, "patch_size": 16, "hidden_size": 1024, "num_hidden_layers": 3,
            "num_attention_heads": 2, "intermediate_size": 128,
        });
        config["mm_projector_type"] = json!("tome4_mlp_hd64");
        let (vision, projector) = read(&config).unwrap();
        assert_eq!((vision.depth, vision.grid(), vision.intermediate_size), (2, 4, 128));
        assert_eq!((projector.tokens_per_frame, projector.merge_heads), (4, 2));
    }

    #[test]
    fn says_what_is_wrong() {
        let tower = "config.json: `mm_vision_tower` is \"siglip\", expected \"umt-hd-large\", \
                     or its sizes in a block `vision_config`";
        check_error("mm_vision_tower", json!("siglip"), tower);
        let layer = "config.json: `mm_vision_select_layer` is 3, expected a layer from -24 to -1";
        check_error("mm_vision_select_layer", json!(3), layer);
        let width = "config.json: `mm_hidden_size` is 768, expected 1024, the tower's width";
        check_error("mm_hidden_size", json!(768), width);
        let kind = "config.json: `mm_projector_type` is \"linear\", \
                    expected \"tome<1 to 784>_mlp_hd64\"";
        check_error("mm_projector_type", json!("linear"), kind);
        let frames = "config.json: `mm_local_num_frames` is 0, expected a positive integer";
        check_error("mm_local_num_frames", json!(0), frames);
    }
}
