//! Video-XL: CLIP, a two-layer MLP, 2x2 pooling, Qwen2 with learned tokens that summarise windows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::base::connector::{PoolMode, Stage};
use crate::base::family::{Absent, Family, ModelConfig, Names, Visuals};
use crate::base::json::{invalid, missing, only};
use crate::base::llava::{CLIP_PIXELS, absent, check_width, clip, connector, has_projector, spare};
use crate::base::llm::LlmConfig;
use crate::base::vst::VstConfig;
use crate::error::ModelError;

/// Most tiles of a picture where `config.json` lists no canvases (the released script).
const MOST_TILES: usize = 49;
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
        _ => absent(name),
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
    let most_tiles = most_tiles(config, vision.image_size)?;
    Ok(ModelConfig { family: &VIDEO_XL, llm, vision, connector, lora: None, most_tiles })
}

/// Most tiles of a picture: `image_grid_pinpoints` lists every canvas of two tiles to so many, as pairs or as Python writes them.
fn most_tiles(config: &Value, tile: usize) -> Result<usize, ModelError> {
    let key = "image_grid_pinpoints";
    let Some(value) = config.get(key).filter(|value| !value.is_null()) else {
        return Ok(MOST_TILES);
    };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = text.replace('(', "[").replace(')', "]");
    let listed: BTreeSet<(usize, usize)> = serde_json::from_str(&text).unwrap_or_default();
    let tiles = listed.iter().map(|(width, height)| (width / tile).saturating_mul(height / tile));
    // One row of 2 to N tiles alone makes a longer list than N - 2.
    let most = tiles.max().filter(|most| *most <= listed.len() + 1).unwrap_or_default();
    let of_columns = |columns| (1..=most / columns).map(move |rows| (columns * tile, rows * tile));
    let mut all: BTreeSet<(usize, usize)> = (1..=most).flat_map(of_columns).collect();
    all.remove(&(tile, tile));
    if !all.is_empty() && listed == all {
        return Ok(most);
    }
    let expected = format!(
        "a list of [width, height] with every canvas of 2 to N tiles of {tile} pixels, for some N"
    );
    Err(invalid(key, value, &expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canvases_say_how_many_tiles_a_picture_has() {
        let read = |list: Value| most_tiles(&json!({ "image_grid_pinpoints": list }), 10);
        assert_eq!(read(Value::Null).unwrap(), 49);
        assert_eq!(read(json!([[10, 20], [20, 10]])).unwrap(), 2);
        assert_eq!(read(json!("[(20, 10), (10, 20), (10, 30), (30, 10)]")).unwrap(), 3);
        for other in [
            json!([[10, 20]]),
            json!([[10, 10]]),
            json!([]),
            json!("(1x1),...,(6x6)"),
            json!([[10, 20], [20, 11]]),
            json!([[0, 20], [20, 10]]),
            json!([[10, 1e15 as u64], [20, u64::MAX]]),
        ] {
            let told = read(other.clone()).unwrap_err().to_string();
            assert!(told.contains("with every canvas of 2 to N tiles of 10 pixels"), "{told}");
        }
    }
}
