//! Base checkpoints made by code: a tiny folder of any family, with seeded random weights; the demo's has the shape of VideoChat-Flash-2B.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;

use super::bpe::write_tokenizer;
use super::error::DemoError;
use super::weights::write_weights;
use crate::plan::survey::template;

/// The `config.json` of the demo's model; a frame is 8 x 8 patches, so the connector merges 64 patches into 16 tokens, in two halvings as
/// the released one does in six rounds.
const CONFIG: &str = include_str!("../../../recipes/models/demo.json");

/// Sizes of the demo's model that may be others.
#[derive(Clone, Debug)]
pub struct BaseOptions {
    /// Width of the language model; its feed-forward blocks have twice as much.
    pub hidden_size: usize,
    /// Decoder layers; the cosine schedule needs at least 9 to reach one token from 16.
    pub num_hidden_layers: usize,
    /// Blocks of the tower that are built.
    pub vision_blocks: usize,
    /// Tokens that the connector merges a frame's patches into.
    pub tokens_per_frame: usize,
}

impl Default for BaseOptions {
    fn default() -> Self {
        Self {
            hidden_size: 64,
            num_hidden_layers: 9,
            vision_blocks: 16, // most of a step's work, as in the released model
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
    ///
    /// # Panics
    /// Never: the file is part of the program.
    pub fn config(&self) -> Value {
        let mut config: Value = serde_json::from_str(CONFIG).expect("the demo's file is JSON");
        config["hidden_size"] = json!(self.hidden_size);
        config["intermediate_size"] = json!(2 * self.hidden_size);
        config["num_hidden_layers"] = json!(self.num_hidden_layers);
        config["mm_projector_type"] = json!(format!("tome{}_mlp_hd64", self.tokens_per_frame));
        // The selected layer -2 drops the last.
        config["vision_config"]["num_hidden_layers"] = json!(self.vision_blocks + 1);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::clip::DrawnClip;
    use crate::demo::scene::{SIDE, Scene};

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
        assert_eq!((config.tokens_per_frame(), config.vision.image_size), (16, SIDE));
        assert!(config.vision.patches() > config.tokens_per_frame());
    }
}
