//! LLaVA-NeXT-Video: CLIP, pooling, a two-layer MLP, `LLaMA`; in Hugging Face's layout and in that of its authors.

use serde_json::{Value, json};

use crate::base::connector::{PoolMode, Stage};
use crate::base::family::{Family, ModelConfig, Names, Visuals};
use crate::base::json::{count, invalid, missing, only};
use crate::base::llava::{
    CLIP_PIXELS, absent, check_width, clip, connector, has_projector, pool_mode, spare, tower_name,
};
use crate::base::llm::LlmConfig;
use crate::base::vision::VisionConfig;
use crate::error::ModelError;

/// The layout of `llava-hf/LLaVA-NeXT-Video-7B-hf` (transformers' `llava_next_video`).
pub const LLAVA_NEXT_VIDEO: Family = Family {
    name: "LLaVA-NeXT-Video",
    llm: Names::prefixed("language_model."),
    connector: Names {
        prefix: "multi_modal_projector.",
        rename: &[
            ("mlp.0.", "multi_modal_projector.linear_1."),
            ("mlp.2.", "multi_modal_projector.linear_2."),
            ("image_newline", "image_newline"),
        ],
    },
    vision: Names::prefixed("vision_tower.vision_model."),
    absent,
    spare,
    visuals: Visuals::Any,
    template: "vicuna",
    frames: "cropped",
    pixels: CLIP_PIXELS,
    recognises: |config| {
        let kind = config.get("model_type").and_then(Value::as_str);
        config.get("text_config").is_some() && kind.is_some_and(|kind| kind.starts_with("llava"))
    },
    read,
};

/// The layout of `lmms-lab/LLaVA-NeXT-Video-7B`, from which the other was converted.
pub const LLAVA_NEXT_VIDEO_ORIGINAL: Family = Family {
    name: "LLaVA-NeXT-Video (original layout)",
    llm: Names::prefixed(""),
    connector: Names {
        prefix: "model.mm_projector.",
        rename: &[("mlp.", "model.mm_projector."), ("image_newline", "model.image_newline")],
    },
    vision: Names::prefixed("model.vision_tower.vision_tower.vision_model."),
    recognises: |config| {
        has_projector(config) && tower_name(config).is_some_and(|name| name.contains("clip"))
    },
    read: read_original,
    ..LLAVA_NEXT_VIDEO
};

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    only(config, "model_type", &json!("llava_next_video"))?;
    only(config, "vision_feature_select_strategy", &json!("default"))?;
    only(config, "projector_hidden_act", &json!("gelu"))?;
    only(config, "multimodal_projector_bias", &json!(true))?;
    let text = config.get("text_config").ok_or_else(|| missing("text_config"))?;
    let kind = text.get("model_type").filter(|kind| **kind != json!("llama"));
    if let Some(kind) = kind {
        return Err(invalid("text_config.model_type", kind, "\"llama\""));
    }
    let (llm, vision) = (LlmConfig::llama(text)?, clip(config, "vision_feature_layer")?);
    let key = ("spatial_pool_mode", "spatial_pool_stride");
    pooled_first(&LLAVA_NEXT_VIDEO, llm, vision, config, key)
}

fn read_original(config: &Value) -> Result<ModelConfig, ModelError> {
    only(config, "architectures", &json!(["LlavaLlamaForCausalLM"]))?;
    only(config, "mm_vision_select_feature", &json!("patch"))?;
    let key = "mm_resampler_type";
    match config.get(key).unwrap_or(&Value::Null) {
        found if *found == json!("spatial_pool") => {}
        found => {
            let expected = "\"spatial_pool\": tiles of an image model (anyres) are not computed";
            return Err(invalid(key, found, expected));
        }
    }
    let (llm, vision) = (LlmConfig::llama(config)?, clip(config, "mm_vision_select_layer")?);
    check_width(config, &vision)?;
    let key = ("mm_spatial_pool_mode", "mm_spatial_pool_stride");
    pooled_first(&LLAVA_NEXT_VIDEO_ORIGINAL, llm, vision, config, key)
}

/// The mean, or the largest, of every few patches goes through the MLP (`spatial_pool.py` and `LlavaNextVideoPooler` know no other
/// mode without weights); videos have no newlines.
fn pooled_first(
    family: &'static Family,
    llm: LlmConfig,
    vision: VisionConfig,
    config: &Value,
    (mode, stride): (&'static str, &'static str),
) -> Result<ModelConfig, ModelError> {
    // Both are the defaults of `configuration_llava_next_video.py`.
    let stride = if config.get(stride).is_some() { count(config, stride)? } else { 2 };
    let pooled =
        if config.get(mode).is_some() { pool_mode(config, mode)? } else { PoolMode::Average };
    if pooled == PoolMode::Bilinear {
        return Err(invalid(mode, &config[mode], "\"average\" or \"max\""));
    }
    let pool = Stage::Pool { stride, mode: pooled };
    let connector = connector(&vision, llm.hidden_size, vec![pool, Stage::Project], true)?;
    Ok(ModelConfig { family, llm, vision, connector, lora: None, most_tiles: 1 })
}
