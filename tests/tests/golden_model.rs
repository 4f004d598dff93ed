//! Kind g: the whole model from raw frames to gradients, against the official code.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use serde_json::json;
use xcomp_model::config::ModelConfig;
use xcomp_model::frames::{Clips, Encoding};
use xcomp_model::loss::{LossNorm, weighted_loss};
use xcomp_model::schedule::CompressionPlan;
use xcomp_model::vlm::{Vlm, supervised};
use xcomp_tests::{
    Case, Tolerance, assert_close, assert_scalar, case_schedule, cases, compare_gradients,
    compare_hidden, gradients, load_case, prompts,
};

/// Pins: clip cutting, normalisation, tower, merging, projector, splice, LP-Comp, loss; the frozen tower gets no gradient.
#[test]
fn g_whole_model() {
    for case in cases("g_e2e") {
        whole_model(&case);
    }
}

fn whole_model(case: &Case) {
    let device = Device::flex().autodiff();
    let config = ModelConfig::from_hf(&hf_config(case)).unwrap();
    let vlm = Vlm::new(&config, &device);
    let vlm = Vlm {
        llm: load_case(vlm.llm, case, "w."),
        projector: load_case(vlm.projector, case, "w.model.mm_projector."),
        vision: load_case(vlm.vision, case, "w.model.vision_tower.vision_tower.encoder.").valid(),
    };

    let frames = case.count("/config/frames");
    let (size, pixels) = (config.vision.image_size, case.tensor("frames_u8").u8().to_vec());
    let clips = match frames {
        1 => Clips::image(pixels, size),
        _ => Clips::video(pixels, frames, size, config.vision.clip_frames),
    };
    let clips = clips.expect("frames fit the clips");
    let features = vlm.vision.forward(clips.pixels(0, clips.count, &device.clone().inner()));
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
    let projected = vlm.projector.forward(merged.clone()).inner();
    assert_close(
        case,
        "act.projected",
        projected,
        case.tensor("act.projected"),
        Tolerance::FORWARD,
    );

    let (schedule, keep) = case_schedule(case, config.llm.num_hidden_layers);
    let plan = CompressionPlan::new(
        &schedule,
        keep,
        config.projector.tokens_per_frame,
        config.llm.num_hidden_layers,
    )
    .unwrap();
    let prompts = prompts(case);
    let (x, layout) = vlm.embed(&prompts, vec![Some(merged.clone())]);
    compare_hidden(case, "hidden.0", &x, &layout);
    let (hidden, layout) = vlm.llm.model.forward(x, layout, &plan);
    let [batch, seq, dim] = hidden.dims();
    let logits: Tensor<2> = vlm.llm.logits(hidden.clone().reshape([batch * seq, dim]));
    compare_hidden(case, "logits", &logits.reshape([batch, seq, config.llm.vocab_size]), &layout);

    let rows = supervised(&prompts, &layout);
    let loss = weighted_loss(&vlm.llm, hidden, &rows, LossNorm::Token)
        / rows.weight(LossNorm::Token) as f64;
    let value = f64::from(loss.clone().into_scalar::<f32>());
    assert_scalar(case, "loss", value, case.number("/expect/loss"), Tolerance::LOSS);
    let (sum, weight) = vlm.loss(&prompts, vec![Some(merged)], &plan, LossNorm::Sample);
    let whole = f64::from(sum.into_scalar::<f32>()) / weight as f64;
    assert_scalar(case, "loss by Vlm::loss", whole, case.number("/expect/loss"), Tolerance::LOSS);

    let grads = GradientsParams::from_grads(loss.backward(), &vlm);
    assert!(gradients(&vlm.vision, &grads).is_empty(), "the tower is frozen");
    let mut got = gradients(&vlm.llm, &grads);
    for (name, grad) in gradients(&vlm.projector, &grads) {
        got.insert(format!("model.mm_projector.{name}"), grad);
    }
    compare_gradients(case, &got);
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
