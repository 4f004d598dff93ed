//! The language model of an export as a plain Qwen2 or `LLaMA` folder, for code that knows nothing of video.

use std::path::Path;

use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::{Family, Place, Region};
use xcomp_model::weights::{StoredWeights, copy};

use super::copy_tokenizer;
use crate::error::Error;
use crate::machine::files::{at, create_folder, read_text, write_atomically};
use crate::plan::disk::EXPORT_FILE_BYTES;

/// The keys of a language model's `config.json` that are taken over.
const LLM_KEYS: &[&str] = &[
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "attention_dropout",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "torch_dtype",
];
/// What configurations of Qwen2 and of `LLaMA` hold where a base model's leaves it out.
const MAX_POSITIONS: [usize; 2] = [32_768, 2048];

/// Copies the language model of `source`, byte for byte, into `folder` as `Qwen2ForCausalLM` or `LlamaForCausalLM`.
///
/// Files are cut anew. What the model does between its layers to visual tokens is not part of a plain language model.
///
/// # Errors
/// If the source is no folder of weights, or something cannot be read or written.
pub fn export_llm(source: &Path, folder: &Path) -> Result<(), Error> {
    create_folder(folder)?;
    let config = read_json(&source.join("config.json"))?;
    let family = Family::of(&config);
    let weights = StoredWeights::in_folder(source)?.renamed(|name| llm_path(family, name));
    copy(&weights, folder, Some(EXPORT_FILE_BYTES))?;
    write_config(&config, &folder.join("config.json"))?;
    copy_tokenizer(&source.join("tokenizer.json"), folder)
}

/// The name of a language model's tensor in a plain Qwen2; `None` for all others, learned tokens of windows too.
pub(super) fn llm_path(family: &Family, name: &str) -> Option<String> {
    let plain = |place: &Place| place.region() == Region::Llm && *place != Place::Vst;
    family.place(name).filter(plain)?;
    family.llm.path(name)
}

fn write_config(whole: &Value, to: &Path) -> Result<(), Error> {
    let llm = ModelConfig::from_hf(whole)?.llm;
    let has_biases = llm.qkv_bias;
    let mut config = if has_biases {
        json!({ "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": false })
    } else {
        json!({ "architectures": ["LlamaForCausalLM"], "model_type": "llama" })
    };
    config["hidden_act"] = "silu".into();
    config["max_position_embeddings"] = MAX_POSITIONS[usize::from(!has_biases)].into();
    let own = whole.get("text_config").unwrap_or(whole);
    for key in LLM_KEYS {
        if let Some(value) = own.get(key).or(whole.get(key)).filter(|value| !value.is_null()) {
            config[*key] = value.clone();
        }
    }
    // A family may set it aside: what the model does counts, not what the file says.
    if (llm.rope_factor - 1.0).abs() < f64::EPSILON {
        config.as_object_mut().expect("an object").remove("rope_scaling");
    }
    if has_biases {
        // Loaders ask for it even where it is switched off.
        config["sliding_window"] = config["max_position_embeddings"].clone();
        config["max_window_layers"] = config["num_hidden_layers"].clone();
    }
    let text = serde_json::to_vec_pretty(&config).expect("JSON stays JSON");
    write_atomically(to, &text)
}

fn read_json(path: &Path) -> Result<Value, Error> {
    serde_json::from_str(&read_text(path)?).map_err(|error| at("cannot read", path)(error.into()))
}

#[cfg(test)]
mod tests {
    use xcomp_model::base::video_xl::VIDEO_XL;
    use xcomp_model::base::videochat_flash::VIDEOCHAT_FLASH;

    use super::*;

    #[test]
    fn an_index_names_files_of_its_own_folder_only() {
        let [source, out] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let map = json!({ "weight_map": { "model.norm.weight": "../x.safetensors" } });
        let index = source.path().join(xcomp_model::weights::INDEX_FILE);
        std::fs::write(index, map.to_string()).unwrap();
        std::fs::write(source.path().join("config.json"), "{}").unwrap();
        let told = export_llm(source.path(), out.path()).unwrap_err().to_string();
        assert!(told.contains("there is no file `../x.safetensors` next to it"), "{told}");
    }

    #[test]
    fn a_scaling_that_the_family_sets_aside_is_not_written() {
        let written = |scaling: Value, more: Value| {
            let folder = tempfile::tempdir().unwrap();
            let mut config = json!({
                "architectures": ["LlavaQwenForCausalLM"], "vocab_size": 12, "hidden_size": 8,
                "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
                "tie_word_embeddings": true, "eos_token_id": 3, "rope_scaling": scaling,
            });
            for (key, value) in more.as_object().unwrap() {
                config[key] = value.clone();
            }
            let to = folder.path().join("config.json");
            write_config(&config, &to)?;
            read_json(&to)
        };
        let linear = json!({"type": "linear", "factor": 2.0});
        let windows = json!({
            "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_projector_type": "mlp2x_gelu",
            "mm_vision_select_layer": -2, "beacon_window": 32, "beacon_stride": 32,
            "beacon_ratio": [2], "beacon_param": ["q", "k", "v"],
        });
        let set_aside = written(linear, windows).unwrap();
        assert_eq!(set_aside["model_type"], "qwen2");
        assert!(set_aside.get("rope_scaling").is_none(), "{set_aside}");
    }

    #[test]
    fn the_language_model_is_told_by_its_names() {
        for name in
            ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"]
        {
            assert_eq!(llm_path(&VIDEOCHAT_FLASH, name).as_deref(), Some(name));
        }
        let learned = "model.layers.0.self_attn.beacon_q_proj.weight";
        assert_eq!(llm_path(&VIDEO_XL, learned), None);
        for name in ["model.mm_projector.mlp.0.weight", "model.vision_tower.vision_tower.encoder.x"]
        {
            assert_eq!(llm_path(&VIDEOCHAT_FLASH, name), None);
        }
    }
}
