//! Kinds `n_llavavideo`, `n_nextvideo` and `n_lpcomp`: the LLaVA families whole, from pixels to gradients.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::pass::{self, Pass};
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::generate::Decoding;
use xcomp_model::loss::{IGNORE, LossNorm, weighted_loss};
use xcomp_model::splice::Prompt;
use xcomp_model::vlm::{Vlm, supervised};
use xcomp_tests::{
    Case, HostTensor, Tolerance, assert_close, assert_grad_close, assert_gradients, assert_scalar,
    cases, compare_hidden, hf_config, host, load_model, model_gradients,
};

/// Pins: tower, projector on all patches, pool, newlines, splice, Qwen2; padded batches, a frozen tower, a tied head.
#[test]
fn n_llava_video() {
    for case in cases("n_llavavideo_e2e") {
        whole_model(&case);
    }
}

/// Pins: CLIP's selected layer, pool before projector, `LLaMA` without biases, scaled positions.
#[test]
fn n_next_video() {
    for case in cases("n_nextvideo_e2e") {
        whole_model(&case);
    }
}

/// Pins: a frame with its newlines is a group, both rules of the first layer, and gradients of what was dropped.
#[test]
fn n_lp_comp() {
    let all = cases("n_lpcomp");
    let models = all.iter().filter(|case| case.has("input_ids"));
    for case in models.clone() {
        whole_model(case);
    }
    for kind in ["n_lpcomp_g", "n_lpcomp_ext", "n_lpcomp_nextvideo"] {
        assert!(
            all.is_empty() || models.clone().any(|case| case.name.starts_with(kind)),
            "no case {kind}*"
        );
    }
}

/// Decoding over caches gives what a pass over the whole sequence gives, with drops and scaled positions.
#[test]
fn n_decoding_equals_a_whole_pass() {
    const MORE: [i32; 3] = [3, 7, 5];
    for case in cases("n_lpcomp").iter().filter(|case| case.has("input_ids")) {
        let device = Device::flex();
        let config = ModelConfig::from_hf(&hf_config(case)).expect("the case's sizes");
        let vlm = load_model(Vlm::new(&config, &device), case);
        let plan = plan(case, &config);
        let pixels = pixels(case, &device).remove(0);
        let seen = vlm.connector.fixed(vlm.vision.forward(pixels));
        let embed = |more: &[i32]| {
            let mut prompt = prompts(case).remove(0);
            prompt.ids.extend(more);
            prompt.labels.extend(more.iter().map(|_| IGNORE));
            vlm.embed(&[prompt], vec![vec![seen.clone()]])
        };
        let (x, layout) = embed(&[]);
        let (mut decoding, first) = Decoding::prefill(&vlm.llm, x, layout, &plan, MORE.len());
        let steps = MORE.iter().map(|token| decoding.step(*token));
        let cached: Vec<_> = std::iter::once(first).chain(steps).collect();
        let (x, layout) = embed(&MORE);
        let (hidden, layout) = pass::forward(&vlm.llm.model, x, layout, &plan);
        let rows = hidden.slice_dim(1, layout.longest() - cached.len()..layout.longest());
        let whole = host(vlm.llm.logits(rows.flatten(0, 1)));
        assert_close(case, "cached", Tensor::stack::<2>(cached, 0), &whole, Tolerance::FORWARD);
    }
}

/// Pins: the formula for other sizes of groups, and that all tokens are left in layer 1.
#[test]
fn n_lp_comp_schedule() {
    for case in cases("n_lpcomp_schedule") {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let count = |key: &str| row[key].as_u64().expect("a count") as usize;
            let (n, layers) = (count("n"), count("L"));
            let tokens = |schedule| {
                let plan = CompressionPlan::new(&schedule, KeepRule::Suffix, n, layers).unwrap();
                // Three frames: counted in integers, no token is lost to a product of fractions.
                let of = |layer| plan.visual_tokens(layer, 3) / 3;
                (json!((0..layers).map(of).collect::<Vec<_>>()), plan.mean_tokens())
            };
            let (goal, mean) = tokens(Schedule::Cosine);
            assert_eq!(goal, row["goal"], "n {n}, L {layers}");
            assert!((mean - row["mean_goal"].as_f64().expect("a mean")).abs() < 1e-9);
            let (full, mean) = tokens(Schedule::CosineFullFirst);
            assert_eq!(full, row["with_first_layer_full"], "n {n}, L {layers}");
            assert!((mean - row["mean_first_full"].as_f64().expect("a mean")).abs() < 1e-9);
        }
    }
}

