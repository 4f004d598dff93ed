//! The program on tiny models of the LLaVA families: trained, saved, exported, loaded again, asked.

#![cfg(feature = "video")]

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::vlm::Vlm;
use xcomp_tests::{Task, llava_next_video, llava_task, llava_video, media_root, windows_config};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::recipe::Recipe;
use xcomp_train::run::launch::train_recipe;

fn xcomp(task: &Task, arguments: &[&str]) -> String {
    let ended = task.run(arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    ended.stdout
}

/// Names of the tensors of an export, which its own `config.json` describes and from which the model is filled.
fn exported(task: &Task, folder: &str) -> BTreeSet<String> {
    let bytes = std::fs::read(task.path(folder).join("model.safetensors")).unwrap();
    let names =
        SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(str::to_owned).collect();
    let config = ModelConfig::from_file(&task.path(folder).join("config.json")).unwrap();
    let mut model = Vlm::new(&config, &Device::flex());
    let parameters = model.parameters().into_iter().map(|one| one.name).collect::<BTreeSet<_>>();
    assert_eq!(names, parameters);
    model.load_weights(&task.path(folder)).unwrap();
    names
}

fn losses(task: &Task, run: &str) -> Vec<f64> {
    column(task, run, "loss")
}

/// A number of every record of a run.
fn column(task: &Task, run: &str, key: &str) -> Vec<f64> {
    let metrics = std::fs::read_to_string(task.path(run).join("metrics.jsonl")).unwrap();
    let number = |line| serde_json::from_str::<Value>(line).unwrap()[key].as_f64().unwrap();
    metrics.lines().map(number).collect()
}

/// Puts questions to a run, with and without a choice of frames, and looks for needles in its export.
fn examined(task: &Task) {
    let colours = ["red", "green", "blue"];
    let question = |index: usize| {
        json!({"video": format!("folder_{}", index % 3), "question": format!("What colour is it? {index}"),
            "candidates": colours, "answer": colours[index % 3], "question_type": "colour"})
    };
    task.write("questions.json", &(0..4).map(question).collect::<Value>().to_string());
    let on = ["--device", "cpu", "--format", "json"];
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&xcomp(task, &[arguments, &on].concat())).unwrap()
    };
    let eval = ["eval", "run", "--questions", "questions.json", "--videos", "media", "--frames"];
    for (out, more) in [
        ("written", &["3", "--max-new-tokens", "2"][..]),
        ("likely", &["3", "--by", "likelihood"]),
        ("chosen", &["16", "--by", "likelihood", "--select", "2", "--score", "clean"]),
    ] {
        let report = json(&[&eval[..], more, &["--out", out]].concat());
        let seen = &report["micro"]["questions"].as_u64().unwrap_or(0);
        assert_eq!(seen + report["left_out"].as_u64().unwrap(), 4, "{out}: {report}");
        assert!(out == "written" || report["left_out"] == 0, "{out}: {report}");
    }
    let chain = json!({"images": ["picture_0.png", "picture_1.png"], "answer1": "A", "answer2": "B",
        "question1": "Which?\n(A) red\n(B) green\nBest option: (", "question2": "What?\n(A) red\n(B) green\nBest option: ("});
    task.write("chains.json", &json!([chain]).to_string());
    let grid =
        ["niah", "run/export", "--lengths", "4,40", "--depths", "0.5", "--count", "1", "--out"];
    let files = ["--chains", "chains.json", "--pictures", "media", "--haystack", "media/folder_0"];
    for (out, more) in
        [("drawn", &["--links", "2"][..]), ("single", &["--links", "1"]), ("files", &files)]
    {
        let cells = json(&[&grid[..], &[out], more].concat());
        let frames: Vec<&Value> =
            cells.as_array().unwrap().iter().map(|cell| &cell["frames"]).collect();
        assert_eq!(frames, [4, 40]);
    }
}

/// Looks at what a run has learnt of its drops.
fn looked_at(task: &Task) {
    let report = ["report", "run", "--samples", "4", "--device", "cpu", "--format", "json"];
    let report: Value = serde_json::from_str(&xcomp(task, &report)).unwrap();
    assert!(report.is_object(), "{report}");
    assert!(task.path("run/report.html").is_file());
}

