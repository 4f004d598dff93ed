//! Kinds `n_siglip`, `n_clip` and `n_pool`: towers over single frames, pooling, newlines.

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::connector::{ConnectorConfig, FrameTokens, Newline, PoolMode, Stage};
use xcomp_model::base::vision::{Body, VisionConfig};
use xcomp_model::connector::Connector;
use xcomp_model::connector::grid::pool;
use xcomp_model::decoder::qwen2::Embedding;
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::{Prompt, splice};
use xcomp_model::vision::frame_vit::FrameVit;
use xcomp_tests::{
    Case, HostData, HostTensor, Tolerance, assert_close, assert_grad_close, assert_gradients,
    cases, gradients, load_case,
};

/// Pins: the "valid" patches, learnt positions, both activations, the epsilons, the class token, the selected layer, every gradient.
#[test]
fn n_towers() {
    for case in cases("n_siglip").into_iter().chain(cases("n_clip")) {
        tower(&case);
    }
}

/// The tower of a case, as `config.json` of its family gives it.
fn vision_config(case: &Case) -> VisionConfig {
    let vision = case.value("/config/vision");
    let config = if case.name.starts_with("n_siglip") {
        json!({ "mm_vision_tower": "google/siglip-tiny", "mm_spatial_pool_mode": "average" })
    } else {
        let layer = case.value("/config/mm_vision_select_layer");
        json!({ "mm_vision_tower": "openai/clip-tiny", "mm_resampler_type": "spatial_pool",
            "mm_vision_select_layer": layer })
    };
    let config = with_decoder(&config, vision, 8);
    ModelConfig::from_hf(&config).expect("the case's sizes").vision
}

/// A `config.json` with these keys, this tower and some decoder.
fn with_decoder(keys: &Value, vision: &Value, hidden: usize) -> Value {
    let mut config = json!({
        "vocab_size": 10, "hidden_size": hidden, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "mm_projector_type": "mlp2x_gelu", "vision_config": vision,
    });
    for (key, value) in keys.as_object().expect("keys") {
        config[key] = value.clone();
    }
    config
}

fn tower(case: &Case) {
    let device = Device::flex().autodiff();
    let config = vision_config(case);
    let Body::Frames(body) = config.body else { panic!("case {}: a tower over frames", case.name) };
    let tower = load_case(FrameVit::new(&config, body, &device), case, "w.vision_model.");
    let close = |what: &str, got: Tensor<3>| {
        let tolerance = case.tolerance("forward", Tolerance::FORWARD);
        assert_close(case, what, got, case.tensor(what), tolerance);
    };
    let pixels = case.burn::<4>("pixel_values", &device).require_grad();
    let clip = pixels.clone().unsqueeze::<5>();

    let mut x = tower.embed(clip.clone());
    close(if body.class_token { "act.pre_layernorm" } else { "act.embeddings" }, x.clone());
    for (index, block) in tower.encoder.layers[..config.depth].iter().enumerate() {
        x = block.forward(x);
        let name = format!("act.block.{index}");
        if case.has(&name) {
            close(&name, x.clone());
        }
    }
    let want = case.tensor("output").shape.clone();
    let output = tower.forward(clip).reshape([want[0], want[1], want[2]]);
    close("output", output.clone());

    let mut grads = (output * case.burn::<3>("cotangent", &device)).sum().backward();
    let grad = pixels.grad_remove(&mut grads).expect("a gradient of the pixels");
    assert_grad_close(case, "grad.pixel_values", grad, case.tensor("grad.pixel_values"));
    let found = gradients(&tower, &GradientsParams::from_grads(grads, &tower));
    assert_gradients(case, &found, "vision_model.");
}

fn mode(row: &Value) -> PoolMode {
    serde_json::from_value(row["mode"].clone()).expect("a mode")
}

/// Pins: the mean, the largest and the interpolated token of a cell, floor and ceil grids, input gradients.
#[test]
fn n_pool_alone() {
    let device = Device::flex().autodiff();
    let mut seen = 0;
    let alone = |case: &Case| case.json.pointer("/expect/rows/0/stride").is_some();
    let all = cases("n_pool");
    for case in all.iter().filter(|case| alone(case)) {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let (key, number) = (row["key"].as_str().expect("a key"), |key: &str| {
                row[key].as_u64().expect("a count") as usize
            });
            let (side, stride) = (number("grid"), number("stride"));
            let tokens = FrameTokens { rows: side, columns: side };
            let input = case.burn::<3>(&format!("input.g{side}"), &device).require_grad();
            let output = pool(input.clone(), tokens, stride, mode(row));
            let after = tokens.after(Stage::Pool { stride, mode: mode(row) });
            assert_eq!((after.rows, after.columns), (number("out_side"), number("out_side")));
            let name = format!("output.{key}");
            assert_close(case, &name, output.clone(), case.tensor(&name), Tolerance::TABLE);
            let cotangent = case.burn::<3>(&format!("cotangent.{key}"), &device);
            let mut grads = (output * cotangent).sum().backward();
            let grad = input.grad_remove(&mut grads).expect("a gradient of the input");
            let name = format!("grad.input.{key}");
            assert_grad_close(case, &name, grad, case.tensor(&name));
            seen += 1;
        }
    }
    assert!(seen > 0 || all.is_empty(), "no case of pooling alone");
}

