//! Kinds a, e, f: schedules, the plain Qwen2 stack, and LP-Comp with its variants, against the official code.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use serde_json::Value;
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::pass::{self, Pass};
use xcomp_model::compress::reduce::{FrameDrop, Reduce};
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::decoder::rope::Rope;
use xcomp_model::loss::{LossNorm, SupervisedRows, weighted_loss};
use xcomp_model::splice::{Prompt, splice};
use xcomp_tests::{
    Case, Outcome, Precision, Start, Tolerance, assert_close, assert_grad_close, assert_parity,
    assert_scalar, case_schedule, cases, chosen_device, compare_gradients, compare_hidden,
    gradients, host, load_case, prompts,
};

/// Pins: half-up rounding, the printed ceiling of Eq. 1, the greedy lists of the uniform rule, the suffix positions.
#[test]
fn a_schedules() {
    for case in cases("a_schedule") {
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let (n, layers) = (count(row, "N"), count(row, "L"));
            let plan = |schedule, keep| CompressionPlan::new(&schedule, keep, n, layers).unwrap();
            let cosine = plan(Schedule::Cosine, KeepRule::Suffix);
            let goal = counts(&row["goal_len[0..L]"]);
            assert_eq!(tokens(&cosine), goal[1..], "case {}: N {n}, L {layers}", case.name);
            if !row["tokens_per_frame_seen_by_layer_0_based"].is_null() {
                let seen = counts(&row["tokens_per_frame_seen_by_layer_0_based"]);
                assert_eq!(tokens(&cosine), seen, "case {}: N {n}, L {layers}", case.name);
            }
            let ceil = plan(Schedule::Ceil, KeepRule::Suffix);
            assert_eq!(tokens(&ceil), counts(&row["paper_eq1_ceil_l1..L"]), "N {n}, L {layers}");
            let uniform = plan(Schedule::Cosine, KeepRule::Uniform);
            kept_positions(
                &uniform,
                &row["uniform_idx_lists(1-based positions kept, before suffix override)"],
            );
            kept_positions(&cosine, &row["suffix_kept_positions_1_based"]);
        }
    }
}

/// Tokens of a frame in every layer.
fn tokens(plan: &CompressionPlan) -> Vec<usize> {
    (0..plan.layers()).map(|layer| plan.visual_tokens(layer, 1)).collect()
}

/// Follows the 1-based positions that are left through all layers.
fn kept_positions(plan: &CompressionPlan, lists: &Value) {
    let mut left: Vec<usize> = (1..=plan.tokens_per_frame()).collect();
    for layer in 0..plan.layers() {
        if let Reduce::Frames(FrameDrop::Slots(slots)) = plan.reduce(layer) {
            left = slots.iter().map(|slot| left[*slot]).collect();
        }
        assert_eq!(left, counts(&lists[layer + 1]), "layer {layer}");
    }
}

/// Pins: grouped-query attention, biases, rotate-half RoPE with its theta, norms in f32, tied and untied heads, the shifted mean loss, every gradient.
#[test]
fn e_plain_decoder() {
    for case in cases("e_plain") {
        let config = config(&case);
        let rope = Rope::new(
            case.tensor("rope.cos").shape[0],
            config.head_dim(),
            config.rope_theta,
            &chosen_device().1,
        );
        for (table, name) in [(rope.tables().0, "rope.cos"), (rope.tables().1, "rope.sin")] {
            let full = Tensor::cat(vec![table.clone(), table.clone()], 1);
            let half = full.slice_dim(1, 0..case.tensor(name).shape[1]);
            assert_close(&case, name, half, case.tensor(name), Tolerance::TABLE);
        }
        let plan =
            CompressionPlan::new(&Schedule::None, KeepRule::Suffix, 1, config.num_hidden_layers)
                .unwrap();
        run(&case, &config, &plan, 1);
    }
}

/// Pins: the drop and its layer, re-packed positions, compaction of padded batches, images, all released variants, loss and gradients.
#[test]
fn f_compressed_decoder() {
    for case in cases("f_") {
        let config = config(&case);
        let tokens_per_frame = case.count("/config/tokens_per_frame");
        let (schedule, keep) = case_schedule(&case, config.num_hidden_layers);
        let plan =
            CompressionPlan::new(&schedule, keep, tokens_per_frame, config.num_hidden_layers)
                .unwrap();
        run(&case, &config, &plan, tokens_per_frame);
    }
}

/// Pins: kinds e and f on the device of `XCOMP_TEST_DEVICE`, in f32 and with bf16 activations.
#[test]
fn ef_on_the_chosen_device() {
    for case in cases("e_plain").into_iter().chain(cases("f_")) {
        on_device(&case);
    }
}

fn on_device(case: &Case) {
    let (choice, device) = chosen_device();
    assert_parity(case, (choice, &device), |precision, start| {
        outcome(case, &device, precision, start)
    });
}