/// Trains and asks a model whose frames have so many tokens; the names of its tensors.
fn run(config: &Value, vicuna: bool, parts: &str, tokens: usize) -> BTreeSet<String> {
    let task = llava_task(config, vicuna);
    let (parts, system) = (format!("tune.parts={parts}"), "model.system_prompt=\"Be brief.\"");
    xcomp(&task, &["plan", "recipe.toml", "--set", &parts]);
    xcomp(&task, &["train", "recipe.toml", "--out", "run", "--set", &parts, "--set", system]);
    let losses = losses(&task, "run");
    assert!(losses.len() == 6 && losses[5] < losses[0], "{losses:?}");
    let broken = std::fs::read_to_string(task.path("run/data/quarantine.jsonl")).unwrap();
    assert!(broken.is_empty(), "{broken}");
    if !parts.contains("vision") {
        // The cache is filled by one run and read by the next; neither changes a number.
        let mut hits = vec![];
        for out in ["filling", "filled"] {
            let cache = ["--set", "data.feature_cache=features", "--set", &parts, "--set", system];
            xcomp(&task, &[&["train", "recipe.toml", "--out", out][..], &cache].concat());
            assert_eq!(self::losses(&task, out), losses, "{out}");
            hits.push(column(&task, out, "cached").iter().sum::<f64>());
        }
        // No sample is met twice in a run, and a text alone has nothing that is kept.
        let samples: f64 = column(&task, "filled", "samples").iter().sum();
        assert!(hits[0] == 0.0 && (samples - 1.0..=samples).contains(&hits[1]), "{hits:?}");
        assert!(std::fs::read_dir(task.path("features")).unwrap().count() > 0);
    }
    for (media, frames) in [("media/folder_1", 3), ("media/picture_2.png", 1)] {
        let asked = ["ask", "run/export", media, "What colour is it?", "--format", "json"];
        let more = ["--frames", "3", "--max-new-tokens", "4", "--device", "cpu"];
        let answer: Value =
            serde_json::from_str(&xcomp(&task, &[&asked[..], &more].concat())).unwrap();
        assert_eq!(answer["frames"], frames, "{answer}");
        assert_eq!(answer["visual_tokens_in"], frames * tokens, "{answer}");
    }
    examined(&task);
    looked_at(&task);
    let chosen = ["ask", "run/export", "media/folder_1", "What colour is it?", "--format", "json"];
    let more = ["--frames", "16", "--select", "2", "--max-new-tokens", "2", "--device", "cpu"];
    let answer: Value =
        serde_json::from_str(&xcomp(&task, &[&chosen[..], &more].concat())).unwrap();
    assert_eq!((&answer["frames"], &answer["frames_looked_at"]), (&json!(2), &json!(16)));
    xcomp(&task, &["export", "run/export", "plain", "--llm-only"]);
    let plain = std::fs::read_to_string(task.path("plain/config.json")).unwrap();
    assert!(
        plain.contains(if vicuna { "LlamaForCausalLM" } else { "Qwen2ForCausalLM" }),
        "{plain}"
    );
    let stated = std::fs::read(task.path("run/export/config.json")).unwrap();
    let stated: Value = serde_json::from_slice(&stated).unwrap();
    assert_eq!(stated["xcomp_prompt"]["system"], "Be brief.");
    exported(&task, "run/export")
}

#[test]
fn llava_video_is_trained_exported_and_asked() {
    // Of 5 x 5 patches 3 x 3 are left, with or without what ends a row or a frame.
    for (newline, tokens) in [("grid", 12), ("frame", 10), ("one_token", 9), ("no_token", 9)] {
        let names = run(&llava_video(newline), false, "[\"llm\", \"projector\"]", tokens);
        assert!(names.contains("model.image_newline"));
        assert!(names.contains("model.mm_projector.2.bias"));
    }
}

