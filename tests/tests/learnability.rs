//! `xcomp report` on tiny runs: every section, answers that are known, and runs that go on, stand behind a cache or are gone but for their export.

#![cfg(feature = "video")]

use std::fs;
use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use serde_json::Value;
use xcomp_data::load_example;
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::decoder::qwen2::DecoderLayer;
use xcomp_model::loss::LossNorm;
use xcomp_model::vision::frames::Encoding;
use xcomp_tests::{Ended, HostData, Task, read_tensors, write_tensors};
use xcomp_train::data::Data;
use xcomp_train::data::collate::{VisualInput, collate};
use xcomp_train::export::{find_checkpoint, tuned_model};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::run::folder::RunDir;
use xcomp_train::run::launch::train_recipe;
use xcomp_train::train::state::TrainState;

/// Samples of the tiny task, of which the last three have 16 frames and the others are pictures.
const SAMPLES: usize = 12;
const LAYERS: usize = 9;

fn train(tiny: &Task, set: &[&str]) {
    train_recipe(tiny.recipe(set), &tiny.path("run"), Choice::Cpu, Stop::never())
        .unwrap_or_else(|error| panic!("{set:?}: {error}"));
}

fn report(run: &Path, more: &[&str]) -> Ended {
    let program = env!("CARGO_BIN_EXE_xcomp-under-test");
    let run = run.display().to_string();
    let arguments = [&["report", &run, "--device", "cpu"], more].concat();
    Ended::of(Command::new(program).args(arguments))
}

fn measured(run: &Path) -> Value {
    let ended = report(run, &["--format", "json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Every number that is there.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Number(number) => number.as_f64().into_iter().collect(),
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::Object(fields) => fields.values().flat_map(numbers).collect(),
        _ => vec![],
    }
}

#[test]
fn every_section_is_there_and_the_run_may_go_on_meanwhile() {
    let tiny = Task::folders();
    train(&tiny, &[]);
    let run = tiny.path("run");
    let held = RunDir::open(&run).unwrap();
    let ended = report(&run, &[]);
    drop(held);
    assert_eq!(ended.code, 0, "{ended:?}");
    let read = |name: &str| fs::read_to_string(run.join(name)).unwrap();
    let (markdown, page) = (read("learnability.md"), read("report.html"));
    for section in ["Layers", "Drops", "Datasets", "Frames"] {
        assert!(ended.stdout.contains(&format!("\n{section}\n")), "{}", ended.stdout);
        assert!(markdown.contains(&format!("\n## {section}\n")), "{markdown}");
        assert!(page.contains(&format!("<h2>{section}</h2>")));
    }
    assert_eq!(page.matches("<svg").count(), 10);
    assert!(!page.contains("NaN") && !page.contains("<script"));
    let links = page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(links, 0, "a page needs no network");
    sound(&tiny, &serde_json::from_str(&read("learnability.json")).unwrap());
}

/// What must hold of every number of a report on the tiny task.
fn sound(tiny: &Task, found: &Value) {
    assert_eq!(found["step"], 6);
    let all = |key: &str| found[key].as_array().unwrap().clone();
    // Projector, embeddings, layers, norm: what the recipe tunes.
    assert_eq!(all("layers").len(), 3 + LAYERS);
    let plan = Plan::new(tiny.recipe(&[]), Some(SAMPLES)).unwrap();
    assert_eq!(all("drops").len(), plan.compression.drops().len());
    assert_eq!((all("samples").len(), all("left_out").len()), (SAMPLES, 0));
    let groups = |key: &str| -> Vec<(String, u64)> {
        let row = |row: &Value| {
            (row["name"].as_str().unwrap().to_owned(), row["loss"]["samples"].as_u64().unwrap())
        };
        all(key).iter().map(row).collect()
    };
    assert_eq!(groups("frames"), [("1".into(), 9), ("9 to 16".into(), 3)]);
    assert_eq!(groups("sources").iter().map(|group| group.1).collect::<Vec<_>>(), [3, 9]);
    assert!(numbers(found).iter().all(|number| number.is_finite()));
    for row in all("layers") {
        for key in ["grad_norm", "weight_norm", "update_to_weight"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} of {row}");
        }
    }
    for row in all("drops") {
        assert!(row["predicted"].as_f64().is_some_and(|share| share < 1.0), "{row}");
    }
    let square = |value: &Value| value.as_f64().unwrap().powi(2);
    let parts: f64 = all("layers").iter().map(|row| square(&row["grad_norm"])).sum();
    let whole = square(&found["grad_norm"]);
    assert!((parts / whole - 1.0).abs() < 1e-4, "parts make up the whole: {parts} {whole}");
}

