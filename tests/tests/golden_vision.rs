//! Kinds b, c and d of the golden cases: vision tower, token merging, connector.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use xcomp_model::base::connector::{ConnectorConfig, GroupOrder, Stage};
use xcomp_model::base::vision::{Body, Pretrained, VisionConfig};
use xcomp_model::connector::Connector;
use xcomp_model::connector::token_merging::{
    Matching, Merged, match_tokens, merge_round, merge_tokens, rounds,
};
use xcomp_model::vision::umt::Vit;
use xcomp_tests::{
    Case, HostTensor, Tolerance, assert_close, assert_exact, assert_grad_within, cases,
    chosen_device, load_case,
};

/// Of a gradient's largest value: what the README of the golden cases allows.
const GRAD_SHARE: f64 = 1e-3;

fn forward(case: &Case) -> Tolerance {
    case.tolerance("forward", Tolerance::FORWARD)
}

/// The tower of a case; `b_pos_*` cases give sizes of the table only.
fn vision_config(case: &Case) -> VisionConfig {
    let count = |key: &str| case.value("/config").get(key)?.as_u64().map(|count| count as usize);
    let hidden_size = count("width").or(count("d")).expect("a width");
    VisionConfig {
        image_size: case.count("/config/img_size"),
        patch_size: case.count("/config/patch_size"),
        hidden_size,
        depth: count("blocks_actually_built").unwrap_or(0),
        num_heads: count("heads").unwrap_or(1),
        intermediate_size: hidden_size * count("mlp_ratio").unwrap_or(1),
        clip_frames: case.count("/config/frames"),
        body: Body::Joint(pretrained(case)),
    }
}

fn pretrained(case: &Case) -> Pretrained {
    Pretrained { frames: case.count("/config/ckpt_num_frame"), grid: 14 }
}

/// Pins the tables: f64 sinusoid, bicubic with A = -0.75, linear over time.
#[test]
fn b_position_tables() {
    let device = chosen_device().1;
    let mut seen = 0;
    for case in cases("b_") {
        let vit = Vit::new(&vision_config(&case), pretrained(&case), &device);
        let tolerance = case.tolerance("pos_embed", Tolerance::TABLE);
        for name in ["pos_embed", "img_pos_embed"].into_iter().filter(|name| case.has(name)) {
            let want = case.tensor(name);
            let frames = want.shape[1] / vit.config().patches();
            assert_close(&case, name, vit.position(frames, &device), want, tolerance);
            seen += 1;
        }
    }
    assert!(seen >= 2 * cases("b_pos").len(), "a clip's and an image's table in each case");
}

/// Pins the biases of q and v, both epsilons, the exact GELU and the dropped last block.
#[test]
fn b_umt() {
    let device = chosen_device().1;
    for case in cases("b_umt") {
        let vit = Vit::new(&vision_config(&case), pretrained(&case), &device);
        let vit = load_case(vit, &case, "w.vision_tower.encoder.");
        let check = |what: &str, x: Tensor<3>| {
            assert_close(&case, what, x, case.tensor(what), forward(&case));
        };
        let pixels = case.burn::<5>("pixels", &device);
        let embedded = vit.embed(pixels.clone());
        let positions = vit.position(pixels.dims()[1], &device);
        check("act.patch_embed", embedded.clone() - positions);

        let mut x = embedded;
        for (index, block) in vit.blocks.iter().enumerate() {
            x = block.forward(x);
            check(&format!("act.block.{index}"), x.clone());
        }
        check("output", vit.forward(pixels));
    }
}

/// The same tower on a tape gives the same values: the chunked attention, not the fused one.
#[test]
fn b_umt_with_a_tape() {
    let device = chosen_device().1.autodiff();
    for case in cases("b_umt") {
        let vit = Vit::new(&vision_config(&case), pretrained(&case), &device);
        let vit = load_case(vit, &case, "w.vision_tower.encoder.");
        let output = vit.forward(case.burn::<5>("pixels", &device));
        assert!(output.is_autodiff());
        assert_close(&case, "output", output, case.tensor("output"), forward(&case));
    }
}

/// Pins the rounds, the metric (mean over heads, cosine), the order, and the averages.
#[test]
fn c_tome_rounds() {
    let device = chosen_device().1;
    for case in cases("c_tome") {
        let (target, heads) = (case.count("/config/target"), case.count("/config/heads"));
        let mut merged = Merged::raw(case.burn::<3>("input", &device));
        let rounds = rounds(merged.tokens.dims()[1], target);
        let steps = case.value("/config/steps").as_array().expect("a list of rounds");
        assert_eq!(rounds.len(), steps.len(), "case {}: rounds", case.name);
        for (round, merges) in rounds.into_iter().enumerate() {
            assert_eq!(merges, case.count(&format!("/config/steps/{round}/r")), "{}", case.name);
            let matching = match_tokens(&merged.tokens, heads, merges);
            check_matching(&case, round, &matching);
            merged = merge_round(merged, &matching);
        }
        let tolerance = case.tolerance("forward", Tolerance::TABLE);
        assert_close(&case, "output", merged.tokens, case.tensor("output"), tolerance);
        assert_close(&case, "size", merged.sizes, case.tensor("size"), tolerance);
    }
}