#[test]
fn llava_next_video_is_trained_exported_and_asked() {
    let parts = "[\"llm\", \"projector\", \"vision\"]";
    let names = run(&llava_next_video(), true, parts, 9);
    assert!(names.contains("multi_modal_projector.linear_2.bias"));
    assert!(names.contains("vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"));
}

/// Pictures in tiles, windows of two frames: all verbs but the report, which says why it cannot.
#[test]
fn a_model_that_reads_windows_is_examined() {
    let task = Task::folders();
    let config = std::fs::read_to_string(task.path("config.json")).unwrap();
    task.write("windows.json", &windows_config(&config).to_string());
    let set = ["model.config=windows.json", "compression.schedule=none", "data.clip_frames=1"];
    let set: Vec<&str> = set.into_iter().flat_map(|set| ["--set", set]).collect();
    xcomp(&task, &[&["train", "recipe.toml", "--out", "run"], &set[..]].concat());
    examined(&task);
    let refused = task.run(&["report", "run", "--device", "cpu"]);
    assert!(refused.code != 0 && refused.stderr.contains("reads them in windows"), "{refused:?}");
}

/// Two steps of the tiny recipes on real clips, with the real tokenizer.
#[test]
fn tiny_recipes_learn_real_clips() {
    let Some(media) = media_root("tiny_recipes_learn_real_clips") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for file in ["llava-video-tiny.toml", "llava-next-video-tiny.toml"] {
        let set = [
            format!("data.mixture={}", media.join("mixture.yaml").display()),
            format!("model.tokenizer={}", media.join("tokenizer/tokenizer.json").display()),
            "train.max_steps=2".to_owned(),
            "data.max_frames=2".to_owned(),
        ];
        let (folder, recipe) = (tempfile::tempdir().unwrap(), root.join("recipes").join(file));
        let recipe = Recipe::load(&recipe, &set).unwrap();
        train_recipe(recipe, folder.path(), Choice::Cpu, Stop::never()).unwrap();
        let records =
            xcomp_train::run::metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
        assert_eq!(records.records.len(), 2);
        // A model that knows nothing is as good as chance over its vocabulary.
        let chance = 151_936_f64.ln();
        assert!(
            records.records.values().all(|record| (record.loss - chance).abs() < 1.0),
            "{file}"
        );
    }
}

/// Pins what is said of folders that look like these families and are not.
#[test]
fn folders_of_other_kinds_are_refused_with_what_is_missing() {
    let refused = |config: &Value, want: &str| {
        let told = ModelConfig::from_hf(config).unwrap_err().to_string();
        assert!(told.contains(want), "{told}");
    };
    let mut mistral = llava_next_video();
    mistral["text_config"]["model_type"] = json!("mistral");
    refused(&mistral, "`text_config.model_type` is \"mistral\", expected \"llama\"");
    let mut images = llava_next_video();
    images["model_type"] = json!("llava_next");
    refused(&images, "`model_type` is \"llava_next\", expected \"llava_next_video\"");
    let mut anyres = llava_video("grid");
    anyres["mm_vision_tower"] = json!("openai/clip-vit-large-patch14-336");
    anyres["architectures"] = json!(["LlavaLlamaForCausalLM"]);
    refused(&anyres, "`mm_resampler_type` is null, expected \"spatial_pool\"");
    anyres["architectures"] = json!(["LlavaMistralForCausalLM"]);
    refused(&anyres, "`architectures` is [\"LlavaMistralForCausalLM\"]");
    let mut no_token = llava_video("grid");
    no_token["mm_patch_merge_type"] = json!("spatial");
    refused(&no_token, "`mm_patch_merge_type` is \"spatial\"");
    let mut window = llava_next_video();
    window["text_config"]["sliding_window"] = json!(4096);
    refused(&window, "`sliding_window` is 4096");
    let mut conv = llava_next_video();
    conv["spatial_pool_mode"] = json!("conv");
    refused(&conv, "`spatial_pool_mode` is \"conv\"");
    let mut bilinear = llava_next_video();
    bilinear["spatial_pool_mode"] = json!("bilinear");
    refused(&bilinear, "`spatial_pool_mode` is \"bilinear\", expected \"average\" or \"max\"");
}