/// How the next step would move a layer depends on them.
#[test]
fn a_run_that_is_looked_at_has_its_moments() {
    let tiny = Task::folders();
    train(&tiny, &[]);
    let plan = Plan::new(tiny.recipe(&[]), Some(SAMPLES)).unwrap();
    let saved = find_checkpoint(&tiny.path("run"), None).unwrap();
    let optim = TrainState::view(&plan, &saved, &Device::flex()).unwrap().optim;
    let stored = read_tensors(&saved.folder.join("optimizer.safetensors"));
    assert_eq!(optim.step, 6);
    for (prefix, moments) in [("exp_avg.", &optim.exp_avg), ("exp_avg_sq.", &optim.exp_avg_sq)] {
        let own =
            stored.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
        let own: Vec<_> = own.collect();
        assert!(own.len() == moments.len() && !own.is_empty());
        for (name, tensor) in own {
            let got: Vec<f32> = moments[name].numbers().into_data().iter().collect();
            assert_eq!(got, tensor.f32(), "{prefix}{name}");
        }
    }
    fs::remove_dir_all(tiny.path("run")).unwrap();
    train(&tiny, &["checkpoint.moments=false"]);
    let refused = report(&tiny.path("run"), &[]);
    assert!(refused.code == 2 && refused.stderr.contains("without moments"), "{refused:?}");
}

/// The same numbers from whole forward passes under plans that are made from lists of tokens per layer.
#[test]
fn a_drop_costs_what_the_plan_of_its_token_list_costs() {
    let tiny = Task::folders();
    train(&tiny, &[]);
    let found = measured(&tiny.path("run"));
    let plan = Plan::new(tiny.recipe(&[]), Some(SAMPLES)).unwrap();
    let own: Vec<usize> =
        (0..LAYERS).map(|layer| plan.compression.visual_tokens(layer, 1)).collect();
    let want = |tokens: Vec<usize>| {
        let list = Schedule::List(tokens);
        CompressionPlan::new(&list, KeepRule::Suffix, plan.compression.tokens_per_frame(), LAYERS)
    };
    let (base, mut shown) = (mean_loss(&tiny, &plan, &want(own.clone()).unwrap()), 0);
    for row in found["drops"].as_array().unwrap() {
        let layer = row["layer"].as_u64().unwrap() as usize;
        let next = (layer + 1..LAYERS).find(|next| own[*next] < own[layer]).unwrap_or(LAYERS);
        let (mut earlier, mut removed) = (own.clone(), own.clone());
        removed[layer..next].fill(plan.compression.tokens_before(layer) as usize);
        let mut check = |key: &str, tokens: Vec<usize>| {
            let want = mean_loss(&tiny, &plan, &want(tokens).unwrap()) - base;
            let got = row[key]["mean"].as_f64().unwrap();
            assert!((got - want).abs() < 1e-9, "{key} of {row}: {want}");
            assert!(got != 0.0, "{key} of {row}");
            shown += 1;
        };
        check("removed", removed);
        if layer > 0 {
            earlier[layer - 1] = own[layer];
            check("earlier", earlier);
        }
    }
    assert!(shown > 3);
}

fn mean_loss(tiny: &Task, plan: &Plan, compression: &CompressionPlan) -> f64 {
    let device = Device::flex();
    let saved = find_checkpoint(&tiny.path("run"), None).unwrap();
    let model = tuned_model(plan, &saved, &device).unwrap();
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let losses = data.mixture.records().iter().enumerate().map(|(index, record)| {
        let example = load_example(record, index, data.load_options()).unwrap();
        let (prompt, visuals) = collate(example, plan.recipe.data.clip_frames).unwrap();
        let [VisualInput::Clips(clips, _)] = visuals.as_slice() else {
            panic!("no cache was asked")
        };
        let merged = vec![vec![model.encode(clips, &device, Encoding::default())]];
        let (loss, _) = model.loss(&[prompt], merged, compression, LossNorm::Sample);
        f64::from(loss.into_scalar::<f32>())
    });
    losses.sum::<f64>() / SAMPLES as f64
}

