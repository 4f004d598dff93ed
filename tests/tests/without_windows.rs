//! A Video-XL whose windows are off: one plain pass, which other models' drops go into, so that both compressions stand on one base.

#![cfg(feature = "video")]

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};
use xcomp_data::load_example;
use xcomp_model::compress::pass;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::generate::{Decoding, Prefix};
use xcomp_model::loss::IGNORE;
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::Encoding;
use xcomp_model::vlm::Vlm;
use xcomp_tests::{read_tensors, video_xl_task};
use xcomp_train::data::Data;
use xcomp_train::data::collate::{VisualInput, collate};
use xcomp_train::plan::Plan;

const OFF: &str = "vst.windows=none";
const COSINE: &str = "compression.schedule=cosine";

/// Windows that stay raw see what one pass sees: the same losses and gradients, but for rounding. Without learned tokens none of
/// theirs moves, and the export says that it reads in one pass.
#[test]
fn one_pass_is_what_raw_windows_are() {
    let task = video_xl_task();
    let raw = task.trained("raw", &["vst.ratios=[0]"]);
    let off = task.trained("off", &[OFF]);
    assert_eq!(raw.len(), off.len());
    for (raw, off) in raw.iter().flatten().zip(off.iter().flatten()) {
        assert!((raw - off).abs() < 1e-4 * raw.abs(), "{raw:?} {off:?}");
    }
    let (other, off) = (task.trained("other", &[OFF, "train.max_steps=1"]), "off");
    assert_eq!(other.len(), 1);
    let tensors = |run: &str| read_tensors(&task.path(run).join("export/model.safetensors"));
    let (one, all) = (tensors("other"), tensors(off));
    let moved: BTreeSet<&str> =
        all.iter().filter(|(name, x)| **x != one[*name]).map(|(name, _)| name.as_str()).collect();
    assert!(moved.contains("model.layers.0.self_attn.q_proj.weight"), "{moved:?}");
    assert!(!moved.iter().any(|name| name.contains("beacon_")), "{moved:?}");
    let text = std::fs::read_to_string(task.path("off/export/config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&config["xcomp_windows"], &config["beacon_window"]), (&json!("none"), &json!(32)));
}

/// What runs samples whole goes with windows that are off: layers computed again, samples packed.
#[test]
fn one_pass_takes_what_other_models_take() {
    let task = video_xl_task();
    let plain = task.trained("plain", &[OFF, COSINE]);
    let again = task.trained("again", &[OFF, COSINE, "train.recompute=layer"]);
    let packed = task.trained("packed", &[OFF, COSINE, "data.packing=true"]);
    for other in [again, packed] {
        for (plain, other) in plain.iter().flatten().zip(other.iter().flatten()) {
            assert!((plain - other).abs() < 1e-4 * plain.abs(), "{plain:?} {other:?}");
        }
    }
}

/// Under drops, tokens that are decoded one by one see what a pass over the whole sequence sees.
#[test]
fn decoding_under_drops_equals_the_whole_pass() {
    let task = video_xl_task();
    let device = Device::flex();
    for schedule in [
        &[COSINE][..],
        &[
            "compression.schedule=pool",
            "compression.step_layers=[0]",
            "compression.step_strides=[8]",
        ],
    ] {
        let set = [&[OFF, "train.max_steps=2"], schedule].concat();
        task.trained("run", &set);
        let plan = Plan::new(task.recipe(&set), Some(12)).unwrap();
        assert!(plan.compression.mean_tokens() < plan.config.tokens_per_frame() as f64);
        let mut model = Vlm::new(&plan.config, &device);
        model.load_weights(&task.path("run/export")).unwrap();
        let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
        let record = data.mixture.records().last().unwrap();
        let example = load_example(record, 0, data.load_options()).unwrap();
        let (prompt, visuals) = collate(example, 1).unwrap();
        let [VisualInput::Clips(clips, _)] = visuals.as_slice() else { panic!("one video") };
        let seen = model.encode(clips, &device, Encoding::default());
        check_decoding(&model, &plan.compression, &prompt, &seen);
        std::fs::remove_dir_all(task.path("run")).unwrap();
    }
}

/// Prompt and answer, decoded behind a prefill and behind a prefix, against every longer prompt run whole.
fn check_decoding(model: &Vlm, plan: &CompressionPlan, prompt: &Prompt, seen: &Tensor<3>) {
    let answer = prompt.ids.len() - 4;
    assert!(answer > prompt.visual_at[0] + 1 && prompt.labels[answer..] != [IGNORE; 4]);
    let embed = |tokens: usize| {
        let Prompt { ids, labels, visual_at } = prompt.clone();
        let (ids, labels) = (ids[..tokens].to_vec(), labels[..tokens].to_vec());
        model.embed(&[Prompt { ids, labels, visual_at }], vec![vec![seen.clone()]])
    };
    let whole = |tokens: usize| {
        let (x, layout) = embed(tokens);
        let (hidden, layout) = pass::forward(&model.llm.model, x, layout, plan);
        let last = layout.sequences[0].len;
        model.llm.logits(hidden.slice_dim(1, last - 1..last).flatten(0, 1)).flatten::<1>(0, 1)
    };
    let to_come = prompt.ids.len() - answer;
    let (x, layout) = embed(answer);
    let (mut behind_prefill, mut scores) = Decoding::prefill(&model.llm, x, layout, plan, to_come);
    let (x, layout) = embed(prompt.visual_at[0] + 1);
    let prefix = Prefix::run(&model.llm, x, layout, plan);
    let question = &prompt.ids[prompt.visual_at[0] + 1..answer];
    let question = model.llm.model.embed_tokens.forward(question).unsqueeze::<3>();
    let (mut behind_prefix, mut other) = Decoding::after(&model.llm, &prefix, question, to_come);
    for tokens in answer..prompt.ids.len() {
        let want = whole(tokens);
        for (got, what) in [(&scores, "a prefill"), (&other, "a prefix")] {
            let largest = |x: Tensor<1>| x.abs().max().into_scalar::<f32>();
            let off = largest(got.clone() - want.clone()) / largest(want.clone());
            assert!(off < 1e-5, "token {tokens} behind {what} is off by {off}");
        }
        scores = behind_prefill.step(prompt.ids[tokens]);
        other = behind_prefix.step(prompt.ids[tokens]);
    }
}

/// An export answers as it was tuned; windows and drops never go together, and both are turned on and off by arguments.
#[test]
fn answers_have_windows_or_drops() {
    let task = video_xl_task();
    task.trained("drops", &[OFF, COSINE, "train.max_steps=1"]);
    task.trained("windows", &["train.max_steps=1"]);
    let film = task.path("media/folder_0").display().to_string();
    let ask = |run: &str, more: &[&str]| {
        let folder = format!("{run}/export");
        let ask = ["ask", &folder, &film, "What colour is it?", "--frames", "8"];
        let told = ["--max-new-tokens", "2", "--format", "json"];
        let ended = task.run(&[&ask[..], &told, more].concat());
        let report: Option<Value> = serde_json::from_str(&ended.stdout).ok();
        (report.map(|report| report["visual_tokens_out"].clone()), ended.stderr)
    };
    let left = |run: &str, more: &[&str], wanted: usize| {
        let (found, stderr) = ask(run, more);
        assert_eq!(found, Some(json!(wanted)), "{run} {more:?}: {stderr}");
    };
    let whole = 8 * 16;
    left("drops", &[], 8); // a cosine ends at one token of a frame
    left("drops", &["--set", "compression.schedule=none"], whole);
    left(
        "drops",
        &["--windows", "fixed", "--ratio", "4", "--set", "compression.schedule=none"],
        32,
    );
    left("drops", &["--tokens", "16"], whole);
    left("windows", &["--ratio", "4"], 32);
    left("windows", &["--windows", "none"], whole);
    left("windows", &["--windows", "none", "--set", "compression.schedule=cosine"], 8);
    for (run, more, wanted) in [
        ("drops", &["--windows", "fixed"][..], "drops no tokens between layers"),
        ("windows", &["--set", "compression.schedule=cosine"], "by --windows none"),
        ("drops", &["--ratio", "4"], "the windows of this model are off"),
        ("windows", &["--windows", "none", "--ratio", "4"], "add --windows fixed"),
    ] {
        let (found, stderr) = ask(run, more);
        assert!(found.is_none() && stderr.contains(wanted), "{run} {more:?}: {stderr}");
    }
}

/// One line for what does not go together.
#[test]
fn what_does_not_fit_is_told() {
    let task = video_xl_task();
    let told = |set: &[&str], wanted: &str| {
        let set = set.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> = ["plan", "recipe.toml"].into_iter().chain(set).collect();
        let ended = task.run(&arguments);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(wanted), "{} does not say: {wanted}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{}", ended.stderr);
    };
    told(&[COSINE], "and [vst] windows = \"fixed\"; set one of them to \"none\"");
    let answers = [OFF, COSINE, "vst.answer_windows=dynamic"];
    told(&answers, "and [vst] answer_windows = \"dynamic\"; set one of them to \"none\"");
    told(&["vst.answer_windows=none", COSINE], "and [vst] windows = \"fixed\"");
    told(&[OFF, "tune.parts=[\"vst\"]"], "[tune] parts: `vst`: [vst] windows = \"none\"");
}
