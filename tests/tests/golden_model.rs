//! Kind g: the whole model from raw frames to gradients, against the official code.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use serde_json::json;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::pass;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::loss::{LossNorm, weighted_loss};
use xcomp_model::vision::frames::{Clips, Encoding};
use xcomp_model::vlm::{Vlm, supervised};
use xcomp_tests::{
    BF16_FACTOR, Case, HostTensor, Start, Tolerance, assert_close, assert_parity, assert_scalar,
    case_schedule, cases, chosen_device, compare_gradients, compare_hidden, gradients, has_bf16,
    load_case, prompts,
};

/// Pins: clip cutting, normalisation, tower, merging, projector, splice, LP-Comp, loss; the frozen tower gets no gradient.
#[test]
fn g_whole_model() {
    for case in cases("g_e2e") {
        whole_model(&case);
    }
}

/// The case's model, its tower frozen.
fn load(case: &Case, device: &Device) -> (Vlm, ModelConfig) {
    let config = ModelConfig::from_hf(&hf_config(case)).expect("the case's sizes");
    let vlm = Vlm::new(&config, &device.clone().autodiff());
    let vlm = Vlm {
        llm: load_case(vlm.llm, case, "w."),
        connector: load_case(vlm.connector, case, "w.model.mm_projector."),
        vision: load_case(vlm.vision, case, "w.model.vision_tower.vision_tower.encoder.").valid(),
        family: config.family,
    };
    (vlm, config)
}

fn clips(case: &Case, config: &ModelConfig) -> Clips {
    let frames = case.count("/config/frames");
    let (size, pixels) = (config.vision.image_size, case.tensor("frames_u8").u8().to_vec());
    let clips = match frames {
        1 => Clips::image(pixels, size),
        _ => Clips::video(pixels, frames, size, config.vision.clip_frames),
    };
    clips.expect("frames fit the clips")
}

fn plan(case: &Case, config: &ModelConfig) -> CompressionPlan {
    let layers = config.llm.num_hidden_layers;
    let (schedule, keep) = case_schedule(case, layers);
    CompressionPlan::new(&schedule, keep, config.tokens_per_frame(), layers)
        .expect("the schedule fits")
}

fn whole_model(case: &Case) {
    let device = chosen_device().1.autodiff();
    let (vlm, config) = load(case, &device.clone().inner());
    let clips = clips(case, &config);
    let features = vlm.vision.forward(clips.pixels(
        0,
        clips.count,
        &vlm.family.pixels,
        &device.clone().inner(),
    ));
    assert_close(
        case,
        "act.vision_features",
        features,
        case.tensor("act.vision_features"),
        Tolerance::FORWARD,
    );
    let merged = vlm.encode(&clips, &device.clone().inner(), Encoding::default());
    assert!(!merged.is_autodiff(), "the frozen tower never meets a tape");
    assert_close(case, "act.merged", merged.clone(), case.tensor("act.merged"), Tolerance::FORWARD);
    let projected = vlm.connector.learnt(merged.clone()).inner();
    assert_close(
        case,
        "act.projected",
        projected,
        case.tensor("act.projected"),
        Tolerance::FORWARD,
    );

    let plan = plan(case, &config);
    let prompts = prompts(case);
    let (x, layout) = vlm.embed(&prompts, vec![vec![merged.clone()]]);
    compare_hidden(case, "hidden.0", &x, &layout);
    let (hidden, layout) = pass::forward(&vlm.llm.model, x, layout, &plan);
    let [batch, seq, dim] = hidden.dims();
    let logits: Tensor<2> = vlm.llm.logits(hidden.clone().reshape([batch * seq, dim]));
    compare_hidden(case, "logits", &logits.reshape([batch, seq, config.llm.vocab_size]), &layout);

    let rows = supervised(&prompts, &layout);
    let loss = weighted_loss(&vlm.llm, hidden, &rows, LossNorm::Token)
        / rows.weight(LossNorm::Token) as f64;
    let value = f64::from(loss.clone().into_scalar::<f32>());
    assert_scalar(case, "loss", value, case.number("/expect/loss"), Tolerance::LOSS);
    let (sum, weight) = vlm.loss(&prompts, vec![vec![merged]], &plan, LossNorm::Sample);
    let whole = f64::from(sum.into_scalar::<f32>()) / weight as f64;
    assert_scalar(case, "loss by Vlm::loss", whole, case.number("/expect/loss"), Tolerance::LOSS);

    let grads = GradientsParams::from_grads(loss.backward(), &vlm);
    assert!(gradients(&vlm.vision, &grads).is_empty(), "the tower is frozen");
    compare_gradients(case, &named_gradients(&vlm, &grads));
}

