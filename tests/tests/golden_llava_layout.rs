//! Kind `n_layout`: names, shapes and parameters of the LLaVA families' checkpoints.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::vlm::Vlm;
use xcomp_tests::cases;

/// Pins: every name and shape of both layouts of a checkpoint, the mapping between them, parameters of the full size.
#[test]
fn n_layouts() {
    for case in cases("n_layout_llavavideo") {
        let sizes = |key: &str| case.value("/config")[key].clone();
        let config = json!({
            "vocab_size": sizes("vocab"), "hidden_size": sizes("D"), "intermediate_size": sizes("inter"),
            "num_hidden_layers": sizes("L"), "num_attention_heads": sizes("heads"),
            "num_key_value_heads": sizes("kv"), "rms_norm_eps": 1e-6, "rope_theta": 1e6,
            "mm_patch_merge_type": "spatial_unpad", "mm_newline_position": "grid",
            "mm_spatial_pool_mode": "average", "mm_vision_tower": "google/siglip-tiny",
            "mm_projector_type": "mlp2x_gelu", "vision_config": sizes("vis"),
        });
        assert_eq!(layout(&config), listed(case.value("/expect/tiny/state_dict"), "name"));
        let full = case.value("/expect/full").as_object().expect("full sizes");
        for (name, want) in full {
            let patterns = &want["patterns"];
            let tied = name.contains("tied");
            let shape = |name: &str| patterns[name]["shape"].clone();
            let (table, keys) = (
                shape("model.embed_tokens.weight"),
                shape("model.layers.{i}.self_attn.k_proj.bias"),
            );
            let hidden = table[1].as_u64().expect("a width");
            let head_dim = 64; // of no influence on shapes
            let config = json!({
                "vocab_size": table[0], "hidden_size": hidden,
                "intermediate_size": shape("model.layers.{i}.mlp.up_proj.weight")[0],
                "num_hidden_layers": patterns["model.layers.{i}.self_attn.q_proj.weight"]["count"],
                "num_attention_heads": hidden / head_dim,
                "num_key_value_heads": keys[0].as_u64().expect("a width") / head_dim,
                "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": tied,
                "mm_patch_merge_type": "spatial_unpad", "mm_newline_position": "grid",
                "mm_spatial_pool_mode": "average", "mm_projector_type": "mlp2x_gelu",
                "mm_vision_tower": "google/siglip-so400m-patch14-384", "mm_hidden_size": 1152,
            });
            let found = check_full(&config, patterns, tied);
            let head = if tied {
                hidden as usize * shape("lm_head.weight")[0].as_u64().expect("rows") as usize
            } else {
                0
            };
            assert_eq!(json!(found + head), want["parameters_total"], "{name}");
        }
    }
    for case in cases("n_layout_nextvideo") {
        let tiny = listed(case.value("/expect/tiny_hf"), "name");
        let rows = |name: &str| tiny[name].clone();
        let original = listed(case.value("/expect/tiny_original"), "name");
        let mapped = listed(case.value("/expect/tiny_original"), "hf_name");
        assert_eq!(mapped.keys().collect::<Vec<_>>(), tiny.keys().collect::<Vec<_>>());
        let grid =
            (rows("vision_tower.vision_model.embeddings.position_embedding.weight")[0] - 1).isqrt();
        let patch = rows("vision_tower.vision_model.embeddings.patch_embedding.weight")[2];
        let vision = json!({
            "image_size": grid * patch, "patch_size": patch,
            "hidden_size": rows("vision_tower.vision_model.embeddings.class_embedding")[0],
            "intermediate_size": rows("vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias")[0],
            "num_hidden_layers": count(&tiny, "vision_tower.vision_model.encoder.layers.", ".mlp.fc1.bias"),
            "num_attention_heads": 1,
        });
        let table = rows("language_model.model.embed_tokens.weight");
        let text = json!({
            "vocab_size": table[0], "hidden_size": table[1], "num_attention_heads": 1,
            "intermediate_size": rows("language_model.model.layers.0.mlp.up_proj.weight")[0],
            "num_hidden_layers": count(&tiny, "language_model.model.layers.", ".mlp.up_proj.weight"),
        });
        assert_eq!(layout(&hf(&text, &vision)), tiny);
        let mut config = text;
        config["vision_config"] = vision;
        assert_eq!(layout(&original_layout(config)), original);
        let large = json!({ "image_size": 336, "patch_size": 14, "hidden_size": 1024, "num_hidden_layers": 24,
            "num_attention_heads": 16, "intermediate_size": 4096 });
        let found = check_full(
            &hf(&json!({ "vocab_size": 32_064 }), &large),
            case.value("/expect/full_hf_7b/patterns"),
            false,
        );
        assert_eq!(json!(found), *case.value("/expect/full_hf_7b/parameters_total"));
        let config = original_layout(json!({ "vocab_size": 32_000 }));
        check_full(&config, case.value("/expect/full_original_7b/patterns"), false);
    }
}

fn hf(text: &Value, vision: &Value) -> Value {
    json!({ "model_type": "llava_next_video", "text_config": text, "vision_config": vision })
}

fn original_layout(mut config: Value) -> Value {
    config["mm_vision_tower"] = json!("openai/clip-vit-large-patch14-336");
    config["mm_projector_type"] = json!("mlp2x_gelu");
    config["mm_resampler_type"] = json!("spatial_pool");
    config
}

/// Names and shapes of a model's tensors.
fn layout(config: &Value) -> BTreeMap<String, Vec<usize>> {
    let config = ModelConfig::from_hf(config).expect("sizes");
    let parameters = Vlm::new(&config, &Device::flex()).parameters();
    parameters.into_iter().map(|one| (one.name, one.shape)).collect()
}

/// Names and shapes that a case lists.
fn listed(list: &Value, name: &str) -> BTreeMap<String, Vec<usize>> {
    let one = |one: &Value| (one[name].as_str().expect("a name").to_owned(), shape(&one["shape"]));
    list.as_array().expect("a list").iter().map(one).collect()
}

fn shape(shape: &Value) -> Vec<usize> {
    serde_json::from_value(shape.clone()).expect("a shape")
}

fn count(names: &BTreeMap<String, Vec<usize>>, start: &str, end: &str) -> usize {
    names.keys().filter(|name| name.starts_with(start) && name.ends_with(end)).count()
}

/// Compares with patterns whose `{i}` is a layer's number; the parameters of all.
fn check_full(config: &Value, patterns: &Value, tied: bool) -> usize {
    let mut found: BTreeMap<String, (usize, Vec<usize>)> = BTreeMap::new();
    for (name, shape) in layout(config) {
        let number = |part: &str| part.parse::<usize>().is_ok();
        let parts: Vec<&str> = name.split('.').collect();
        let layer = parts.windows(2).position(|two| two[0] == "layers" && number(two[1]));
        let pattern = match layer {
            Some(at) => [&parts[..=at], &["{i}"], &parts[at + 2..]].concat().join("."),
            None => name,
        };
        found.entry(pattern).or_insert((0, shape)).0 += 1;
    }
    let mut want: BTreeMap<String, (usize, Vec<usize>)> = BTreeMap::new();
    for (name, one) in patterns.as_object().expect("patterns") {
        let count = one["count"].as_u64().expect("a count") as usize;
        want.insert(name.clone(), (count, shape(&one["shape"])));
    }
    if tied {
        want.remove("lm_head.weight");
    }
    assert_eq!(found, want);
    found.values().map(|(count, shape)| count * shape.iter().product::<usize>()).sum()
}
