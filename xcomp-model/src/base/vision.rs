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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Pixels per side of a frame.
    pub image_size: usize,
    /// Pixels per side of a patch.
    pub patch_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Blocks that are run: the tower's depth less those the selected layer drops.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Width of the perceptron.
    pub intermediate_size: usize,
    /// Frames of a clip.
    pub clip_frames: usize,
    /// What its blocks are.
    pub body: Body,
}

/// The kinds of towers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// Every token of a clip sees every other; positions are computed (UMT).
    Joint(Pretrained),
    /// Every frame by itself; positions are learnt (CLIP, `SigLIP`).
    Frames(FrameBody),
}

/// The origin of a computed position table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pretrained {
    /// Frames of a clip in pretraining.
    pub frames: usize,
    /// Patches per side in pretraining.
    pub grid: usize,
}

/// What differs between transformers over single frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrameBody {
    /// The perceptron's.
    pub activation: Activation,
    /// Of every norm.
    pub epsilon: f64,
    /// Whether a learnt token stands before the patches, behind whose embedding is a norm and whose patches have no bias (CLIP).
    pub class_token: bool,
    /// Blocks behind the selected layer that a checkpoint has: kept, not run.
    pub unused_blocks: usize,
}

/// `SigLIP` (`modeling_siglip.py`).
pub const SIGLIP: FrameBody = FrameBody {
    activation: Activation::GeluPytorchTanh,
    epsilon: 1e-6,
    class_token: false,
    unused_blocks: 0,
};

/// CLIP (`modeling_clip.py`).
pub const CLIP: FrameBody = FrameBody {
    activation: Activation::QuickGelu,
    epsilon: 1e-5,
    class_token: true,
    unused_blocks: 0,
};

/// Blocks of a tower.
pub(super) struct Blocks {
    pub(super) run: usize,
    pub(super) stored: usize,
}

/// Activations of a perceptron, by their names in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (`SigLIP`).
    GeluPytorchTanh,
    /// `x * sigmoid(1.702 x)` (CLIP).
    QuickGelu,
}

impl Activation {
    /// `[a, b]` where the activation is `x * sigmoid(a x + b x^3)`.
    pub fn exponent(self) -> [f64; 2] {
        match self {
            Self::GeluPytorchTanh => {
                let a = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                [a, 0.044_715 * a]
            }
            Self::QuickGelu => [1.702, 0.0],
        }
    }
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
            depth: selected_blocks(config, "mm_vision_select_layer", tower.num_hidden_layers)?,
            num_heads: tower.num_attention_heads,
            intermediate_size: tower.intermediate_size,
            clip_frames: count(config, "mm_local_num_frames")?,
            body: Body::Joint(Pretrained { frames: CHECKPOINT_FRAMES, grid: CHECKPOINT_GRID }),
        };
        divides("vision_config.patch_size", config.patch_size, "image_size", config.image_size)?;
        config.check()?;
        Ok(config)
    }

    /// Sizes of a tower over single frames, from its own block of keys as transformers writes it; `usual` has what it may leave out,
    /// `blocks` says what becomes of so many of them.
    ///
    /// # Errors
    /// If a size is missing or impossible, or the activation is another.
    pub(super) fn over_frames(
        block: &Value,
        usual: FrameBody,
        blocks: impl FnOnce(usize) -> Result<Blocks, ModelError>,
    ) -> Result<Self, ModelError> {
        let Blocks { run, stored } = blocks(count(block, "num_hidden_layers")?)?;
        let given = |key| block.get(key).filter(|value| !value.is_null());
        let activation = given("hidden_act").map_or(Ok(usual.activation), |word| {
            let expected = "\"gelu_pytorch_tanh\" or \"quick_gelu\"";
            Activation::deserialize(word)
                .map_err(|_| invalid("vision_config.hidden_act", word, expected))
        })?;
        let epsilon = given("layer_norm_eps").map_or(Ok(usual.epsilon), |value| {
            let epsilon = value.as_f64().filter(|epsilon| *epsilon > 0.0);
            epsilon.ok_or_else(|| invalid("vision_config.layer_norm_eps", value, "above 0"))
        })?;
        let config = Self {
            image_size: count(block, "image_size")?,
            patch_size: count(block, "patch_size")?,
            hidden_size: count(block, "hidden_size")?,
            depth: run,
            num_heads: count(block, "num_attention_heads")?,
            intermediate_size: count(block, "intermediate_size")?,
            clip_frames: 1,
            body: Body::Frames(FrameBody {
                activation,
                epsilon,
                unused_blocks: stored - run,
                ..usual
            }),
        };
        if config.patch_size > config.image_size {
            let expected = format!("at most image_size, which is {}", config.image_size);
            let found = config.patch_size.into();
            return Err(invalid("vision_config.patch_size", &found, &expected));
        }
        config.check()?;
        Ok(config)
    }

    /// What features of the tower are found by; of UMT in words that older stores have.
    pub fn key(&self) -> String {
        let Body::Joint(Pretrained { frames, grid }) = self.body else {
            return format!("{self:?}");
        };
        let Self { image_size, patch_size, hidden_size, depth, num_heads, .. } = self;
        let Self { intermediate_size, clip_frames, .. } = self;
        format!(
            "VisionConfig {{ image_size: {image_size}, patch_size: {patch_size}, hidden_size: {hidden_size}, \
             depth: {depth}, num_heads: {num_heads}, intermediate_size: {intermediate_size}, \
             clip_frames: {clip_frames}, checkpoint_frames: {frames}, checkpoint_grid: {grid} }}"
        )
    }

    /// Patches per side of a frame; pixels that fill no patch are not seen.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of a frame.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    fn check(&self) -> Result<(), ModelError> {
        let (heads, width) = (self.num_heads, self.hidden_size);
        divides("vision_config.num_attention_heads", heads, "hidden_size", width)
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
pub(super) fn selected_blocks(
    config: &Value,
    key: &'static str,
    depth: usize,
) -> Result<usize, ModelError> {
    let Some(value) = config.get(key) else {
        return Ok((depth as i64 + SELECT_LAYER + 1).max(0) as usize);
    };
    let blocks = value.as_i64().filter(|layer| *layer < 0).map(|layer| depth as i64 + layer + 1);
    match blocks {
        Some(blocks @ 1..) => Ok(blocks as usize),
        _ => Err(invalid(key, value, &format!("a layer from -{depth} to -1"))),
    }
}
