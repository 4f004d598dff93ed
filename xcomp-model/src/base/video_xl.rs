//! Video-XL: CLIP, a two-layer MLP, 2x2 pooling, Qwen2 with learned tokens that summarise windows.

use serde_json::{Value, json};

use crate::base::connector::{PoolMode, Stage};
use crate::base::family::{Absent, Family, ModelConfig, Names, Visuals};
use crate::base::json::{invalid, missing};
use crate::base::llava::{CLIP_PIXELS, check_width, clip, connector, has_projector, only, spare};
use crate::base::llm::LlmConfig;
use crate::base::vst::VstConfig;
use crate::error::ModelError;

/// Tokens of a side that become one, whatever `config.json` says (`llava_arch.py`, `get_2dPool`).
const POOL_STRIDE: usize = 2;

/// The layout of the released Video-XL (`VectorSpaceLab/Video-XL`).
pub const VIDEO_XL: Family = Family {
    name: "Video-XL",
    llm: Names::prefixed(""),
    connector: Names { prefix: "model.mm_projector.", rename: &[("mlp.", "model.mm_projector.")] },
    vision: Names::prefixed("model.vision_tower.vision_tower.vision_model."),
    absent: |name| match name {
        _ if name.contains("beacon_") => Absent::Copy(name.replacen("beacon_", "", 1)),
        _ if name.contains(".post_layernorm.") => Absent::Fresh,
        _ => Absent::Refuse,
    },
    spare,
    visuals: Visuals::Any,
    template: "video-xl",
    frames: "tiled",
    pixels: CLIP_PIXELS,
    recognises: |config| config.get("beacon_window").is_some(),
    read,
};

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    only(config, "architectures", &json!(["LlavaQwenForCausalLM"]))?;
    only(config, "mm_vision_select_feature", &json!("patch"))?;
    if !has_projector(config) {
        let key = "mm_projector_type";
        let found = config.get(key).ok_or_else(|| missing(key))?;
        return Err(invalid(key, found, "\"mlp2x_gelu\""));
    }
    let mut text = config.clone();
    text["rope_scaling"] = Value::Null; // as the reference sets it, whatever the file says
    let llm = LlmConfig::from_hf(&text)?;
    let vst = VstConfig::from_hf(config, llm.vocab_size)?;
    let llm = LlmConfig { vst: Some(vst), ..llm };
    // Which layer the released files were trained on is not known: none is assumed.
    let key = "mm_vision_select_layer";
    config.get(key).ok_or_else(|| missing(key))?;
    let vision = clip(config, key)?;
    check_width(config, &vision)?;
    let pool = Stage::Pool { stride: POOL_STRIDE, mode: PoolMode::Average };
    let connector = connector(&vision, llm.hidden_size, vec![Stage::Project, pool], false)?;
    Ok(ModelConfig { family: &VIDEO_XL, llm, vision, connector, lora: None })
}