/// Where no token ever looks at another, dropping some costs nothing, to the bit.
#[test]
fn a_decoder_that_mixes_nothing_loses_nothing_by_a_drop() {
    let tiny = Task::folders();
    train(&tiny, &["train.max_steps=1"]);
    silence(&tiny.path("run/export/model.safetensors"));
    fs::rename(tiny.path("run/export"), tiny.path("silent")).unwrap();
    fs::remove_dir_all(tiny.path("run")).unwrap();
    train(
        &tiny,
        &[
            "train.max_steps=1",
            "model.init=checkpoint",
            "model.checkpoint=silent",
            "tune.parts=[\"norm\"]",
        ],
    );
    let found = measured(&tiny.path("run"));
    let drops = found["drops"].as_array().unwrap();
    assert!(!drops.is_empty());
    for row in drops {
        assert_eq!(row["removed"]["mean"], 0.0, "{row}");
        assert!(row["layer"] == 0 || row["earlier"]["mean"] == 0.0, "{row}");
    }
    assert_eq!(found["layers"].as_array().unwrap().len(), 1, "one part is tuned");
}

/// Sets to zero what attention and feed-forward blocks write.
fn silence(file: &Path) {
    let mut weights = read_tensors(file);
    let blocks = ["self_attn.o_proj.weight", "mlp.down_proj.weight"];
    let writes = |name: &String| blocks.iter().any(|block| name.ends_with(block));
    let mut silent = 0;
    for (_, tensor) in weights.iter_mut().filter(|(name, _)| writes(name)) {
        let HostData::F32(numbers) = &mut tensor.data else { panic!("f32") };
        numbers.fill(0.0);
        silent += 1;
    }
    assert_eq!(silent, 2 * LAYERS);
    write_tensors(file, &weights);
}

#[test]
fn a_run_without_compression_has_no_drops() {
    let tiny = Task::folders();
    train(&tiny, &["train.max_steps=1", "compression.schedule=none"]);
    let found = measured(&tiny.path("run"));
    assert_eq!(found["drops"].as_array().unwrap().len(), 0);
    assert_eq!(found["layers"].as_array().unwrap().len(), 3 + LAYERS);
}

/// Where the whole video is ranked, a drop can be moved; no frame is whole, so nothing is probed.
#[test]
fn a_ranked_video_has_drops_that_cost_and_no_probe() {
    let tiny = Task::folders();
    let set = [
        "train.max_steps=1",
        "compression.schedule=rank",
        "compression.step_layers=[2,5]",
        "compression.step_shares=[0.5,0.25]",
    ];
    train(&tiny, &set);
    let found = measured(&tiny.path("run"));
    let drops = found["drops"].as_array().unwrap();
    assert_eq!(drops.iter().map(|row| row["layer"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 5]);
    for row in drops {
        assert!(row["predicted"].is_null(), "{row}");
        assert!(row["removed"]["mean"].as_f64().unwrap() != 0.0, "{row}");
    }
}

#[test]
fn kept_features_serve_without_media_and_an_export_without_checkpoints() {
    let tiny = Task::folders();
    train(&tiny, &["train.max_steps=1", "data.feature_cache=features"]);
    let run = tiny.path("run");
    let whole = measured(&run);
    fs::remove_dir_all(tiny.path("media")).unwrap();
    assert_eq!(measured(&run), whole, "behind the cache");

    for folder in ["last", "checkpoint-1"] {
        let path = run.join(folder);
        if path.is_symlink() { fs::remove_file(path) } else { fs::remove_dir_all(path) }.unwrap();
    }
    let exported = measured(&run);
    assert!(exported["step"].is_null());
    assert_eq!(exported["samples"], whole["samples"], "an f32 export has the same weights");
}

#[test]
fn what_is_no_run_is_one_clear_line() {
    let tiny = Task::folders();
    for folder in ["absent", "media"] {
        let ended = report(&tiny.path(folder), &[]);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains("is it the folder of a run?"), "{ended:?}");
    }
    train(&tiny, &["train.max_steps=1"]);
    fs::remove_file(tiny.path("pictures.json")).unwrap();
    let ended = report(&tiny.path("run"), &[]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("pictures.json"), "{ended:?}");
}

