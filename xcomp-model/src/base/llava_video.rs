//! LLaVA-Video: `SigLIP`, a two-layer MLP, pooling, `image_newline`, Qwen2 (lmms-lab's layout of `LLaVA-Video-7B-Qwen2`).
//!
//! A picture is a video of one frame: the reference cuts it into tiles (`anyres_max_9`) and puts the base view before them, with
//! newlines where the canvas was cut back to the picture (`spatial_unpad`), which is not done here.

use serde_json::{Value, json};

use crate::base::connector::Stage;
use crate::base::family::{Family, ModelConfig, Names, Visuals};
use crate::base::json::only;
use crate::base::llava::{
    SIGLIP_PIXELS, absent, check_width, connector, has_projector, newline, pool_mode, siglip,
    spare, tower_name,
};
use crate::base::llm::LlmConfig;
use crate::error::ModelError;

/// Tokens of a side that become one: the code calls `get_2dPool` with its default, whatever `config.json` says.
const POOL_STRIDE: usize = 2;

/// The layout of `lmms-lab/LLaVA-Video-7B-Qwen2`.
pub const LLAVA_VIDEO: Family = Family {
    name: "LLaVA-Video",
    llm: Names::prefixed(""),
    connector: Names {
        prefix: "model.mm_projector.",
        rename: &[("mlp.", "model.mm_projector."), ("image_newline", "model.image_newline")],
    },
    vision: Names::prefixed("model.vision_tower.vision_tower.vision_model."),
    absent,
    spare,
    visuals: Visuals::Any,
    template: "chatml",
    frames: "timed",
    pixels: SIGLIP_PIXELS,
    recognises: |config| {
        has_projector(config) && tower_name(config).is_some_and(|name| name.contains("siglip"))
    },
    read,
};

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    only(config, "architectures", &json!(["LlavaQwenForCausalLM"]))?;
    let (llm, vision) = (LlmConfig::from_hf(config)?, siglip(config)?);
    check_width(config, &vision)?;
    let pool =
        Stage::Pool { stride: POOL_STRIDE, mode: pool_mode(config, "mm_spatial_pool_mode")? };
    let (newline, has_newline) = newline(config)?;
    let mut stages = vec![Stage::Project, pool];
    stages.extend(newline.map(Stage::Newline));
    let connector = connector(&vision, llm.hidden_size, stages, has_newline)?;
    Ok(ModelConfig { family: &LLAVA_VIDEO, llm, vision, connector, lora: None, most_tiles: 1 })
}
