//! What the cases of Video-XL have in common: `config.json`, prompts, plans.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::Family;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstPlan, VstRule};
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::Prompt;
use xcomp_model::windows::Sequence;

use crate::{Case, HostData, HostTensor, assert_grad_close};

/// The `config.json` of a model of a case's sizes; what the case has no size of is small.
///
/// # Panics
/// If the case has no sizes.
pub fn video_xl_config(case: &Case) -> Value {
    let sizes = case.value("/config");
    let mut config = json!({
        "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "beacon_window": 1440, "beacon_ratio": [8], "beacon_param": ["q", "k", "v"], "eos_token_id": 1,
        "mm_vision_tower": "openai/clip-tiny", "mm_projector_type": "mlp2x_gelu",
        "architectures": ["LlavaQwenForCausalLM"],
    });
    for (key, value) in sizes.as_object().expect("sizes") {
        config[key] = value.clone();
    }
    if let Some(width) = sizes.get("llm_hidden_size") {
        config["hidden_size"] = width.clone();
    }
    let tower = json!({ "image_size": 4, "patch_size": 1, "hidden_size": 4, "num_hidden_layers": 2,
        "num_attention_heads": 1, "intermediate_size": 4 });
    config["vision_config"] = sizes.get("clip").cloned().unwrap_or(tower);
    config["mm_vision_select_layer"] = sizes.get("select_layer").cloned().unwrap_or(json!(-2));
    config
}

/// The sizes of a case's model.
///
/// # Panics
/// If they are not those of a Video-XL.
pub fn video_xl(case: &Case) -> ModelConfig {
    let config = video_xl_config(case);
    assert_eq!(Family::of(&config).name, "Video-XL", "case {}", case.name);
    ModelConfig::from_hf(&config).unwrap_or_else(|error| panic!("case {}: {error}", case.name))
}

/// The prompt of a case, with one place for its visual tokens; without labels nothing is learnt.
///
/// # Panics
/// If the case has none.
pub fn video_xl_prompt(case: &Case) -> Prompt {
    let ids = case.tensor("input_ids").i32().to_vec();
    let labels = if case.has("labels") {
        case.tensor("labels").i32().to_vec()
    } else {
        vec![IGNORE; ids.len()]
    };
    let visual_at: Vec<usize> = (0..ids.len()).filter(|at| ids[*at] < 0).collect();
    assert_eq!(visual_at.len(), 1, "case {}: one visual", case.name);
    Prompt { ids, labels, visual_at }
}

/// The windows of a case's prompt under the ratios that the reference drew, and so many more tokens behind it.
///
/// # Panics
/// If a ratio does not fit.
pub fn video_xl_plan(case: &Case, prompt: &Prompt, more: usize) -> VstPlan {
    let config = video_xl(case).llm.vst.expect("learned tokens");
    let rule = VstRule { window: config.window, ratios: config.ratios, mix: RatioMix::Step };
    let prefix = prompt.visual_at[0];
    let parts = Parts {
        prefix,
        visual: case.count("/config/n_visual"),
        tail: prompt.ids.len() - prefix - 1 + more,
    };
    let purpose = match case.value("/config/mode").as_str() {
        Some("train") => Purpose::Training,
        _ => Purpose::Answering,
    };
    let ratios: Vec<usize> =
        serde_json::from_value(case.value("/expect/ratios").clone()).expect("ratios");
    let mut ratios = ratios.into_iter();
    let plan = rule.plan(parts, purpose, &mut |_| ratios.next().expect("a ratio"));
    plan.unwrap_or_else(|error| panic!("case {}: {error}", case.name))
}

