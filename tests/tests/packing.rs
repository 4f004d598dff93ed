//! Packing: samples of a forward that stand one behind the other in one sequence have the losses and gradients that they have alone.

#![cfg(feature = "video")]

use std::fs;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use xcomp_model::base::llm::LlmConfig;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::lp_comp::packed;
use xcomp_model::compress::pass;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, RankStage, Schedule, Stage};
use xcomp_model::decoder::qwen2::Qwen2ForCausalLm;
use xcomp_model::loss::{IGNORE, LossNorm, SupervisedRows, weighted_loss};
use xcomp_model::splice::{Prompt, splice};
use xcomp_tests::{Task, drawn, drawn_module, gradients, varied};
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::run::launch::planned;
use xcomp_train::run::metrics::read;
use xcomp_train::train::meter::Record;

const LAYERS: usize = 6;
const TOKENS_PER_FRAME: usize = 8;
const HIDDEN: usize = 16;
/// Of the largest value: sums of products run over other rows at a time.
const SHARE: f64 = 1e-5;

fn model() -> Qwen2ForCausalLm {
    let config = serde_json::json!({
        "vocab_size": 64, "hidden_size": HIDDEN, "intermediate_size": 32, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
        "tie_word_embeddings": true,
    });
    let config: LlmConfig = serde_json::from_value(config).unwrap();
    drawn_module(Qwen2ForCausalLm::new(&config, &Device::flex().autodiff()), 1)
}

/// A prompt with a place for each visual, an answer of `answer` tokens behind them, and what it shows.
fn sample(seed: u64, text: usize, frames: &[usize], answer: usize) -> (Prompt, Vec<Tensor<2>>) {
    let len = text + frames.len() + answer;
    let ids: Vec<i32> = (0..len).map(|at| ((seed as usize * 7 + at * 5) % 64) as i32).collect();
    let mut labels = vec![IGNORE; len - answer];
    labels.extend(&ids[len - answer..]);
    let visual_at = (0..frames.len()).map(|visual| 1 + 2 * visual).collect();
    let device = Device::flex().autodiff();
    let visual = |(at, frames): (usize, &usize)| {
        drawn::<2>(seed + at as u64, [frames * TOKENS_PER_FRAME, HIDDEN], &device)
    };
    (Prompt { ids, labels, visual_at }, frames.iter().enumerate().map(visual).collect())
}

/// Text, pictures, clips, two pictures, and a clip that fills more than a tile.
fn samples() -> Vec<(Prompt, Vec<Tensor<2>>)> {
    vec![
        sample(10, 9, &[], 3),
        sample(20, 5, &[1], 2),
        sample(30, 7, &[20], 4),
        sample(40, 6, &[1, 1], 1),
        sample(50, 4, &[4], 6),
        sample(60, 3, &[], 1),
    ]
}

/// Hidden states sample by sample, the summed losses, and their gradient for every weight and visual.
struct Run {
    states: Vec<Vec<f32>>,
    sum: f64,
    grads: Vec<(String, Vec<f32>)>,
}

