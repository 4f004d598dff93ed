//! What the cases of the LLaVA families have in common: `config.json`, and gradients of towers.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};

use crate::{Case, HostData, HostTensor, assert_grad_close};

/// The `config.json` of a model of a case's sizes, in the layout of its family.
///
/// # Panics
/// If the case has no sizes of a tower.
pub fn hf_config(case: &Case) -> Value {
    let sizes = case.value("/config").clone();
    let vision = sizes["vision"].clone();
    if sizes.get("vision_feature_layer").is_none() {
        let mut config = sizes;
        config["architectures"] = json!(["LlavaQwenForCausalLM"]);
        config["mm_vision_tower"] = json!("google/siglip-tiny");
        config["mm_projector_type"] = json!("mlp2x_gelu");
        config["vision_config"] = vision;
        return config;
    }
    let mut config = json!({
        "model_type": "llava_next_video", "vision_config": vision, "text_config": sizes.clone(),
    });
    for (key, value) in sizes.as_object().expect("sizes") {
        if key.starts_with("vision_feature")
            || key.starts_with("spatial")
            || key.starts_with("projector")
        {
            config[key] = value.clone();
        }
    }
    config
}

/// Compares all gradients of a case under `grad.` with those found, and that `expect.without_grad` has none.
///
/// The bias of a tower's keys has none in theory: a softmax does not see it.
///
/// # Panics
/// If one is missing, differs, or should not be there.
pub fn assert_gradients(case: &Case, got: &BTreeMap<String, HostTensor>, prefix: &str) {
    let mut seen = 0;
    for (name, want) in case.under(&format!("grad.{prefix}")) {
        let Some(got) = got.get(name) else {
            assert!(
                !case.has(&format!("w.{prefix}{name}")),
                "case {}: no gradient of {name}",
                case.name
            );
            continue;
        };
        seen += 1;
        assert_eq!(got.shape, want.shape, "case {}: {name}", case.name);
        if name.ends_with("k_proj.bias") && (prefix.contains("vision") || name.contains("vision")) {
            // The README's 1e-6, for gradients of size 1: what rounds grows with the gradient of the map's weight.
            let of_weight =
                case.tensor(&format!("grad.{prefix}{}", name.replace("bias", "weight")));
            let allowed = 1e-6 * largest(of_weight).max(1.0);
            assert!(largest(got) <= allowed, "case {}: {name} is not zero", case.name);
            continue;
        }
        let len = got.f32().len();
        let flat =
            Tensor::<1>::from_data(TensorData::new(got.f32().to_vec(), [len]), &Device::flex());
        let want = HostTensor { shape: vec![len], data: HostData::F32(want.f32().to_vec()) };
        assert_grad_close(case, name, flat, &want);
    }
    assert!(seen > 0, "case {}: no gradient was compared", case.name);
    let none = case.json.pointer("/expect/without_grad").and_then(Value::as_array);
    for name in none.into_iter().flatten().filter_map(|name| name.as_str()?.strip_prefix(prefix)) {
        assert!(!got.contains_key(name), "case {}: {name} has a gradient", case.name);
    }
}

fn largest(tensor: &HostTensor) -> f32 {
    tensor.f32().iter().fold(0.0, |max: f32, value| max.max(value.abs()))
}