fn check_matching(case: &Case, round: usize, matching: &Matching) {
    let (matched, unmerged) = (format!("match.{round}"), format!("unm.{round}"));
    assert_exact(case, &matched, matching.destination.clone(), case.tensor(&matched));
    match &matching.staying {
        Some(staying) => assert_exact(case, &unmerged, staying.clone(), case.tensor(&unmerged)),
        None => assert!(!case.has(&unmerged), "case {}: no token stays", case.name),
    }
}

/// Pins that the average is differentiated and the matching is not.
#[test]
fn c_tome_gradient() {
    let device = chosen_device().1;
    let with_gradient: Vec<Case> =
        cases("c_tome").into_iter().filter(|case| case.has("grad.input")).collect();
    assert!(!with_gradient.is_empty(), "no case of token merging has a gradient");
    for case in with_gradient {
        let (target, heads) = (case.count("/config/target"), case.count("/config/heads"));
        let input = case.burn::<3>("input", &device).autodiff().require_grad();
        let output = merge_tokens(input.clone(), target, heads, GroupOrder::Reference);
        let mut grads = (output * case.burn::<3>("grad_seed", &device)).sum().backward();
        let grad = input.grad_remove(&mut grads).expect("a gradient of the input");
        check_grad(&case, "grad.input", grad);
    }
}

fn check_grad<const D: usize>(case: &Case, name: &str, grad: Tensor<D>) {
    let want: &HostTensor = case.tensor(name);
    assert_grad_within(case, name, grad, want, GRAD_SHARE);
}

/// Pins the connector: clips or images to 16 tokens a frame, then Linear, exact GELU, Linear.
#[test]
fn d_projector() {
    let device = chosen_device().1;
    for case in cases("d_projector") {
        let projector = projector(&case, &device);
        let mlp = projector.project(case.burn::<2>("mlp_only.input", &device));
        assert_close(&case, "mlp", mlp, case.tensor("mlp_only.output"), forward(&case));

        let input = case.burn::<3>("input", &device);
        let output = projector.learnt(merge(&case, &projector, input));
        assert_close(&case, "output", output, case.tensor("output"), forward(&case));
    }
}

/// Gradients of the perceptron and of the features before merging.
#[test]
fn d_projector_gradient() {
    let device = chosen_device().1.autodiff();
    for case in cases("d_projector") {
        let projector = projector(&case, &device);
        let input = case.burn::<3>("input", &device).require_grad();
        let output = projector.learnt(merge(&case, &projector, input.clone()));
        let mut grads = (output * case.burn::<3>("grad_seed", &device)).sum().backward();

        check_grad(&case, "grad.input", input.grad_remove(&mut grads).expect("of the input"));
        let mut checked = 0;
        for (index, linear) in projector.mlp.iter().enumerate() {
            let Some(linear) = linear else { continue };
            let bias = linear.bias.as_ref().expect("both maps have a bias").val();
            let weight = linear.weight.val().grad_remove(&mut grads).expect("of a weight");
            check_grad(&case, &format!("grad.mlp.{index}.weight"), weight);
            let bias = bias.grad_remove(&mut grads).expect("of a bias");
            check_grad(&case, &format!("grad.mlp.{index}.bias"), bias);
            checked += 2;
        }
        assert_eq!(checked, case.under("grad.mlp.").count(), "case {}: gradients", case.name);
    }
}

fn projector(case: &Case, device: &Device) -> Connector {
    let tokens = case.tensor("output").shape[1] / case.count("/config/frames_per_clip");
    let heads = case.count("/config/heads");
    let merge = Stage::Merge { tokens, heads, order: GroupOrder::Reference };
    let config = ConnectorConfig {
        input_size: case.count("/config/mm_hidden_size"),
        output_size: case.count("/config/hidden_size"),
        grid: case.tensor("input").shape[1].isqrt(),
        stages: vec![merge, Stage::Project],
        has_newline: false,
    };
    let projector = load_case(Connector::new(&config, device), case, "w.");
    assert_eq!(projector.num_params(), case.under("w.").map(|(_, w)| w.f32().len()).sum::<usize>());
    projector
}

/// `[frames, patches, width]` as clips, merged.
fn merge(case: &Case, projector: &Connector, input: Tensor<3>) -> Tensor<3> {
    let frames = case.count("/config/frames_per_clip");
    let [all, patches, width] = input.dims();
    projector.fixed(input.reshape([all / frames, frames * patches, width]))
}
