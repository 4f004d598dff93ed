//! Base checkpoints made by code: a tiny folder of any family, with seeded random weights; the demo's has the shape of VideoChat-Flash-2B.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;

use super::bpe::write_tokenizer;
use super::error::DemoError;
use super::scene::SIDE;
use super::weights::write_weights;
use crate::plan::survey::template;

/// Sizes of the demo's model.
///
/// A frame is 8 x 8 patches, so the connector merges 64 patches into 16 tokens, in two halvings as the released one does in six rounds.
#[derive(Clone, Debug)]
pub struct BaseOptions {
    /// Rows of the embedding table; at least as many as the tokenizer has tokens.
    pub vocab_size: usize,
    /// Width of the language model.
    pub hidden_size: usize,
    /// Width of its feed-forward blocks.
    pub intermediate_size: usize,
    /// Decoder layers; the cosine schedule needs at least 9 to reach one token from 16.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Base of the rotary frequencies: short sequences need few slow ones.
    pub rope_theta: f64,
    /// Width of the vision tower.
    pub vision_hidden_size: usize,
    /// Attention heads of the tower.
    pub vision_heads: usize,
    /// Blocks of the tower that are built.
    pub vision_blocks: usize,
    /// Pixels per side of a patch.
    pub patch_size: usize,
    /// Tokens that the connector merges a frame's patches into.
    pub tokens_per_frame: usize,
}

impl Default for BaseOptions {
    fn default() -> Self {
        Self {
            vocab_size: 512,
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 9,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            rope_theta: 1000.0,
            vision_hidden_size: 64,
            vision_heads: 2,
            vision_blocks: 16, // most of a step's work, as in the released model
            patch_size: 8,
            tokens_per_frame: 16,
        }
    }
}

/// Writes `config.json`, `generation_config.json`, `tokenizer.json` and `model.safetensors` of a model into `folder`.
///
/// `config` is a whole `config.json` of any family; the tokens that begin and end a text become those of the tokenizer,
/// which is trained on `texts`.
///
/// # Errors
/// If `config` describes no model, the tokenizer cannot be trained, or a file cannot be written.
pub fn write_base(
    folder: &Path,
    texts: &[String],
    mut config: Value,
    seed: u64,
) -> Result<(), DemoError> {
    fs::create_dir_all(folder).map_err(DemoError::write(folder))?;
    let ModelConfig { family, llm, .. } = ModelConfig::from_hf(&config)?;
    let path = folder.join("tokenizer.json");
    let tokenizer = write_tokenizer(&path, texts, family, llm.vocab_size)?;
    let (template, id) = (template(family), |token: &str| tokenizer.token_to_id(token));
    let ends: Vec<u32> = template.ends.iter().filter_map(|end| id(end)).collect();
    let (end, pad) = (ends.first(), ends.last());
    let first = id(template.start).or(pad.copied());
    let own =
        if config.get("text_config").is_some() { &mut config["text_config"] } else { &mut config };
    (own["bos_token_id"], own["eos_token_id"]) = (json!(first), json!(end));
    let generation = json!({
        "bos_token_id": first, "pad_token_id": pad, "eos_token_id": ends, "do_sample": false,
    });
    for (name, value) in [("config.json", &config), ("generation_config.json", &generation)] {
        let path = folder.join(name);
        fs::write(&path, format!("{value:#}\n")).map_err(DemoError::write(&path))?;
    }
    write_weights(&folder.join("model.safetensors"), &ModelConfig::from_hf(&config)?, seed)
}

impl BaseOptions {
    /// The keys of the released `config.json`, with tiny sizes.
    pub fn config(&self) -> Value {
        json!({
            "architectures": ["LlavaQwenForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": true,
            "use_sliding_window": false,
            "attention_dropout": 0.0,
            "bos_token_id": null, // the tokenizer has it
            "eos_token_id": null,
            "torch_dtype": "float32",
            "mm_vision_tower": "umt-demo",
            "mm_vision_select_layer": -2,
            "mm_hidden_size": self.vision_hidden_size,
            "mm_projector_type": format!("tome{}_mlp_hd64", self.tokens_per_frame),
            "mm_local_num_frames": 8,
            "mm_patch_merge_type": "flat",
            "mm_newline_position": "one_token",
            "mm_llm_compress": false,
            "vision_encode_type": "video_image",
            "image_aspect_ratio": "square",
            "frame_aspect_ratio": "square",
            "tokenizer_model_max_length": 4096,
            "tokenizer_padding_side": "right",
            "vision_config": {
                "image_size": SIDE,
                "patch_size": self.patch_size,
                "hidden_size": self.vision_hidden_size,
                "num_hidden_layers": self.vision_blocks + 1, // the selected layer -2 drops the last
                "num_attention_heads": self.vision_heads,
                "intermediate_size": 4 * self.vision_hidden_size,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::clip::DrawnClip;
    use crate::demo::scene::Scene;

    #[test]
    fn the_folder_is_the_same_for_a_seed_and_its_config_loads() {
        let texts = Scene::vocabulary();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            write_base(folder.path(), &texts, BaseOptions::default().config(), 0).unwrap();
        }
        for name in ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"]
        {
            let [a, b] = [0, 1].map(|at| fs::read(folders[at].path().join(name)).unwrap());
            assert!(a == b, "{name} differs");
        }
        let config = ModelConfig::from_file(&folders[0].path().join("config.json")).unwrap();
        assert_eq!((config.llm.num_hidden_layers, config.llm.head_dim()), (9, 16));
        assert_eq!((config.vision.patches(), config.vision.depth), (64, 16));
        assert_eq!(config.tokens_per_frame(), 16);
        assert!(config.vision.patches() > config.tokens_per_frame());
    }
}
