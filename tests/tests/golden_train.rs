//! Kind j: optimizer steps over accumulated micro-batches, against the official trainer; and recompute against the plain backward.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use xcomp_model::base::connector::{ConnectorConfig, GroupOrder, Stage};
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::base::videochat_flash::VIDEOCHAT_FLASH;
use xcomp_model::base::vision::{Body, Pretrained, VisionConfig};
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::compress::pass;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, RankStage, Schedule};
use xcomp_model::connector::Connector;
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::loss::{LossNorm, weighted_loss};
use xcomp_model::ops::MomentFormat;
use xcomp_model::splice::{Prompt, splice};
use xcomp_model::vision::Vision;
use xcomp_model::vlm::{Vlm, supervised};
use xcomp_tests::{
    Case, HostTensor, Tolerance, assert_scalar, case_schedule, cases, host, load_case,
};
use xcomp_train::plan::lr::Rate;
use xcomp_train::train::apart;
use xcomp_train::train::optimizer::adamw::{AdamW, AdamWState};
use xcomp_train::train::optimizer::clip::clip_grad_norm;
use xcomp_train::train::optimizer::grads::NamedTensors;
use xcomp_train::train::step::{Backward, EveryLayer, Keep, MicroBatch, MicroStep};

/// Pins: mean of per-micro-batch means, clipping by the global norm, the first step at rate 0, AdamW with and without decay.
#[test]
fn j_optimizer_steps() {
    for case in cases("j_adamw") {
        let config: LlmConfig = serde_json::from_value(case.value("/config").clone()).unwrap();
        let (schedule, keep) = case_schedule(&case, config.num_hidden_layers);
        let tokens = case.tensor("sample.0.visual").shape[0] / case.count("/config/frames");
        let plan = CompressionPlan::new(&schedule, keep, tokens, config.num_hidden_layers).unwrap();
        let mut model = model(&case, &config, tokens, "w0.");
        let adam = AdamW {
            adam_beta1: case.number("/config/betas/0"),
            adam_beta2: case.number("/config/betas/1"),
            adam_epsilon: case.number("/config/eps"),
            moments: MomentFormat::F32,
            seed: 0,
        };
        let mut state = AdamWState::default();
        let accumulation = case.count("/config/accum");

        for step in 0..case.count("/config/steps") {
            let mut sum = NamedTensors::default();
            for micro in 0..accumulation {
                let index = step * accumulation + micro;
                let (loss, grads) = micro_step(&case, &model, index, tokens, &plan);
                let want = case.number(&format!("/expect/micro_batch_losses/{index}"));
                assert_scalar(
                    &case,
                    &format!("loss {index}"),
                    loss,
                    want,
                    Tolerance { atol: 1e-4, rtol: 1e-4 },
                );
                sum.add(grads);
            }
            let (grads, norm) = clip_grad_norm(
                sum.divide(accumulation as f64),
                case.number("/config/max_grad_norm"),
            );
            let want = case.number(&format!("/expect/logged/{step}/grad_norm"));
            let norm = f64::from(norm.expect("gradients").into_scalar::<f32>());
            assert_scalar(
                &case,
                &format!("gradient norm {step}"),
                norm,
                want,
                Tolerance { atol: 1e-4, rtol: 1e-3 },
            );
            let lr = case.number(&format!("/expect/lr_used_in_step/{step}"));
            let decay = case.number("/config/weight_decay");
            let decayed =
                case.value("/expect/names_with_weight_decay").as_array().expect("names").clone();
            model = adam.step(&mut state, model, grads, |name| {
                let decays = decayed.iter().any(|decayed| decayed == name);
                Rate { lr, weight_decay: if decays { decay } else { 0.0 } }
            });
            if step == 0 {
                compare_weights(&case, &model, "w_after_step1.", lr);
            }
        }
        compare_weights(&case, &model, "w_final.", case.number("/config/lr"));
    }
}