/// Loss and gradients of a case, those of its visual features too.
fn outcome(case: &Case, device: &Device, precision: Precision, start: Start) -> Outcome {
    let config = config(case);
    let layers = config.num_hidden_layers;
    let plain = case.name.starts_with("e_plain");
    let tokens = if plain { 1 } else { case.count("/config/tokens_per_frame") };
    let (schedule, keep) =
        if plain { (Schedule::None, KeepRule::Suffix) } else { case_schedule(case, layers) };
    let plan = CompressionPlan::new(&schedule, keep, tokens, layers).unwrap();
    let device = device.clone().autodiff();
    let llm = start.module(load_case(Qwen2ForCausalLm::new(&config, &device), case, "w."));
    let prompts = prompts(case);
    let features = |name: &String| start.tensor(case.burn::<2>(name, &device)).require_grad();
    let visual: BTreeMap<String, Tensor<2>> = (0..prompts.len())
        .map(|b| format!("visual.{b}"))
        .filter(|name| case.has(name))
        .map(|name| (name.clone(), features(&name)))
        .collect();
    let given = (0..prompts.len())
        .map(|b| visual.get(&format!("visual.{b}")).cloned().into_iter().collect())
        .collect();

    let (x, layout) = splice(&llm.model.embed_tokens, &prompts, given, tokens);
    let (hidden, layout) = pass::forward(&llm.model, x.cast(precision.dtype()), layout, &plan);
    let labels: Vec<_> = prompts.iter().map(Prompt::supervision).collect();
    let rows = SupervisedRows::new(&labels, &layout);
    let loss =
        weighted_loss(&llm, hidden, &rows, LossNorm::Token) / rows.weight(LossNorm::Token) as f64;
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let mut grads = loss.backward();
    let mut found: BTreeMap<_, _> = visual
        .into_iter()
        .filter_map(|(name, features)| Some((name, host(features.grad_remove(&mut grads)?))))
        .collect();
    found.extend(gradients(&llm, &GradientsParams::from_grads(grads, &llm)));
    (value, found)
}

fn run(case: &Case, config: &LlmConfig, plan: &CompressionPlan, tokens_per_frame: usize) {
    let device = chosen_device().1.autodiff();
    let llm = load_case(Qwen2ForCausalLm::new(config, &device), case, "w.");
    let prompts = prompts(case);
    let visual: Vec<Vec<Tensor<2>>> = (0..prompts.len())
        .map(|b| format!("visual.{b}"))
        .map(|name| case.has(&name).then(|| case.burn::<2>(&name, &device).require_grad()))
        .map(|visual| visual.into_iter().collect())
        .collect();

    let (x, layout) = splice(&llm.model.embed_tokens, &prompts, visual.clone(), tokens_per_frame);
    let mut pass = Pass::start(&llm.model, x, layout, 0);
    for layer in 0..config.num_hidden_layers {
        pass = pass.enter(&llm.model, layer, plan);
        compare_hidden(case, &format!("hidden.{layer}"), &pass.x, &pass.layout);
        compare_positions(case, layer, &pass.layout);
        pass.x = llm.model.layers[layer].forward(pass.x, &pass.rope);
    }
    let Pass { x, layout, .. } = pass;
    let hidden = llm.model.norm.forward(x);
    compare_hidden(case, "hidden.final_norm", &hidden, &layout);
    let [batch, seq, dim] = hidden.dims();
    let logits = llm.logits(hidden.clone().reshape([batch * seq, dim]));
    compare_hidden(case, "logits", &logits.reshape([batch, seq, config.vocab_size]), &layout);

    let labels: Vec<_> = prompts.iter().map(Prompt::supervision).collect();
    let rows = SupervisedRows::new(&labels, &layout);
    let loss =
        weighted_loss(&llm, hidden, &rows, LossNorm::Token) / rows.weight(LossNorm::Token) as f64;
    let value = f64::from(loss.clone().into_scalar::<f32>());
    assert_scalar(case, "loss", value, case.number("/expect/loss"), Tolerance::LOSS);

    let mut grads = loss.backward();
    for (b, visual) in visual.iter().enumerate() {
        let name = format!("grad.visual.{b}");
        if let ([visual], true) = (&visual[..], case.has(&name)) {
            let grad = visual.grad_remove(&mut grads).expect("visual features learn");
            assert_grad_close(case, &name, grad, case.tensor(&name));
        }
    }
    compare_gradients(case, &gradients(&llm, &GradientsParams::from_grads(grads, &llm)));
}

/// The reference's positions are dense: in the row of each sequence exactly its length in the layout.
fn compare_positions(case: &Case, layer: usize, layout: &Layout) {
    let (mask, pos) = (format!("mask.{layer}"), format!("pos.{layer}"));
    if !case.has(&mask) {
        return;
    }
    let (width, pos_shape) = (case.tensor(&mask).shape[1], &case.tensor(&pos).shape);
    let (rows, places) = (pos_shape[0], pos_shape[1]);
    for (b, sequence) in layout.sequences.iter().enumerate() {
        let real: i32 = case.tensor(&mask).i32()[b * width..(b + 1) * width].iter().sum();
        assert_eq!(real as usize, sequence.len, "case {}: {mask}, sequence {b}", case.name);
        // One row is that of every sequence.
        let at = b.min(rows - 1) * places;
        let row = &case.tensor(&pos).i32()[at..at + places];
        let positions = &row[..sequence.len];
        assert!(positions.iter().copied().eq(0..sequence.len as i32), "case {}: {pos}", case.name);
    }
}

fn config(case: &Case) -> LlmConfig {
    serde_json::from_value(case.value("/config").clone()).expect("the case's sizes")
}

fn count(row: &Value, key: &str) -> usize {
    row[key].as_u64().expect("a count") as usize
}

fn counts(list: &Value) -> Vec<usize> {
    list.as_array().expect("a list").iter().map(|v| v.as_u64().expect("a count") as usize).collect()
}