/// Compares all gradients of a case, and that `expect.no_gradient` has none. Where all windows stay raw the reference takes the last row
/// of the embedding table for visual tokens: that row is left out, and there is no gradient of visual tokens.
///
/// The bias of a tower's keys has none in theory: a softmax does not see it.
///
/// # Panics
/// If one is missing, differs, or should not be there.
pub fn assert_video_xl_gradients(case: &Case, got: &BTreeMap<String, HostTensor>) {
    let mut seen = 0;
    let ratios = case.json.pointer("/expect/ratios").and_then(Value::as_array);
    let visual_is_text =
        ratios.is_some_and(|all| !all.is_empty() && all.iter().all(|ratio| *ratio == json!(0)));
    // Behind a tower visual tokens are no leaf.
    let learns = case.name.starts_with("v_vst") && case.has("visual") && !visual_is_text;
    assert_eq!(case.has("grad.visual"), learns, "case {}: a gradient of visual tokens", case.name);
    for (name, want) in case.under("grad.") {
        // The reference gives zeros to what no loss looks at.
        let Some(got) = got.get(name) else {
            let zeros = want.f32().iter().all(|value| *value == 0.0);
            assert!(zeros, "case {}: no gradient of {name}", case.name);
            continue;
        };
        assert_eq!(got.shape, want.shape, "case {}: {name}", case.name);
        seen += 1;
        if name.contains("vision_tower") && name.ends_with("k_proj.bias") {
            let largest = got.f32().iter().fold(0.0, |max: f32, value| max.max(value.abs()));
            assert!(largest < 1e-4, "case {}: {name} is {largest}", case.name);
            continue;
        }
        let table = visual_is_text && name == "model.embed_tokens.weight";
        let len = want.f32().len() - if table { want.shape[1] } else { 0 };
        let data = TensorData::new(got.f32()[..len].to_vec(), [len]);
        let want = HostTensor { shape: vec![len], data: HostData::F32(want.f32()[..len].to_vec()) };
        assert_grad_close(case, name, Tensor::<1>::from_data(data, &Device::flex()), &want);
    }
    assert!(seen > 0, "case {}: no gradient was compared", case.name);
    let none = case.json.pointer("/expect/no_gradient").and_then(Value::as_array);
    for name in none.into_iter().flatten().filter_map(Value::as_str) {
        assert!(!got.contains_key(name), "case {}: {name} has a gradient", case.name);
    }
}

/// A whole sequence at hand, and the gradients that were found.
pub struct WholeSequence<F> {
    x: Tensor<3>,
    named: F,
    /// Of the tokens, `[1, tokens, hidden]`.
    pub below: Tensor<3>,
    /// Of parameters, by name.
    pub found: BTreeMap<String, HostTensor>,
}

impl<F: Fn(Gradients) -> BTreeMap<String, HostTensor>> WholeSequence<F> {
    /// Of these tokens; `named` finds the gradients of parameters on a tape.
    pub fn new(x: Tensor<3>, named: F) -> Self {
        Self { below: x.zeros_like(), x, named, found: BTreeMap::new() }
    }
}

impl<F: Fn(Gradients) -> BTreeMap<String, HostTensor>> Sequence for WholeSequence<F> {
    fn embed(&mut self, rows: Range<usize>) -> Tensor<3> {
        self.x.clone().slice_dim(1, rows)
    }

    fn learn(&mut self, rows: Range<usize>, gradient: Tensor<3>) {
        let [_, _, hidden] = gradient.dims();
        self.below = self.below.clone().slice_assign([0..1, rows, 0..hidden], gradient);
    }

    fn collect(&mut self, tape: Gradients) {
        for (name, more) in (self.named)(tape) {
            let summed = match self.found.get(&name) {
                None => more,
                Some(held) => {
                    let data = held.f32().iter().zip(more.f32()).map(|(a, b)| a + b).collect();
                    HostTensor { shape: more.shape, data: HostData::F32(data) }
                }
            };
            self.found.insert(name, summed);
        }
    }
}

/// A Video-XL of the sizes of another model: 8 by 8 patches, 16 tokens of a frame, windows of two frames.
///
/// # Panics
/// If it has no sizes.
pub fn windows_config(config: &str) -> Value {
    let mut config: Value = serde_json::from_str(config).expect("sizes");
    let side = config["vision_config"]["image_size"].as_u64().expect("sizes");
    let keys = json!({ "beacon_window": 32, "beacon_ratio": [2], "beacon_param": ["q", "k", "v"],
        "eos_token_id": 0, "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -1,
        "mm_vision_tower": "openai/clip-tiny", "vision_config": { "image_size": side, "patch_size": side / 8,
        "hidden_size": config["mm_hidden_size"], "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 16 } });
    for (key, value) in keys.as_object().expect("sizes") {
        config[key] = value.clone();
    }
    config
}

/// [`crate::Task::folders`] for such a model.
///
/// # Panics
/// If the disk refuses.
#[cfg(feature = "video")]
pub fn video_xl_task() -> crate::Task {
    let task = crate::Task::folders();
    let read = |name: &str| std::fs::read_to_string(task.path(name)).expect("a file of the task");
    task.write("config.json", &windows_config(&read("config.json")).to_string());
    let windows = "[compression]\nschedule = \"none\"\n\n[vst]\nratios = [2, 4]\n\n[tune]";
    let recipe = read("recipe.toml")
        .replace("min_frames = 8", "min_frames = 8\nclip_frames = 1")
        .replace("[tune]", windows);
    task.write("recipe.toml", &recipe);
    task
}