/// The pixels of every prompt's video: `[1, frames, 3, size, size]`.
fn pixels(case: &Case, device: &Device) -> Vec<Tensor<5>> {
    if case.has("pixel_values_videos") {
        let all = case.burn::<5>("pixel_values_videos", device);
        return (0..all.dims()[0]).map(|b| all.clone().slice_dim(0, b..=b)).collect();
    }
    let names = (0..).map(|b| format!("pixel_values.{b}")).take_while(|name| case.has(name));
    let one = case.has("pixel_values").then(|| "pixel_values".to_owned());
    names.chain(one).map(|name| case.burn::<4>(&name, device).unsqueeze()).collect()
}

/// The prompts of a case; of a run of placeholders, one for each visual token, one is left.
fn prompts(case: &Case) -> Vec<Prompt> {
    let width = case.tensor("input_ids").shape[1];
    let rows = |name: &str| case.tensor(name).i32().chunks(width);
    let video = case.json.pointer("/config/video_token_index").and_then(Value::as_i64);
    let of_row = |(row, (ids, labels)): (usize, (&[i32], &[i32]))| {
        let is_video = |id: i32| video.map_or(id < 0, |video| i64::from(id) == video);
        let real = |at: &usize| {
            let mask = case.has("attention_mask").then(|| case.tensor("attention_mask").i32());
            mask.is_none_or(|mask| mask[row * width + at] != 0)
        };
        let kept: Vec<usize> = (0..width)
            .filter(real)
            .filter(|at| *at == 0 || !(is_video(ids[*at]) && is_video(ids[*at - 1])))
            .collect();
        let of = |from: &[i32]| kept.iter().map(|at| from[*at]).collect::<Vec<_>>();
        let (ids, labels) = (of(ids), of(labels));
        let visual_at: Vec<usize> = (0..ids.len()).filter(|at| is_video(ids[*at])).collect();
        assert!(visual_at.iter().all(|at| labels[*at] == IGNORE), "case {}", case.name);
        Prompt { ids, labels, visual_at }
    };
    rows("input_ids").zip(rows("labels")).enumerate().map(of_row).collect()
}

fn plan(case: &Case, config: &ModelConfig) -> CompressionPlan {
    let (n, layers) = (config.tokens_per_frame(), config.llm.num_hidden_layers);
    let rule = case.json.pointer("/config/lp_comp/first_layer_rule").and_then(Value::as_str);
    let schedule = match rule {
        None => Schedule::None,
        Some(rule) if rule.contains("gets goal(1)") => Schedule::Cosine,
        Some(_) => Schedule::CosineFullFirst,
    };
    let plan = CompressionPlan::new(&schedule, KeepRule::Suffix, n, layers).expect("it fits");
    if let Some(want) = case.json.pointer("/expect/tokens_per_frame_per_layer") {
        let tokens: Vec<usize> = (0..layers).map(|layer| plan.visual_tokens(layer, 1)).collect();
        assert_eq!(json!(tokens), *want, "case {}", case.name);
    }
    plan
}

