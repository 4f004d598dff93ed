//! Kind `n_layout`: names, shapes and parameters of the LLaVA families' checkpoints.
//!
//! Every size of a configuration is read from the shapes that the case lists.

use std::collections::BTreeMap;

use burn::tensor::Device;
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::vlm::Vlm;
use xcomp_tests::cases;

/// Tensors by name, or by pattern where `{i}` is a layer's number: how many, and of which shape.
type Patterns = BTreeMap<String, (usize, Vec<usize>)>;

/// The width of a head, which no shape tells and which has no influence on any.
const HEAD_DIM: usize = 2;

const ORIGINAL_TOWER: &str = "model.vision_tower.vision_tower.vision_model";

/// Pins: every name and shape of LLaVA-Video's checkpoints, the parameters of the full sizes.
#[test]
fn n_layout_of_llava_video() {
    for case in cases("n_layout_llavavideo") {
        let tiny = listed(case.value("/expect/tiny/state_dict"), "name");
        let layers = &case.value("/config")["vis"]["num_hidden_layers"];
        let found = vision(&patterns(&tiny), ORIGINAL_TOWER)["num_hidden_layers"].clone();
        let unused = number(layers) - number(&found); // the tower ends before its last layers
        assert_eq!(layout(&llava_video(&patterns(&tiny), unused, false)), tiny);
        for (name, want) in case.value("/expect/full").as_object().expect("full sizes") {
            let tied = name.contains("tied");
            let mut full = read(&want["patterns"]);
            let found = patterns(&layout(&llava_video(&full, unused, tied)));
            let head = if tied {
                full.remove("lm_head.weight").expect("a tied head").1.iter().product()
            } else {
                0
            };
            assert_eq!(found, full, "{name}");
            assert_eq!(json!(parameters(&found) + head), want["parameters_total"], "{name}");
        }
    }
}

/// Pins: every name and shape of both layouts of LLaVA-NeXT-Video, the mapping between them, the parameters of the full size.
#[test]
fn n_layout_of_llava_next_video() {
    for case in cases("n_layout_nextvideo") {
        let tiny = listed(case.value("/expect/tiny_hf"), "name");
        let original = listed(case.value("/expect/tiny_original"), "name");
        let mapped = listed(case.value("/expect/tiny_original"), "hf_name");
        assert_eq!(mapped.keys().collect::<Vec<_>>(), tiny.keys().collect::<Vec<_>>());
        assert_eq!(layout(&next_hf(&patterns(&tiny))), tiny);
        assert_eq!(layout(&next_original(&patterns(&original))), original);
        for (name, want) in case.value("/expect").as_object().expect("layouts") {
            let Some(full) = want.get("patterns").map(read) else { continue };
            let config =
                if name.starts_with("full_hf") { next_hf(&full) } else { next_original(&full) };
            let found = patterns(&layout(&config));
            assert_eq!(found, full, "{name}");
            if let Some(total) = want.get("parameters_total") {
                assert_eq!(json!(parameters(&found)), *total, "{name}");
            }
        }
    }
}

fn llava_video(tensors: &Patterns, unused: usize, tied: bool) -> Value {
    let mut config = text(tensors, "model");
    let mut vision = vision(tensors, ORIGINAL_TOWER);
    vision["num_hidden_layers"] = json!(number(&vision["num_hidden_layers"]) + unused);
    config["vision_config"] = vision;
    config["tie_word_embeddings"] = json!(tied);
    config["rms_norm_eps"] = json!(1e-6);
    config["rope_theta"] = json!(1e6);
    config["mm_patch_merge_type"] = json!("spatial_unpad");
    config["mm_newline_position"] = json!("grid");
    config["mm_spatial_pool_mode"] = json!("average");
    config["mm_projector_type"] = json!("mlp2x_gelu");
    config["mm_vision_tower"] = json!("google/siglip-of-the-case");
    config
}

fn next_hf(tensors: &Patterns) -> Value {
    let (text, vision) =
        (text(tensors, "language_model.model"), vision(tensors, "vision_tower.vision_model"));
    json!({ "model_type": "llava_next_video", "text_config": text, "vision_config": vision })
}

fn next_original(tensors: &Patterns) -> Value {
    let mut config = text(tensors, "model");
    config["vision_config"] = vision(tensors, ORIGINAL_TOWER);
    config["mm_vision_tower"] = json!("openai/clip-of-the-case");
    config["mm_projector_type"] = json!("mlp2x_gelu");
    config["mm_resampler_type"] = json!("spatial_pool");
    config
}

/// The sizes of an LLM whose tensors stand under `root`.
fn text(tensors: &Patterns, root: &str) -> Value {
    let of = |name: &str| &tensors[&format!("{root}.{name}")];
    let table = &of("embed_tokens.weight").1;
    let (layers, keys) = of("layers.{i}.self_attn.k_proj.weight");
    json!({
        "vocab_size": table[0], "hidden_size": table[1], "num_hidden_layers": layers,
        "intermediate_size": of("layers.{i}.mlp.up_proj.weight").1[0],
        "num_attention_heads": table[1] / HEAD_DIM, "num_key_value_heads": keys[0] / HEAD_DIM,
    })
}

/// The sizes of a vision tower whose tensors stand under `root`.
fn vision(tensors: &Patterns, root: &str) -> Value {
    let of = |name: &str| &tensors[&format!("{root}.{name}")];
    let patch = &of("embeddings.patch_embedding.weight").1;
    let (layers, inner) = of("encoder.layers.{i}.mlp.fc1.bias");
    // A square of patches, beside which a class token may stand.
    let grid = of("embeddings.position_embedding.weight").1[0].isqrt();
    json!({
        "image_size": grid * patch[2], "patch_size": patch[2], "hidden_size": patch[0],
        "intermediate_size": inner[0], "num_hidden_layers": layers,
        "num_attention_heads": patch[0] / HEAD_DIM,
    })
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

/// The patterns that a case lists.
fn read(patterns: &Value) -> Patterns {
    let one = |(name, one): (&String, &Value)| {
        (name.clone(), (number(&one["count"]), shape(&one["shape"])))
    };
    patterns.as_object().expect("patterns").iter().map(one).collect()
}

/// Joins the layers of a layout.
fn patterns(layout: &BTreeMap<String, Vec<usize>>) -> Patterns {
    let mut found = Patterns::new();
    for (name, shape) in layout {
        let parts: Vec<&str> = name.split('.').collect();
        let numbered = |two: &[&str]| two[0] == "layers" && two[1].parse::<usize>().is_ok();
        let pattern = match parts.windows(2).position(numbered) {
            Some(at) => [&parts[..=at], &["{i}"], &parts[at + 2..]].concat().join("."),
            None => name.clone(),
        };
        found.entry(pattern).or_insert((0, shape.clone())).0 += 1;
    }
    found
}

fn parameters(patterns: &Patterns) -> usize {
    patterns.values().map(|(count, shape)| count * shape.iter().product::<usize>()).sum()
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn shape(shape: &Value) -> Vec<usize> {
    serde_json::from_value(shape.clone()).expect("a shape")
}