fn run(
    llm: &Qwen2ForCausalLm,
    samples: &[(Prompt, Vec<Tensor<2>>)],
    plan: &CompressionPlan,
    norm: LossNorm,
    arrange: fn(Tensor<3>, &Layout) -> (Tensor<3>, Layout),
) -> Run {
    let (prompts, visual): (Vec<Prompt>, Vec<Vec<Tensor<2>>>) = samples.iter().cloned().unzip();
    let visual: Vec<Vec<Tensor<2>>> =
        visual.into_iter().map(|own| own.into_iter().map(Tensor::require_grad).collect()).collect();
    let embed = &llm.model.embed_tokens;
    let (x, layout) = splice(embed, &prompts, visual.clone(), TOKENS_PER_FRAME);
    let (x, layout) = arrange(x, &layout);
    assert_eq!(x.dims()[..2], layout.dims());
    let (hidden, layout) = pass::forward(&llm.model, x, layout, plan);
    let labels: Vec<_> = prompts.iter().map(Prompt::supervision).collect();
    let rows = SupervisedRows::new(&labels, &layout);

    let [batch, tokens, _] = hidden.dims();
    let flat = hidden.clone().reshape([batch * tokens, HIDDEN]);
    let of_sample = |(start, len): (usize, usize)| -> Vec<f32> {
        flat.clone().slice_dim(0, start..start + len).into_data().iter::<f32>().collect()
    };
    let states = layout.starts().into_iter().zip(layout.lengths()).map(of_sample).collect();

    let loss = weighted_loss(llm, hidden, &rows, norm);
    let tape = loss.backward();
    let mut grads: Vec<(String, Vec<f32>)> = visual
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(at, visual)| Some((format!("visual {at}"), visual.grad(&tape)?)))
        .map(|(name, grad)| (name, grad.into_data().iter::<f32>().collect()))
        .collect();
    let of_weights = gradients(llm, &GradientsParams::from_grads(tape, llm));
    grads.extend(of_weights.into_iter().map(|(name, grad)| (name, grad.f32().to_vec())));
    Run { states, sum: loss.into_scalar::<f32>().into(), grads }
}

fn as_padded(x: Tensor<3>, layout: &Layout) -> (Tensor<3>, Layout) {
    (x, layout.clone())
}

fn close(what: &str, got: &[f32], want: &[f32]) {
    let largest = want.iter().fold(1e-3_f64, |most, value| most.max(f64::from(value.abs())));
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let off = f64::from((got - want).abs());
        assert!(off <= SHARE * largest, "{what}: {got} is not {want}, of {largest}");
    }
}

fn schedules() -> Vec<(&'static str, Schedule)> {
    let stage = |layer, stride| Stage { layer, stride };
    let ranked = |layer, share| RankStage { layer, share };
    vec![
        ("none", Schedule::None),
        ("cosine", Schedule::Cosine),
        ("step", Schedule::Step(vec![stage(0, 2), stage(3, 4)])),
        ("pool", Schedule::Pool(vec![stage(1, 2), stage(4, 2)])),
        ("rank", Schedule::Rank(vec![ranked(2, 0.5), ranked(4, 0.25)])),
        ("uniform", Schedule::Uniform(3)),
    ]
}

#[test]
fn packed_samples_have_the_states_losses_and_gradients_that_they_have_alone() {
    let (llm, samples) = (model(), samples());
    for (name, schedule) in schedules() {
        let plan =
            CompressionPlan::new(&schedule, KeepRule::Suffix, TOKENS_PER_FRAME, LAYERS).unwrap();
        for norm in [LossNorm::Sample, LossNorm::Token] {
            let together = run(&llm, &samples, &plan, norm, packed);
            let side_by_side = run(&llm, &samples, &plan, norm, as_padded);
            let alone: Vec<Run> = samples
                .iter()
                .map(|one| run(&llm, std::slice::from_ref(one), &plan, norm, as_padded))
                .collect();
            for (at, alone) in alone.iter().enumerate() {
                close(
                    &format!("{name}: states of sample {at}"),
                    &together.states[at],
                    &alone.states[0],
                );
            }
            let sum: f64 = alone.iter().map(|one| one.sum).sum();
            assert!((together.sum - sum).abs() <= SHARE * sum, "{name}: {} {sum}", together.sum);
            for ((what, got), (other, want)) in together.grads.iter().zip(&side_by_side.grads) {
                assert_eq!(what, other);
                close(&format!("{name}: gradient of {what}"), got, want);
            }
        }
    }
}