fn micro_step(
    case: &Case,
    model: &Vlm,
    index: usize,
    tokens: usize,
    plan: &CompressionPlan,
) -> (f64, NamedTensors) {
    let integers = |name: &str| case.tensor(&format!("sample.{index}.{name}")).i32().to_vec();
    let ids = integers("input_ids");
    let visual_at = ids.iter().position(|id| *id < 0).into_iter().collect();
    let prompts = [Prompt { ids, labels: integers("labels"), visual_at }];
    let visual = case.burn::<2>(&format!("sample.{index}.visual"), &Device::flex());
    let (x, layout) = splice(&model.llm.model.embed_tokens, &prompts, vec![vec![visual]], tokens);
    let (hidden, layout) = pass::forward(&model.llm.model, x, layout, plan);
    let rows = supervised(&prompts, &layout);
    let loss = weighted_loss(&model.llm, hidden, &rows, LossNorm::Sample);
    let value = f64::from(loss.clone().into_scalar::<f32>());
    (value, NamedTensors::from_backward(loss.backward(), model))
}

/// At least 99.5 % of the entries of every change within 2 % or a fiftieth of the step (README of the golden cases).
fn compare_weights(case: &Case, model: &Vlm, prefix: &str, lr: f64) {
    let mut weights = vec![];
    let snapshot = model.llm.clone();
    for (name, before) in case.under("w0.") {
        let after = case.tensor(&format!("{prefix}{name}"));
        weights.push((name.to_owned(), before.f32().to_vec(), after.f32().to_vec()));
    }
    let got = xcomp_tests::weights(&snapshot);
    let (mut bad, mut all) = (0, 0);
    for (name, before, after) in weights {
        let got: &HostTensor =
            got.get(&name).unwrap_or_else(|| panic!("case {}: no weight {name}", case.name));
        for ((got, before), after) in got.f32().iter().zip(&before).zip(&after) {
            let (change, want) = (f64::from(got - before), f64::from(after - before));
            bad += usize::from((change - want).abs() > 2e-2 * want.abs() + 2e-2 * lr + 1e-9);
            all += 1;
        }
    }
    assert!(bad * 200 <= all, "case {}: {prefix} {bad} of {all} entries differ", case.name);
}

/// Of a tensor's largest gradient: sums run in another order, and rounding grows over up to 28 layers (1.4e-5 seen).
const OTHER_ORDER_SHARE: f64 = 1e-4;

/// Recomputing every layer, and running every sample by itself, give the gradients of the plain backward, for every golden case of the
/// whole stack.
#[test]
fn every_way_gives_the_same_gradients() {
    for case in cases("f_lpcomp") {
        let layers = case.count("/config/num_hidden_layers");
        let stage = |layer, share| RankStage { layer, share };
        let ranked = Schedule::Rank(vec![stage(layers / 4, 0.5), stage(layers / 2, 0.25)]);
        for (schedule, keep) in [case_schedule(&case, layers), (ranked, KeepRule::Suffix)] {
            ways_agree(&case, &schedule, keep);
        }
    }
}