/// With bf16 activations over f32 weights gradients come back in f32, and the tower's features are in bf16.
#[test]
fn g_bf16_activations_over_f32_weights() {
    for case in cases("g_e2e") {
        let device = Device::flex();
        let (vlm, config) = load(&case, &device);
        let encoding = Encoding { dtype: FloatDType::BF16, ..Encoding::default() };
        let merged = vlm.encode(&clips(&case, &config), &device, encoding);
        assert_eq!(merged.dtype(), DType::BF16);
        let plan = plan(&case, &config);
        let (loss, weight) = vlm.loss(&prompts(&case), vec![vec![merged]], &plan, LossNorm::Token);
        let value = f64::from(loss.clone().into_scalar::<f32>()) / weight as f64;
        assert!(value.is_finite(), "case {}: loss {value}", case.name);
        let grads = GradientsParams::from_grads(loss.backward(), &vlm.llm);
        let weight = &vlm.llm.model.layers[0].mlp.up_proj.weight;
        assert_eq!(grads.get::<2>(weight.id).expect("a gradient").dtype(), DType::F32);
    }
}

/// Pins: kind g on the device of `XCOMP_TEST_DEVICE`, in f32 and with bf16 activations behind the case's own merging.
///
/// Which tokens are merged jumps with the tower's rounding, so no bound on what follows comes from a step of bf16:
/// the tower alone is compared before the merging, and the rest begins at tokens merged as the case has them.
#[test]
fn g_on_the_chosen_device() {
    let (choice, device) = chosen_device();
    for case in cases("g_e2e") {
        let (vlm, config) = load(&case, &device);
        let merged = vlm.encode(&clips(&case, &config), &device, Encoding::default());
        let plan = plan(&case, &config);
        if has_bf16(&device) {
            tower_in_bf16(&case, &vlm, &clips(&case, &config), &device);
        }
        assert_parity(&case, (choice, &device), |precision, start| {
            let (vlm, _) = load(&case, &device);
            let vlm = start.module(vlm);
            let merged = start.tensor(merged.clone()).cast(precision.dtype());
            let (sum, weight) =
                vlm.loss(&prompts(&case), vec![vec![merged]], &plan, LossNorm::Token);
            let loss = sum / weight as f64;
            let value = f64::from(loss.clone().into_scalar::<f32>());
            let grads = GradientsParams::from_grads(loss.backward(), &vlm);
            (value, named_gradients(&vlm, &grads))
        });
    }
}

/// The tower's features in bf16 are not much further off than in f32 from rounded weights and pixels.
fn tower_in_bf16(case: &Case, vlm: &Vlm, clips: &Clips, device: &Device) {
    let pixels = clips.pixels(0, clips.count, &vlm.family.pixels, device);
    let want = vlm.vision.forward(pixels.clone());
    let off = |got: Tensor<3>| {
        let square = |x: Tensor<3>| f64::from(x.powi_scalar(2).sum().into_scalar::<f32>());
        (square(got.cast(DType::F32) - want.clone()) / square(want.clone())).sqrt()
    };
    let rounded = Start::draws()
        .map(|start| off(start.module(vlm.vision.clone()).forward(start.tensor(pixels.clone()))));
    let most = BF16_FACTOR * rounded.fold(0.0, f64::max);
    let found = off(vlm.vision.forward(pixels.clone().cast(DType::BF16)));
    println!("PARITY tower {}: {found:.1e} off (at most {most:.1e})", case.name);
    assert!(
        found > 0.0 && found < most,
        "case {}: tower {found:.1e} off, at most {most:.1e}",
        case.name
    );
}

/// Gradients of the trained parts by checkpoint name.
fn named_gradients(vlm: &Vlm, grads: &GradientsParams) -> BTreeMap<String, HostTensor> {
    let mut found = gradients(&vlm.llm, grads);
    for (name, grad) in gradients(&vlm.connector, grads) {
        found.insert(format!("model.mm_projector.{name}"), grad);
    }
    found
}

/// The sizes of a case as a `config.json` would state them.
fn hf_config(case: &Case) -> serde_json::Value {
    let mut config = case.value("/config").clone();
    let vision = case.value("/config/vision").clone();
    let width = case.count("/config/vision/width");
    config["mm_hidden_size"] = width.into();
    config["mm_vision_select_layer"] = vision["mm_vision_select_layer"].clone();
    config["mm_local_num_frames"] = 8.into();
    config["mm_projector_type"] =
        format!("tome{}_mlp_hd64", case.count("/config/tokens_per_frame")).into();
    config["vision_config"] = json!({
        "image_size": case.count("/config/img_size"),
        "patch_size": vision["patch"],
        "hidden_size": width,
        "num_hidden_layers": vision["depth"],
        "num_attention_heads": vision["heads"],
        "intermediate_size": case.tensor(
            "w.model.vision_tower.vision_tower.encoder.blocks.0.mlp.fc1.bias").shape[0],
    });
    config
}