/// Pins: the erf GELU of the projector, and that all patches are projected before they are pooled.
#[test]
fn n_pool_projected() {
    let device = Device::flex().autodiff();
    for case in cases("n_pool_projector") {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let config = ConnectorConfig {
                input_size: case.count("/config/mm_hidden_size"),
                output_size: case.count("/config/hidden_size"),
                grid: case.count("/config/grid"),
                stages: vec![Stage::Project, Stage::Pool { stride: 2, mode: mode(row) }],
                has_newline: false,
            };
            let mut connector = Connector::new(&config, &device);
            connector.mlp = load_case(connector.mlp, &case, "w.model.mm_projector.");
            let input = case.burn::<3>("input", &device).require_grad();
            let projected = connector.project(input.clone());
            let want = case.tensor("act.projected");
            assert_close(&case, "act.projected", projected, want, Tolerance::FORWARD);
            let word = row["mode"].as_str().expect("a mode");
            let output = connector.learnt(input.clone());
            let name = format!("output.{word}");
            assert_close(&case, &name, output.clone(), case.tensor(&name), Tolerance::FORWARD);
            let cotangent = case.burn::<3>(&format!("cotangent.{word}"), &device);
            let mut grads = (output * cotangent).sum().backward();
            let grad = input.grad_remove(&mut grads).expect("a gradient of the input");
            let name = format!("grad.input.{word}");
            assert_grad_close(&case, &name, grad, case.tensor(&name));
            let found = gradients(&connector.mlp, &GradientsParams::from_grads(grads, &connector));
            assert_eq!(found.len(), 4, "case {}: two maps", case.name);
            for (name, grad) in found {
                let name = format!("grad.model.mm_projector.{name}.{word}");
                let grad = flat(&grad);
                assert_grad_close(&case, &name, grad, &flattened(case.tensor(&name)));
            }
        }
    }
}

fn flattened(tensor: &HostTensor) -> HostTensor {
    let data = tensor.f32().to_vec();
    HostTensor { shape: vec![data.len()], data: HostData::F32(data) }
}

fn flat(tensor: &HostTensor) -> Tensor<1> {
    let data = tensor.f32();
    Tensor::from_floats(data, &Device::flex())
}

/// Pins: where newlines stand, and that a prompt's text and labels move apart around several videos.
#[test]
fn n_pool_newlines() {
    for case in cases("n_pool_newline") {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            newlines(&case, row);
        }
    }
}

/// The connector of a row without its projector: features are given as they leave it.
fn connector_config(case: &Case, row: &Value) -> ConnectorConfig {
    let grid = case.count("/config/grid");
    let vision = json!({ "image_size": 2 * grid, "patch_size": 2, "hidden_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8 });
    let mut keys = json!({ "mm_vision_tower": "google/siglip-tiny" });
    for key in ["mm_patch_merge_type", "mm_newline_position", "mm_spatial_pool_mode"] {
        keys[key] = row[key].clone();
    }
    let config = with_decoder(&keys, &vision, case.count("/config/hidden_size"));
    let mut connector = ModelConfig::from_hf(&config).expect("the row's keys").connector;
    connector.stages.retain(|stage| *stage != Stage::Project);
    if row["modalities"][0] == "image" {
        // One tile: not pooled, and one newline at its end.
        connector.stages = vec![Stage::Newline(Newline::Visual)];
    }
    connector
}

fn newlines(case: &Case, row: &Value) {
    let device = Device::flex().autodiff();
    let key = row["key"].as_str().expect("a key");
    let config = connector_config(case, row);
    assert_eq!(json!(config.has_newline), row["has_image_newline_parameter"], "{key}");
    let mut connector = Connector::new(&config, &device);
    if config.has_newline {
        let token = case.burn::<1>("w.model.image_newline", &device);
        connector.image_newline = Some(Param::from_tensor(token));
    }
    let embed = case.burn::<2>("w.model.embed_tokens.weight", &device);
    let embed = Embedding { weight: Param::from_tensor(embed) };

    let ids = case.tensor(&format!("input_ids.{key}")).i32().to_vec();
    let labels = case.tensor(&format!("labels.{key}")).i32().to_vec();
    let visual_at: Vec<usize> = (0..ids.len()).filter(|at| ids[*at] < 0).collect();
    let prompt = Prompt { ids, labels, visual_at };
    let frames = row["frames"].as_array().expect("frames of every visual");
    let visual = frames.iter().map(|frames| {
        let features = case.burn::<3>(&format!("features.{frames}"), &device);
        let [frames, patches, width] = features.dims();
        connector.visual(connector.fixed(features.reshape([1, frames * patches, width])))
    });
    let shape = config.span_shape();
    let (x, layout) = splice(&embed, std::slice::from_ref(&prompt), vec![visual.collect()], shape);

    // The reference cuts what is longer than the model's length.
    let want = case.tensor(&format!("output.embeds.{key}"));
    let kept = x.slice_dim(1, 0..want.shape[1]);
    assert_close(case, key, kept.clone(), want, Tolerance::TABLE);
    let sequence = &layout.sequences[0];
    let mut text =
        prompt.labels.iter().enumerate().filter(|(at, _)| !prompt.visual_at.contains(at));
    let mut label =
        |at| if sequence.is_visual(at) { IGNORE } else { *text.next().expect("text").1 };
    let labels: Vec<i32> = (0..sequence.len).map(&mut label).collect();
    let want = case.tensor(&format!("output.labels.{key}")).i32();
    assert_eq!(labels[..want.len()], *want, "case {}: labels of {key}", case.name);

    let name = format!("grad.model.image_newline.{key}");
    if case.has(&name) {
        let token = connector.image_newline.as_ref().expect("a newline");
        let cotangent = case.burn::<3>(&format!("cotangent.{key}"), &device);
        let mut grads = (kept * cotangent).sum().backward();
        match token.val().grad_remove(&mut grads) {
            Some(grad) => assert_grad_close(case, &name, grad, case.tensor(&name)),
            None => assert!(case.tensor(&name).f32().iter().all(|value| *value == 0.0), "{name}"),
        }
    }
}