fn ways_agree(case: &Case, schedule: &Schedule, keep: KeepRule) {
    let config: LlmConfig = serde_json::from_value(case.value("/config").clone()).unwrap();
    let tokens = case.count("/config/tokens_per_frame");
    let plan = CompressionPlan::new(schedule, keep, tokens, config.num_hidden_layers).unwrap();
    let model = model(case, &config, tokens, "w.");
    let prompts = xcomp_tests::prompts(case);
    let merged = (0..prompts.len())
        .map(|b| format!("visual.{b}"))
        .map(|name| {
            case.has(&name).then(|| case.burn::<2>(&name, &Device::flex()).unsqueeze::<3>())
        })
        .map(|visual| visual.into_iter().collect())
        .collect();
    let batch = MicroBatch {
        prompts,
        merged,
        replay: vec![],
        windows: vec![],
        number: None,
        arrangement: Arrangement::Padded,
    };

    for norm in [LossNorm::Sample, LossNorm::Token] {
        let kept = Keep.run(&model, batch.clone(), &plan, norm);
        let again = EveryLayer.run(&model, batch.clone(), &plan, norm);
        let alone = |model: &Vlm, sample| Keep.run(model, sample, &plan, norm);
        let counts = vec![1; batch.prompts.len()];
        let apart = || apart::each(&model, batch.clone().split(&counts), alone);
        // Ranks are drawn up anew there: where two tokens are all but equal, a last bit may choose between them.
        let apart = plan.frames_stay_whole().then(apart);
        for way in [again].into_iter().chain(apart) {
            assert_eq!(kept.weight, way.weight);
            let losses = [&kept.loss, &way.loss];
            let losses = losses.map(|loss| f64::from(loss.clone().into_scalar::<f32>()));
            assert!(
                (losses[0] - losses[1]).abs() <= 1e-6 * losses[0],
                "case {}: {losses:?}",
                case.name
            );
            let names = |grads: &NamedTensors| {
                grads.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(names(&kept.grads), names(&way.grads), "case {}", case.name);
            for (name, want) in kept.grads.iter() {
                let got = way.grads.get(name).expect("the same names");
                xcomp_tests::assert_grad_within(case, name, got, &host(want), OTHER_ORDER_SHARE);
            }
        }
    }
}

/// A whole model around a case's language model: a connector that leaves visual features as wide as they are, and no tower to speak of.
fn model(case: &Case, config: &LlmConfig, tokens_per_frame: usize, prefix: &str) -> Vlm {
    let device = Device::flex().autodiff();
    let width = config.hidden_size;
    let merge = Stage::Merge { tokens: tokens_per_frame, heads: 1, order: GroupOrder::Reference };
    let stages = vec![merge, Stage::Project];
    let config_of_connector = ConnectorConfig {
        input_size: width,
        output_size: width,
        grid: 4,
        stages,
        has_newline: false,
    };
    let vision = VisionConfig {
        image_size: 64,
        patch_size: 16,
        hidden_size: width,
        depth: 1,
        num_heads: 1,
        intermediate_size: width,
        clip_frames: 8,
        body: Body::Joint(Pretrained { frames: 4, grid: 14 }),
    };
    Vlm {
        llm: load_case(Qwen2ForCausalLm::new(config, &device), case, prefix),
        connector: connector(case, &config_of_connector, prefix, &device),
        vision: Vision::new(&vision, &device).valid(),
        family: &VIDEOCHAT_FLASH,
    }
}

/// A connector whose two maps are a matrix of the case, so that every run computes the same numbers.
fn connector(case: &Case, config: &ConnectorConfig, prefix: &str, device: &Device) -> Connector {
    let mut connector = Connector::new(config, device);
    for linear in connector.mlp.iter_mut().flatten() {
        let weight =
            case.burn::<2>(&format!("{prefix}model.layers.0.self_attn.q_proj.weight"), device);
        linear.weight = Param::from_tensor(weight);
    }
    connector
}

#[test]
fn a_frozen_lower_half_learns_nothing_and_costs_no_backward() {
    let case = &cases("f_lpcomp_L9")[0];
    let config: LlmConfig = serde_json::from_value(case.value("/config").clone()).unwrap();
    let tokens = case.count("/config/tokens_per_frame");
    let (schedule, keep) = case_schedule(case, config.num_hidden_layers);
    let plan = CompressionPlan::new(&schedule, keep, tokens, config.num_hidden_layers).unwrap();
    let mut model = model(case, &config, tokens, "w.");
    model.connector = model.connector.freeze();
    model.llm.model.embed_tokens = model.llm.model.embed_tokens.freeze();
    let split = config.num_hidden_layers / 2;
    let layers = model.llm.model.layers.into_iter().enumerate();
    model.llm.model.layers =
        layers.map(|(index, layer)| if index < split { layer.freeze() } else { layer }).collect();

    let prompts = xcomp_tests::prompts(case);
    let visual: Tensor<3> = case.burn::<2>("visual.0", &Device::flex()).unsqueeze();
    let batch = MicroBatch {
        prompts: prompts[..1].to_vec(),
        merged: vec![vec![visual]],
        replay: vec![],
        windows: vec![],
        number: None,
        arrangement: Arrangement::Padded,
    };
    let (batch, norm) = (&batch, LossNorm::Token);
    let keep = |model: &Vlm, batch| Keep.run(model, batch, &plan, norm);
    let ways = [
        ("keep", keep(&model, batch.clone())),
        ("every layer", EveryLayer.run(&model, batch.clone(), &plan, norm)),
        ("apart", apart::each(&model, vec![batch.clone()], keep)),
    ];
    for (name_of_way, MicroStep { grads, .. }) in ways {
        for (name, _) in grads.iter() {
            let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
            let layer: Option<usize> = layer.and_then(|layer| layer.parse().ok());
            assert!(
                layer.is_some_and(|layer| layer >= split) || name == "model.norm.weight",
                "{name_of_way}: {name}"
            );
        }
        assert_eq!(grads.len(), 1 + 12 * (config.num_hidden_layers - split), "{name_of_way}");
    }
}
