//! Tiny models of the LLaVA families with all that a run of them needs.

use serde_json::{Value, json};

use crate::Task;

/// Sizes of a tiny decoder of 9 layers.
fn decoder() -> Value {
    json!({
        "vocab_size": 512, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 9,
        "num_attention_heads": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
        "hidden_act": "silu", "tie_word_embeddings": false,
    })
}

/// Sizes of a tiny tower; a `SigLIP` leaves two pixels over.
fn tower(side: usize) -> Value {
    json!({
        "image_size": side, "patch_size": 6, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32,
    })
}

/// The `config.json` of a tiny LLaVA-Video with this `mm_newline_position`.
pub fn llava_video(newline: &str) -> Value {
    let mut config = decoder();
    for (key, value) in [
        ("architectures", json!(["LlavaQwenForCausalLM"])),
        ("mm_vision_tower", json!("google/siglip-tiny")),
        ("mm_projector_type", json!("mlp2x_gelu")),
        ("mm_patch_merge_type", json!("spatial_unpad")),
        ("mm_newline_position", json!(newline)),
        ("mm_spatial_pool_mode", json!("bilinear")),
        ("vision_config", tower(32)),
    ] {
        config[key] = value;
    }
    config
}

/// The `config.json` of a tiny LLaVA-NeXT-Video in Hugging Face's layout.
pub fn llava_next_video() -> Value {
    let mut text = decoder();
    let mut vision = tower(36);
    (text["model_type"], vision["model_type"]) = ("llama".into(), "clip_vision_model".into());
    text["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    json!({
        "architectures": ["LlavaNextVideoForConditionalGeneration"], "model_type": "llava_next_video",
        "text_config": text, "vision_config": vision, "image_token_index": 510, "video_token_index": 511,
    })
}

/// Pictures, folders of frames, two pictures in one sample, and a text alone, for a model of this `config.json`.
///
/// # Panics
/// If the disk refuses.
pub fn llava_task(config: &Value, vicuna: bool) -> Task {
    let task = Task::folders();
    task.write("config.json", &config.to_string());
    let turns = |question: &str| json!([{"from": "human", "value": question}, {"from": "gpt", "value": "It is red."}]);
    task.write(
        "more.json",
        &json!([
            {"id": "two", "image": ["picture_0.png", "picture_3.png"],
                "conversations": turns("<image>\n<image>\nWhat colour is it?")},
            {"id": "none", "conversations": turns("What colour is it?")},
        ])
        .to_string(),
    );
    let read = |name: &str| std::fs::read_to_string(task.path(name)).unwrap();
    task.write(
        "mixture.yaml",
        &(read("mixture.yaml") + "  - json_path: more.json\n    data_root: media\n"),
    );
    if vicuna {
        // The same tokenizer with the names of LLaMA's special tokens.
        let text =
            read("tokenizer.json").replace("<|endoftext|>", "<s>").replace("<|im_end|>", "</s>");
        task.write("tokenizer.json", &text);
    }
    let recipe = read("recipe.toml")
        .replace("min_frames = 8", "fps = 1.0\nmin_frames = 1\nclip_frames = 1")
        .replace("max_frames = 16", "max_frames = 3")
        .replace("[tune]", "[compression]\nschedule = \"cosine_full_first\"\n\n[tune]");
    task.write("recipe.toml", &recipe);
    task
}