/// What a verb says of the schedule that it finds.
fn schedule(run: &Path, more: &[&str]) -> Ended {
    let program = env!("CARGO_BIN_EXE_xcomp-under-test");
    let run = run.display().to_string();
    let arguments = [&["schedule", &run, "--device", "cpu"], more].concat();
    Ended::of(Command::new(program).args(arguments))
}

/// Of schedules within a budget the found one should cost least; one drop alone costs what was measured; its recipe trains.
#[test]
fn a_schedule_is_found_within_its_budget_and_its_recipe_trains() {
    let tiny = Task::folders();
    train(&tiny, &[]);
    let run = tiny.path("run");
    let found = |more: &[&str]| -> Value {
        let more = [&["--format", "json", "--samples", "6", "--drawn", "5"], more].concat();
        let ended = schedule(&run, &more);
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let plan = Plan::new(tiny.recipe(&[]), Some(SAMPLES)).unwrap();
    let tokens = |value: &Value| -> Vec<usize> {
        numbers(&value["tokens"]).iter().map(|tokens| *tokens as usize).collect()
    };
    let by_tokens = found(&["--tokens", "4"]);
    // Three tokens of a frame in every layer are within both.
    let (llm, size) = (&plan.config.llm, plan.samples.mean);
    let rows = 3 * size.frames + size.text_tokens;
    let flops = LAYERS as f64 * DecoderLayer::flops(llm, rows).all();
    let bytes = LAYERS * rows * 2 * llm.num_key_value_heads * llm.head_dim() * 4;
    let kv = (bytes as f64 / f64::from(1 << 20)).to_string();
    let by_flops = found(&["--flops", &flops.to_string(), "--end", "2"]);
    for report in [&by_tokens, &found(&["--kv-mib", &kv]), &by_flops] {
        let candidates = report["candidates"].as_array().unwrap();
        let names: Vec<&str> = candidates.iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert!(
            names.starts_with(&["found", "cosine", "drawn 1"]) && names.len() == 7,
            "{names:?}"
        );
        let limit = numbers(&report["budget"])[0]
            * if report["budget"].get("tokens").is_some() { LAYERS as f64 } else { 1.0 };
        let predicted = |c: &Value| c["predicted"].as_f64().unwrap();
        for candidate in candidates {
            let path = tokens(candidate);
            assert!(
                path.len() == LAYERS && path.windows(2).all(|pair| pair[0] >= pair[1]),
                "{path:?}"
            );
            assert!(candidate["cost"].as_f64().unwrap() <= limit, "{candidate}");
            let same_end = path[LAYERS - 1] == tokens(&candidates[0])[LAYERS - 1];
            assert!(
                !same_end || predicted(&candidates[0]) <= predicted(candidate) + 1e-12,
                "{candidate}"
            );
        }
    }
    // One token in every layer is one drop: it is told exactly.
    let least = found(&["--tokens", "1"]);
    let only = &least["candidates"][0];
    assert_eq!(tokens(only), [1; LAYERS]);
    let (predicted, measured) =
        (only["predicted"].as_f64().unwrap(), only["measured"].as_f64().unwrap());
    assert!((predicted - measured).abs() < 1e-6 && measured != 0.0, "{predicted} {measured}");

    let written = schedule(&run, &["--tokens", "4", "--samples", "6"]);
    assert!(written.stdout.contains("rank correlation of predicted and measured: "), "{written:?}");
    let path = tokens(&by_tokens["candidates"][0]);
    let recipe = xcomp_train::recipe::Recipe::load(
        &run.join("schedule.toml"),
        &["train.max_steps=1".into()],
    )
    .unwrap();
    assert_eq!(recipe.compression.tokens, path);
    train_recipe(recipe, &tiny.path("list"), Choice::Cpu, Stop::never()).unwrap();

    let refused = |more: &[&str], want: &str| {
        let ended = schedule(&run, more);
        assert!(ended.code == 2 && ended.stderr.contains(want), "{ended:?}");
    };
    refused(&["--tokens", "0.5"], "no schedule that ends at 1 tokens is within the budget of ");
    refused(&["--tokens", "4", "--end", "99"], "--end 99: give one of ");
    refused(&["--tokens", "4", "--flops", "1e9"], "cannot be used with");
    refused(&[], "<--tokens <MEAN>|--flops <FLOPS>|--kv-mib <MIB>>");
}
