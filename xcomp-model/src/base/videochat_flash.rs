//! VideoChat-Flash, the base of `XComp`: UMT-L, token merging and a two-layer MLP, Qwen2 (spec section 9).

use serde_json::Value;

use crate::base::connector::{ConnectorConfig, GroupOrder, Stage};
use crate::base::family::{Absent, Family, ModelConfig, Names, Pixels, Visuals};
use crate::base::json::{count, invalid, missing};
use crate::base::llm::LlmConfig;
use crate::base::vision::VisionConfig;
use crate::error::ModelError;

/// The released layout of `VideoChat-Flash-2B` and of `XComp`: module fields have its names.
pub const VIDEOCHAT_FLASH: Family = Family {
    name: "VideoChat-Flash",
    llm: Names::prefixed(""),
    connector: Names::prefixed("model.mm_projector."),
    vision: Names::prefixed("model.vision_tower.vision_tower.encoder."),
    absent: |_| Absent::Refuse,
    spare: |_| false,
    visuals: Visuals::ExactlyOne,
    template: "chatml",
    frames: "clips",
    // `ImageNet` (reference `umt_encoder.py:30-66`).
    pixels: Pixels { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
    recognises: |config| merged_tokens(config).is_some(),
    read,
};

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    let llm = LlmConfig::from_hf(config)?;
    let vision = VisionConfig::from_hf(config)?;
    let connector = connector(config, &vision)?;
    Ok(ModelConfig { family: &VIDEOCHAT_FLASH, llm, vision, connector, lora: None, most_tiles: 1 })
}

/// Merging over the tower's heads, then the MLP (reference `tome16_mlp_hd64.py`).
fn connector(config: &Value, vision: &VisionConfig) -> Result<ConnectorConfig, ModelError> {
    let input_size = count(config, "mm_hidden_size")?;
    if input_size != vision.hidden_size {
        let expected = format!("{}, the tower's width", vision.hidden_size);
        return Err(invalid("mm_hidden_size", &input_size.into(), &expected));
    }
    let output_size = count(config, "hidden_size")?;
    let tokens = tokens_per_frame(config, vision)?;
    let merge = Stage::Merge { tokens, heads: vision.num_heads, order: GroupOrder::default() };
    let stages = vec![merge, Stage::Project];
    Ok(ConnectorConfig { input_size, output_size, grid: vision.grid(), stages, has_newline: false })
}

/// `mm_projector_type` is `tome<tokens per frame>_mlp_hd64`.
fn merged_tokens(config: &Value) -> Option<&str> {
    config.get("mm_projector_type")?.as_str()?.strip_prefix("tome")?.strip_suffix("_mlp_hd64")
}

fn tokens_per_frame(config: &Value, vision: &VisionConfig) -> Result<usize, ModelError> {
    let key = "mm_projector_type";
    let value = config.get(key).ok_or_else(|| missing(key))?;
    match merged_tokens(config).and_then(|tokens| tokens.parse().ok()) {
        Some(tokens) if (1..=vision.patches()).contains(&tokens) => Ok(tokens),
        _ => {
            let expected = format!("\"tome<1 to {}>_mlp_hd64\"", vision.patches());
            Err(invalid(key, value, &expected))
        }
    }
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

    fn read(config: &Value) -> Result<(VisionConfig, ConnectorConfig), ModelError> {
        let vision = VisionConfig::from_hf(config)?;
        let connector = connector(config, &vision)?;
        Ok((vision, connector))
    }

    fn check_error(key: &str, value: Value, expect: &str) {
        let mut config = released();
        config[key] = value;
        assert_eq!(read(&config).unwrap_err().to_string(), expect);
    }

    #[test]
    fn reads_the_released_model() {
        let (vision, connector) = read(&released()).unwrap();
        assert_eq!((vision.depth, vision.patches(), vision.clip_frames), (23, 784, 8));
        assert_eq!(connector.tokens_per_frame(), 16);
        let merge = Stage::Merge { tokens: 16, heads: 16, order: GroupOrder::Reference };
        assert_eq!(connector.stages, [merge, Stage::Project]);
    }

    #[test]
    fn a_block_of_sizes_overrides_the_name() {
        let mut config = released();
        config["vision_config"] = json!({
            "image_size": 64, "patch_size": 16, "hidden_size": 1024, "num_hidden_layers": 3,
            "num_attention_heads": 2, "intermediate_size": 128,
        });
        config["mm_projector_type"] = json!("tome4_mlp_hd64");
        let (vision, connector) = read(&config).unwrap();
        assert_eq!((vision.depth, vision.grid(), vision.intermediate_size), (2, 4, 128));
        assert_eq!(connector.tokens_per_frame(), 4);
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