fn whole_model(case: &Case) {
    let device = Device::flex().autodiff();
    let config = ModelConfig::from_hf(&hf_config(case)).expect("the case's sizes");
    assert_eq!(config.tokens_per_frame(), case.count("/config/tokens_per_frame"), "{}", case.name);
    let mut vlm = load_model(Vlm::new(&config, &device), case);
    let frozen = case.json.pointer("/config/frozen/0").is_some();
    if frozen {
        vlm.vision = vlm.vision.valid();
    }
    let tower_device = if frozen { device.clone().inner() } else { device.clone() };
    let features: Vec<Tensor<3>> =
        pixels(case, &tower_device).into_iter().map(|pixels| vlm.vision.forward(pixels)).collect();
    let by_frame = |of_prompts: Vec<Tensor<3>>| {
        let frames = |x: Tensor<3>| {
            let [_, all, width] = x.dims();
            let patches = config.vision.patches();
            x.inner().reshape([all / patches, patches, width])
        };
        Tensor::cat(of_prompts.into_iter().map(frames).collect(), 0)
    };
    for name in ["act.vision_features", "act.vision_selected"].into_iter().filter(|n| case.has(n)) {
        let got = by_frame(features.clone());
        assert_close(case, name, got, case.tensor(name), Tolerance::FORWARD);
    }
    let encoded: Vec<_> = features.into_iter().map(|x| vec![vlm.connector.fixed(x)]).collect();

    let (plan, prompts) = (plan(case, &config), prompts(case));
    let (x, _) = vlm.embed(&prompts, encoded.clone());
    let loss = loss(case, &vlm, &prompts, encoded.clone(), &plan);
    let grads = GradientsParams::from_grads(loss.backward(), &vlm);
    let found: BTreeMap<String, HostTensor> = model_gradients(&vlm, &grads);
    assert_gradients(case, &found, "");
    if case.has("grad.inputs_embeds") {
        inputs_gradient(case, &vlm, x, &prompts, encoded.clone(), &plan);
    }
    let (sum, weight) = vlm.loss(&prompts, encoded, &plan, LossNorm::Token);
    let whole = f64::from(sum.into_scalar::<f32>()) / weight as f64;
    assert_scalar(case, "loss by Vlm::loss", whole, case.number("/expect/loss"), Tolerance::LOSS);
}

/// The loss, with every layer's input compared on the way.
fn loss(
    case: &Case,
    vlm: &Vlm,
    prompts: &[Prompt],
    encoded: Vec<Vec<Tensor<3>>>,
    plan: &CompressionPlan,
) -> Tensor<1> {
    let (x, layout) = vlm.embed(prompts, encoded);
    let llm = &vlm.llm.model;
    let mut pass = Pass::start(llm, x, layout, 0);
    for layer in 0..llm.layers.len() {
        pass = pass.enter(llm, layer, plan);
        compare_hidden(case, &format!("hidden.{layer}"), &pass.x, &pass.layout);
        pass.x = llm.layers[layer].forward(pass.x, &pass.rope);
    }
    let hidden = llm.norm.forward(pass.x);
    compare_hidden(case, "hidden.norm", &hidden, &pass.layout);
    let [batch, seq, dim] = hidden.dims();
    let logits = vlm.llm.logits(hidden.clone().reshape([batch * seq, dim]));
    let vocab = logits.dims()[1];
    compare_hidden(case, "logits", &logits.reshape([batch, seq, vocab]), &pass.layout);
    let rows = supervised(prompts, &pass.layout);
    if let Some(targets) = case.json.pointer("/expect/number_of_targets") {
        assert_eq!(json!(rows.len()), *targets, "case {}", case.name);
    }
    let loss = weighted_loss(&vlm.llm, hidden, &rows, LossNorm::Token)
        / rows.weight(LossNorm::Token) as f64;
    let value = f64::from(loss.clone().into_scalar::<f32>());
    assert_scalar(case, "loss", value, case.number("/expect/loss"), Tolerance::LOSS);
    loss
}

/// The gradient of the spliced sequence: what was dropped learns through the layers below.
fn inputs_gradient(
    case: &Case,
    vlm: &Vlm,
    x: Tensor<3>,
    prompts: &[Prompt],
    encoded: Vec<Vec<Tensor<3>>>,
    plan: &CompressionPlan,
) {
    let (_, layout) = vlm.embed(prompts, encoded);
    let x = x.detach().require_grad();
    let (hidden, layout) = pass::forward(&vlm.llm.model, x.clone(), layout, plan);
    let rows = supervised(prompts, &layout);
    let loss = weighted_loss(&vlm.llm, hidden, &rows, LossNorm::Token)
        / rows.weight(LossNorm::Token) as f64;
    let mut grads = loss.backward();
    let grad = x.grad_remove(&mut grads).expect("a gradient of the embeddings");
    assert_grad_close(case, "grad.inputs_embeds", grad, case.tensor("grad.inputs_embeds"));
}
