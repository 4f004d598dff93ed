//! The language model of an export as a plain Qwen2 or `LLaMA` folder, for code that knows nothing of video.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::{Family, Region};
use xcomp_model::weights::{INDEX_FILE, SINGLE_FILE};

use super::copy_tokenizer;
use crate::error::Error;
use crate::machine::files::{at, create_folder, read_text, write_atomically};

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
/// Shards keep their files. What the model does between its layers to visual tokens is not part of a plain language model.
///
/// # Errors
/// If the source is no folder of weights, or something cannot be read or written.
pub fn export_llm(source: &Path, folder: &Path) -> Result<(), Error> {
    create_folder(folder)?;
    let config = read_json(&source.join("config.json"))?;
    let family = Family::of(&config);
    let index = source.join(INDEX_FILE);
    if index.is_file() {
        copy_shards(source, folder, &index, family)?;
    } else {
        copy_tensors(&source.join(SINGLE_FILE), &folder.join(SINGLE_FILE), family)?;
    }
    write_config(&config, &folder.join("config.json"))?;
    copy_tokenizer(&source.join("tokenizer.json"), folder)
}

fn copy_shards(source: &Path, folder: &Path, index: &Path, family: &Family) -> Result<(), Error> {
    let read = read_json(index)?;
    let wrong = || at("cannot read", index)(std::io::Error::other("it has no `weight_map`"));
    let map = read["weight_map"].as_object().ok_or_else(wrong)?;
    let kept: BTreeMap<String, &str> = map
        .iter()
        .filter_map(|(name, file)| {
            Some((llm_path(family, name)?, file.as_str().unwrap_or_default()))
        })
        .collect();
    let mut files: Vec<&str> = kept.values().copied().collect();
    files.sort_unstable();
    files.dedup();
    let mut total = 0;
    for file in files {
        // An index may come from anywhere: its files stand beside it.
        if Path::new(file).file_name().is_none_or(|name| name != file) {
            let told = format!("its weight_map names `{file}`, which is no file of this folder");
            return Err(at("cannot read", index)(std::io::Error::other(told)));
        }
        total += copy_tensors(&source.join(file), &folder.join(file), family)?;
    }
    let text = json!({ "metadata": { "total_size": total }, "weight_map": kept }).to_string();
    write_atomically(&folder.join(INDEX_FILE), text.as_bytes())
}

/// Copies the language model's tensors of one file; gives their bytes.
fn copy_tensors(from: &Path, to: &Path, family: &Family) -> Result<u64, Error> {
    let copied = (|| {
        let mut file = BufReader::new(File::open(from)?);
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > from.metadata()?.len() {
            let told = "its header is longer than the file; is it a whole safetensors file?";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, told));
        }
        let mut header = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
        file.read_exact(&mut header)?;
        let header: Map<String, Value> = serde_json::from_slice(&header)?;

        let (kept, ranges, total) = kept_tensors(header, family)?;
        let mut head = serde_json::to_vec(&kept)?;
        head.resize(head.len().next_multiple_of(8), b' '); // tensors begin at a multiple of 8 bytes
        let mut out = BufWriter::new(File::create(to)?);
        out.write_all(&(head.len() as u64).to_le_bytes())?;
        out.write_all(&head)?;
        for (start, end) in ranges {
            file.seek(SeekFrom::Start(8 + length + start))?;
            let copied = std::io::copy(&mut file.by_ref().take(end - start), &mut out)?;
            if copied != end - start {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
        }
        out.into_inner()?.sync_all()?;
        Ok(total)
    })();
    copied.map_err(at("cannot copy tensors of", from))
}

type Kept = (Map<String, Value>, Vec<(u64, u64)>, u64);

/// The header of the copy, the bytes of each tensor in the source, and their sum.
fn kept_tensors(header: Map<String, Value>, family: &Family) -> std::io::Result<Kept> {
    let (mut kept, mut ranges, mut total) = (Map::new(), vec![], 0);
    for (name, mut info) in header {
        if name == "__metadata__" {
            kept.insert(name, info);
        } else if let Some(name) = llm_path(family, &name) {
            let offset = |i: usize| {
                let missing = || std::io::Error::other(format!("tensor `{name}` has no offsets"));
                info["data_offsets"][i].as_u64().ok_or_else(missing)
            };
            let (start, end) = (offset(0)?, offset(1)?);
            let bytes = end.checked_sub(start).ok_or_else(|| {
                std::io::Error::other(format!("tensor `{name}` ends before it begins"))
            })?;
            ranges.push((start, end));
            info["data_offsets"] = json!([total, total + bytes]);
            total += bytes;
            kept.insert(name, info);
        }
    }
    Ok((kept, ranges, total))
}

/// The name of a language model's tensor in a plain Qwen2; `None` for all others.
fn llm_path(family: &Family, name: &str) -> Option<String> {
    family.place(name).filter(|place| place.region() == Region::Llm)?;
    family.llm.path(name)
}

fn write_config(whole: &Value, to: &Path) -> Result<(), Error> {
    let has_biases = ModelConfig::from_hf(whole)?.llm.qkv_bias;
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
    use xcomp_model::base::videochat_flash::VIDEOCHAT_FLASH;

    use super::*;

    #[test]
    fn an_index_names_files_of_its_own_folder_only() {
        let [source, out] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let map = json!({ "weight_map": { "model.norm.weight": "../x.safetensors" } });
        std::fs::write(source.path().join(INDEX_FILE), map.to_string()).unwrap();
        std::fs::write(source.path().join("config.json"), "{}").unwrap();
        let told = export_llm(source.path(), out.path()).unwrap_err().to_string();
        assert!(told.contains("no file of this folder"), "{told}");
    }

    #[test]
    fn the_language_model_is_told_by_its_names() {
        for name in
            ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"]
        {
            assert_eq!(llm_path(&VIDEOCHAT_FLASH, name).as_deref(), Some(name));
        }
        for name in ["model.mm_projector.mlp.0.weight", "model.vision_tower.vision_tower.encoder.x"]
        {
            assert_eq!(llm_path(&VIDEOCHAT_FLASH, name), None);
        }
    }

    #[test]
    fn offsets_close_up_where_tensors_are_left_out() {
        let tensor = |a: u64, b: u64| json!({ "dtype": "F32", "shape": [(b - a) / 4], "data_offsets": [a, b] });
        let header = json!({
            "model.mm_projector.mlp.0.bias": tensor(0, 8),
            "model.norm.weight": tensor(8, 24),
            "lm_head.weight": tensor(40, 44),
        });
        let (kept, ranges, total) =
            kept_tensors(header.as_object().unwrap().clone(), &VIDEOCHAT_FLASH).unwrap();
        assert_eq!((ranges, total), (vec![(8, 24), (40, 44)], 20));
        assert_eq!(kept["lm_head.weight"]["data_offsets"], json!([16, 20]));
        assert_eq!(kept.len(), 2);
    }
}
