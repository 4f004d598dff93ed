//! What the LLaVA families have in common: keys of `config.json` for tower, projector and newlines.

use serde_json::{Value, json};

use crate::base::connector::{ConnectorConfig, Newline, PoolMode, Stage};
use crate::base::family::{Absent, Pixels};
use crate::base::json::{count, invalid, missing};
use crate::base::vision::{Blocks, CLIP, SIGLIP, VisionConfig, selected_blocks};
use crate::error::ModelError;

/// `SigLipImageProcessor` (`siglip_encoder.py`).
pub(super) const SIGLIP_PIXELS: Pixels = Pixels { mean: [0.5; 3], std: [0.5; 3] };

/// `CLIPImageProcessor`.
pub(super) const CLIP_PIXELS: Pixels = Pixels {
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

/// Tensors that files of towers and old decoders have and no forward uses.
pub(super) fn spare(name: &str) -> bool {
    name.contains(".vision_model.head.")
        || name.ends_with(".position_ids")
        || name.ends_with(".rotary_emb.inv_freq")
}

/// No forward uses the tower's last norm: a folder may lack it.
pub(super) fn absent(name: &str) -> Absent {
    if name.contains(".post_layernorm.") { Absent::Fresh } else { Absent::Refuse }
}

/// The name of the tower, without its owner and in lower case.
pub(super) fn tower_name(config: &Value) -> Option<String> {
    Some(config.get("mm_vision_tower")?.as_str()?.rsplit('/').next()?.to_lowercase())
}

/// The projector of all LLaVA families: two maps with a GELU between them.
pub(super) fn has_projector(config: &Value) -> bool {
    config.get("mm_projector_type") == Some(&json!("mlp2x_gelu"))
}

/// The block `vision_config`, else the sizes that belong to the tower's name.
fn block(config: &Value, named: &str, sizes: Value) -> Result<Value, ModelError> {
    let block = config.get("vision_config").filter(|block| !block.is_null());
    match (block, tower_name(config)) {
        (Some(block), _) => Ok(block.clone()),
        (None, Some(name)) if name == named => Ok(sizes),
        (None, _) => {
            let key = "mm_vision_tower";
            let name = config.get(key).ok_or_else(|| missing(key))?;
            let expected = format!("\"{named}\", or its sizes in a block `vision_config`");
            Err(invalid(key, name, &expected))
        }
    }
}

/// A `SigLIP` tower: the reference deletes the last block, whatever layer is selected (`siglip_encoder.py`).
pub(super) fn siglip(config: &Value) -> Result<VisionConfig, ModelError> {
    let so400m = json!({
        "image_size": 384, "patch_size": 14, "hidden_size": 1152, "num_hidden_layers": 27,
        "num_attention_heads": 16, "intermediate_size": 4304,
    });
    let block = block(config, "siglip-so400m-patch14-384", so400m)?;
    VisionConfig::over_frames(&block, SIGLIP, |blocks| match blocks {
        2.. => Ok(Blocks { run: blocks - 1, stored: blocks - 1 }),
        _ => Err(invalid("vision_config.num_hidden_layers", &blocks.into(), "at least two layers")),
    })
}

/// A CLIP tower; `layer` is the key that selects a layer. All blocks are in the file.
pub(super) fn clip(config: &Value, layer: &'static str) -> Result<VisionConfig, ModelError> {
    let large = json!({
        "image_size": 336, "patch_size": 14, "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096,
    });
    let block = block(config, "clip-vit-large-patch14-336", large)?;
    VisionConfig::over_frames(&block, CLIP, |blocks| {
        Ok(Blocks { run: selected_blocks(config, layer, blocks)?, stored: blocks })
    })
}

/// How a grid is pooled.
pub(super) fn pool_mode(config: &Value, key: &'static str) -> Result<PoolMode, ModelError> {
    let word = config.get(key).ok_or_else(|| missing(key))?;
    serde_json::from_value(word.clone())
        .map_err(|_| invalid(key, word, "\"average\", \"max\" or \"bilinear\""))
}

/// Where videos of LLaVA-Video have `image_newline`, if anywhere, and whether there is one (`llava_arch.py`).
pub(super) fn newline(config: &Value) -> Result<(Option<Newline>, bool), ModelError> {
    let word = |key, usual| match config.get(key).filter(|value| !value.is_null()) {
        Some(value) => value.as_str().ok_or_else(|| invalid(key, value, "a word")),
        None => Ok(usual),
    };
    // What the code does where a key is absent.
    let merge = word("mm_patch_merge_type", "flat")?;
    let position = word("mm_newline_position", "one_token")?;
    let has_newline = merge.contains("unpad");
    if merge != "flat" && !merge.starts_with("spatial") {
        let expected = "\"flat\", \"spatial\" or \"spatial_unpad\"";
        return Err(invalid("mm_patch_merge_type", &merge.into(), expected));
    }
    let found = match position {
        _ if merge == "flat" => None,
        "one_token" if !has_newline => None,
        "no_token" => None,
        "grid" | "frame" if !has_newline => {
            let expected = "\"spatial_unpad\", which has the token that mm_newline_position puts";
            return Err(invalid("mm_patch_merge_type", &merge.into(), expected));
        }
        "grid" => Some(Newline::Row),
        "frame" => Some(Newline::Frame),
        "one_token" => Some(Newline::Visual),
        _ => {
            let expected = "\"grid\", \"frame\", \"one_token\" or \"no_token\"";
            return Err(invalid("mm_newline_position", &position.into(), expected));
        }
    };
    Ok((found, has_newline))
}

/// The connector between these sizes.
pub(super) fn connector(
    vision: &VisionConfig,
    output_size: usize,
    stages: Vec<Stage>,
    has_newline: bool,
) -> Result<ConnectorConfig, ModelError> {
    let (input_size, grid) = (vision.hidden_size, vision.grid());
    let connector = ConnectorConfig { input_size, output_size, grid, stages, has_newline };
    if connector.tokens_per_frame() == 0 {
        let expected = "a grid that pooling leaves something of";
        return Err(invalid("vision_config.image_size", &vision.image_size.into(), expected));
    }
    Ok(connector)
}

/// That `mm_hidden_size`, where it is given, is the tower's width.
pub(super) fn check_width(config: &Value, vision: &VisionConfig) -> Result<(), ModelError> {
    let key = "mm_hidden_size";
    if config.get(key).is_none() || count(config, key)? == vision.hidden_size {
        return Ok(());
    }
    let expected = format!("{}, the tower's width", vision.hidden_size);
    Err(invalid(key, &config[key], &expected))
}