/// A sample that changes moves no bit of the others': nothing reaches across.
#[test]
fn no_sample_sees_another() {
    let llm = model();
    let plan = CompressionPlan::new(&Schedule::Cosine, KeepRule::Suffix, TOKENS_PER_FRAME, LAYERS)
        .unwrap();
    let (before, mut changed) = (samples(), samples());
    changed[2] = sample(31, 7, &[20], 4);
    let [before, after] = [before, changed]
        .map(|samples| run(&llm, &samples, &plan, LossNorm::Sample, packed).states);
    for at in 0..before.len() {
        assert_eq!(before[at] == after[at], at != 2, "sample {at}");
    }
}

const BATCHES: [&str; 3] =
    ["train.per_device_batch_size=3", "train.max_steps=4", "checkpoint.save_steps=2"];

fn train(task: &Task, out: &str, set: &[&str]) -> Vec<Record> {
    let set = BATCHES.iter().chain(set).flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> =
        ["train", "recipe.toml", "--out", out].into_iter().chain(set).collect();
    let ended = task.run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    read(&task.path(out).join("metrics.jsonl")).unwrap().records.into_values().collect()
}

/// Pictures and clips through the whole program, everything kept and recomputed.
#[test]
fn a_packed_run_starts_as_a_padded_one() {
    let task = Task::folders();
    let padded = train(&task, "padded", &["train.recompute=layer"]);
    let apart = train(&task, "apart", &[]);
    assert!((padded[0].loss - apart[0].loss).abs() <= SHARE * padded[0].loss);
    assert!((padded[0].grad_norm - apart[0].grad_norm).abs() <= SHARE * padded[0].grad_norm);
    for recompute in ["none", "layer"] {
        let recompute = format!("train.recompute={recompute}");
        let packed = train(&task, &recompute, &["data.packing=true", &recompute]);
        // The first step has the same weights; from the second on last bits grow.
        for (was, is) in
            [(padded[0].loss, packed[0].loss), (padded[0].grad_norm, packed[0].grad_norm)]
        {
            assert!((was - is).abs() <= SHARE * was, "{recompute}: {was} is not {is}");
        }
        assert_eq!(
            (padded[0].samples, padded[0].tokens_in),
            (packed[0].samples, packed[0].tokens_in)
        );
    }
}

#[test]
fn a_packed_run_goes_on_with_the_same_bits() {
    let task = Task::folders();
    train(&task, "run", &["data.packing=true"]);
    let weights = |name: &str| {
        size_and_sha256(&task.path("run").join(name).join("model.safetensors")).unwrap()
    };
    let whole = weights("checkpoint-4");
    fs::remove_dir_all(task.path("run/checkpoint-4")).unwrap();
    fs::remove_dir_all(task.path("run/export")).unwrap();
    train(&task, "run", &["data.packing=true"]);
    assert_eq!(weights("checkpoint-4"), whole);
    let set: Vec<&str> = BATCHES.iter().copied().flat_map(|set| ["--set", set]).collect();
    let other = [&["train", "recipe.toml", "--out", "run"][..], &set].concat();
    let ended = task.run(&other);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("[data] packing was true, is false"), "{ended:?}");
}

#[test]
fn a_plan_says_what_packing_saves_and_what_cannot_be_packed() {
    let task = varied();
    let plan = |set: &[&str]| planned(task.recipe(set)).map(|plan| plan.report().to_string());
    let two = "train.per_device_batch_size=2";
    assert!(plan(&[two]).unwrap().contains("side by side: only short samples are padded"));
    let padded = plan(&[two, "train.recompute=layer"]).unwrap();
    assert!(padded.contains("padded: [data] packing = true saves"));
    assert!(plan(&[two, "data.packing=true"]).unwrap().contains("packed: no token is padding"));
    assert!(!plan(&[]).unwrap().contains("padd"));
    let windows =
        ["model.config=windows.json", "compression.schedule=none", "data.clip_frames=1", two];
    assert!(plan(&windows).is_ok());
    let refused = plan(&[&windows[..], &["data.packing=true"]].concat()).unwrap_err().to_string();
    assert!(refused.contains("[data] packing: a ") && refused.contains("windows"), "{refused}");
}
