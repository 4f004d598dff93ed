//! A tiny Video-XL through the whole program: trained both ways, exported, asked, refused where its windows do not fit.

#![cfg(feature = "video")]

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};
use xcomp_data::load_example;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::loss::LossNorm;
use xcomp_model::vision::frames::Encoding;
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::Parameter;
use xcomp_tests::{Task, media_root, read_tensors, windows_config, write_tensors};
use xcomp_train::data::Data;
use xcomp_train::data::collate::{VisualInput, collate};
use xcomp_train::export::{find_checkpoint, tuned_model};
use xcomp_train::plan::Plan;
use xcomp_train::recipe::Recipe;

/// Pictures and folders of frames for a model that reads windows of two frames.
fn task() -> Task {
    let task = Task::folders();
    let config = std::fs::read_to_string(task.path("config.json")).unwrap();
    task.write("windows.json", &windows_config(&config).to_string());
    task
}

const SET: [&str; 5] = [
    "model.config=windows.json",
    "compression.schedule=none",
    "data.clip_frames=1",
    "tune.parts=[\"llm\",\"projector\",\"vision\"]",
    "vst.ratios=[2,4,8]",
];

/// Trains with these keys beside [`SET`]; losses and gradient norms of every step.
fn train(task: &Task, out: &str, more: &[&str]) -> Vec<[f64; 2]> {
    task.trained(out, &[&SET, more].concat())
}

/// A tuned tower, pictures in tiles, other ratios in every window: the memory of one window gives what one tape gives.
#[test]
fn both_ways_train_alike_and_the_export_answers() {
    let task = task();
    let one_tape = train(&task, "tape", &["vst.backward=tape"]);
    let in_windows = train(&task, "windows", &["vst.backward=windows"]);
    assert_eq!(one_tape.len(), 6);
    for (tape, windows) in one_tape.iter().zip(&in_windows) {
        for (tape, windows) in tape.iter().zip(windows) {
            assert!((tape - windows).abs() < 1e-3 * tape.abs(), "{one_tape:?} {in_windows:?}");
        }
    }
    the_export_reloads_to_the_same_loss(&task);
    let film = task.path("media/folder_0").display().to_string();
    // 8 frames of 16 tokens; under 5 each window gives what it leaves over to the next.
    for (ratio, kept) in [
        (&[][..], 128 / 8),
        (&["--ratio", "2"], 64),
        (&["--ratio", "0"], 128),
        (&["--ratio", "5"], 25),
    ] {
        let ask = [
            "ask",
            "windows/export",
            &film,
            "What colour is it?",
            "--frames",
            "8",
            "--max-new-tokens",
            "3",
            "--format",
            "json",
        ];
        let arguments: Vec<&str> = ask.into_iter().chain(ratio.iter().copied()).collect();
        let ended = task.run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(
            (&report["visual_tokens_in"], &report["visual_tokens_out"]),
            (&json!(128), &json!(kept))
        );
    }
}

/// The weights in memory and those of the f32 export give the same loss to the last bit.
fn the_export_reloads_to_the_same_loss(task: &Task) {
    let (device, set) = (Device::flex(), [&SET[..], &["train.max_steps=6"]].concat());
    let plan = Plan::new(task.recipe(&set), Some(12)).unwrap();
    let saved = find_checkpoint(&task.path("windows"), None).unwrap();
    let tuned = tuned_model(&plan, &saved, &device).unwrap();
    let mut reloaded = Vlm::new(&plan.config, &device);
    reloaded.load_weights(&task.path("windows/export")).unwrap();

    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let mut seen = 0;
    for record in data.mixture.records() {
        let example = load_example(record, 0, data.load_options()).unwrap();
        let frames = example.frame_count();
        let (prompt, visuals) = collate(example, 1).unwrap();
        let [VisualInput::Clips(clips, _)] = visuals.as_slice() else {
            panic!("no cache was asked")
        };
        let sequence = prompt.layout(&[frames], plan.config.connector.span_shape());
        let windows = plan.vst.as_ref().unwrap().of(&sequence, &[], seen, 0.0).unwrap();
        let loss = |model: &Vlm| {
            let merged = vec![vec![model.encode(clips, &device, Encoding::default())]];
            let prompts = std::slice::from_ref(&prompt);
            let plans = std::slice::from_ref(&windows);
            model.loss_in_windows(prompts, merged, plans, LossNorm::Sample).0.into_scalar::<f32>()
        };
        let (want, got) = (loss(&tuned), loss(&reloaded));
        assert!(want.is_finite() && got.to_bits() == want.to_bits(), "{got} {want}");
        seen += 1;
    }
    assert!(seen > 0);
}

/// Only the learned token and its maps move, in all layers but for what nothing looks at.
#[test]
fn learned_tokens_are_tuned_alone() {
    let task = task();
    for (out, parts) in [("vst", "tune.parts=[\"vst\"]"), ("norm", "tune.parts=[\"norm\"]")] {
        let losses = train(&task, out, &[parts, "train.max_steps=2", "optimizer.weight_decay=0"]);
        assert!(losses.iter().all(|[_, norm]| *norm > 0.0), "{losses:?}");
    }
    let tensors = |out: &str| read_tensors(&task.path(out).join("export/model.safetensors"));
    let (vst, norm) = (tensors("vst"), tensors("norm"));
    let differ: BTreeSet<&str> = vst
        .iter()
        .filter(|(name, tensor)| **tensor != norm[*name])
        .map(|(name, _)| name.as_str())
        .collect();
    let (learned, others): (Vec<&str>, Vec<&str>) =
        differ.into_iter().partition(|name| name.contains("beacon_"));
    assert_eq!(others, ["model.norm.weight"]);
    assert!(learned.contains(&"model.beacon_embed_tokens.weight"), "{learned:?}");
    for map in ["q", "k", "v"] {
        let name = format!("model.layers.0.self_attn.beacon_{map}_proj.weight");
        assert!(learned.contains(&name.as_str()), "{name} of {learned:?}");
    }
}

/// A base that lacks learned tokens, or some of them, is told how many are copies; one that has them all is told nothing.
#[test]
fn a_base_without_learned_tokens_is_told() {
    let task = task();
    train(&task, "run", &["train.max_steps=1"]);
    let whole = read_tensors(&task.path("run/export/model.safetensors"));
    let learned = whole.keys().filter(|name| name.contains("beacon_")).count();
    for (lacks, copied) in [("beacon_", learned), ("beacon_q_proj", 2 * 9), ("nothing", 0)] {
        let mut left = whole.clone();
        left.retain(|name, _| !name.contains(lacks));
        write_tensors(&task.path("run/export/model.safetensors"), &left);
        let set = [
            &SET[..],
            &["model.init=checkpoint", "model.checkpoint=run/export", "train.max_steps=1"],
        ];
        let out = format!("without_{lacks}");
        let mut arguments = vec!["train", "recipe.toml", "--out", &out];
        set.concat().into_iter().for_each(|set| arguments.extend(["--set", set]));
        let ended = task.run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        let told = ended.stderr.lines().find(|line| line.contains("tensors of learned tokens"));
        let words = format!("{copied} tensors of learned tokens are not in ");
        assert_eq!(told.is_some_and(|line| line.contains(&words)), copied > 0, "{ended:?}");
    }
}

/// One clear line for each thing that does not fit.
#[test]
fn what_does_not_fit_is_told() {
    let task = task();
    let told = |set: &[&str], code, wanted: &str| {
        let set = set.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> =
            ["train", "recipe.toml", "--out", "refused"].into_iter().chain(set).collect();
        let ended = task.run(&arguments);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(wanted), "{} does not say: {wanted}", ended.stderr);
    };
    let with = |more: &[&'static str]| [&SET[..], more].concat();
    told(&["vst.ratios=[4]"], 2, "[vst] ratios: a VideoChat-Flash has no learned tokens");
    told(&with(&["compression.schedule=cosine"]), 2, "summarises windows and drops no tokens");
    told(&with(&["train.recompute=layer"]), 2, "[train] recompute: a Video-XL");
    told(&with(&["data.clip_frames=2"]), 2, "sees single frames; set it to 1");
    told(&with(&["vst.window_tokens=0"]), 2, "[vst] window_tokens: must be positive");
    let curriculum = "vst.curriculum=[{ until = 0.5, ratios = [2] }]";
    told(&with(&[curriculum]), 2, "the last phase ends at 0.5; let it end at 1.0");
    let empty = "vst.curriculum=[{ until = 1.0, ratios = [] }]";
    told(&with(&[empty]), 2, "the phase until 1 has no ratios");
    let back = "vst.curriculum=[{ until = 0.5, ratios = [2] }, { until = 0.2, ratios = [4] }]";
    told(&with(&[back]), 2, "`until` 0.2 must be above 0.5 and at most 1");
    told(&with(&["vst.ratios=[5,7]"]), 2, "none divides 32 visual tokens");
    told(&with(&["vst.ratios=[2,64]"]), 2, "64 is larger than a window of 32 tokens");
    told(&with(&["vst.least_frames=0"]), 2, "[vst] least_frames: must be at least 1");
    let bounds = with(&["vst.least_frames=3", "vst.most_frames=2"]);
    told(&bounds, 2, "[vst] most_frames: 2 is below least_frames = 3");
    told(&with(&["vst.depth_above=nan"]), 2, "[vst] depth_above: NaN must be a finite number");
}

/// A `config.json` that lacks what a Video-XL has, or asks for what is not computed.
#[test]
fn a_config_that_is_no_video_xl_is_told() {
    let task = task();
    let whole: Value =
        serde_json::from_str(&std::fs::read_to_string(task.path("windows.json")).unwrap()).unwrap();
    for (key, value, wanted) in [
        ("beacon_ratio", Value::Null, "beacon_ratio"),
        ("beacon_ratio", json!([]), "a list of one count or more"),
        ("beacon_param", json!(["q", "w"]), "a list of \"q\", \"k\", \"v\", \"o\" and \"mlp\""),
        ("beacon_window", json!(0), "beacon_window"),
        ("beacon_stride", json!(7), "beacon_stride"),
        ("beacon_embed_init", json!("noise"), "\"eos\" or \"bos\""),
        ("mm_vision_select_layer", Value::Null, "mm_vision_select_layer"),
        ("mm_projector_type", json!("linear"), "mlp2x_gelu"),
        ("architectures", json!(["OtherForCausalLM"]), "architectures"),
    ] {
        let mut config = whole.clone();
        config[key] = value.clone();
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        }
        task.write("other.json", &config.to_string());
        let set = [&["model.config=other.json"], &SET[1..]].concat();
        let set = set.iter().flat_map(|set| ["--set", *set]);
        let ended = task.run(&["plan", "recipe.toml"].into_iter().chain(set).collect::<Vec<_>>());
        assert_eq!(ended.code, 2, "{key}: {ended:?}");
        assert!(ended.stderr.contains(wanted), "{key}: {} does not say: {wanted}", ended.stderr);
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{key}: {}", ended.stderr);
    }
}

/// A sample that no window fits does what `data.on_broken` says, and the run goes on.
#[test]
fn samples_that_fit_no_window_are_broken() {
    let task = task();
    let records = std::fs::read_to_string(task.path("pictures.json")).unwrap();
    let mut records: Vec<Value> = serde_json::from_str(&records).unwrap();
    records[3]["image"] = json!(["picture_3.png", "picture_4.png"]);
    let more = records[4]["conversations"].clone();
    records[3]["conversations"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
    task.write("apart.json", &json!(records).to_string());
    task.write("apart.yaml", "datasets:\n  - json_path: apart.json\n    data_root: media\n");
    let mixed =
        ["data.mixture=apart.yaml", "train.max_steps=9", "train.gradient_accumulation_steps=1"];
    for (policy, left_out) in [("neighbour", "replaced"), ("skip", "left out")] {
        let policy = format!("data.on_broken={policy}");
        let more = [&mixed[..], &[policy.as_str(), "data.max_broken_share=0.5"]].concat();
        assert_eq!(train(&task, left_out, &more).len(), 9, "{policy}");
        let told =
            std::fs::read_to_string(task.path(left_out).join("data/quarantine.jsonl")).unwrap();
        assert!(told.contains("text stands between visual tokens"), "{told}");
    }
    let set = [&SET[..], &mixed, &["data.on_broken=stop"]].concat();
    let set = set.iter().flat_map(|set| ["--set", *set]);
    let arguments: Vec<&str> =
        ["train", "recipe.toml", "--out", "stops"].into_iter().chain(set).collect();
    let ended = task.run(&arguments);
    assert_eq!(ended.code, 3, "{ended:?}");
    for wanted in
        ["text stands between visual tokens", "put their tags side by side", "picture_3.png"]
    {
        assert!(ended.stderr.contains(wanted), "{} does not say: {wanted}", ended.stderr);
    }
}

/// Two steps of `recipes/video-xl-clips.toml`: tiles and frames of 336 pixels, windows of 1440 tokens, the real tokenizer, real video.
#[test]
fn two_steps_on_real_clips() {
    let Some(media) = media_root("video_xl::two_steps_on_real_clips") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let recipe = root.join("recipes/video-xl-clips.toml").display().to_string();
    let mixture = format!("data.mixture={}", media.join("mixture.yaml").display());
    let tokenizer = format!("model.tokenizer={}", media.join("tokenizer/tokenizer.json").display());
    let task = Task::folders();
    let set = [&mixture, &tokenizer, "train.max_steps=2", "data.max_frames=16"];
    let set = set.into_iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> =
        ["train", &recipe, "--out", "clips"].into_iter().chain(set).collect();
    let ended = task.run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    let losses = task.losses("clips");
    assert_eq!(losses.len(), 2);
    for [loss, norm] in losses {
        // A model that knows nothing is as good as chance over its vocabulary.
        assert!((loss - 151_936_f64.ln()).abs() < 1.0 && norm > 0.0, "loss {loss}, norm {norm}");
    }
}

/// What a process grows by is told beside its plan, whichever way it goes back. How near the two are an allocator decides: it is printed.
#[test]
fn plans_state_the_memory_of_both_ways() {
    let task = task();
    let text = std::fs::read_to_string(task.path("windows.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (key, size) in [
        ("hidden_size", 512),
        ("intermediate_size", 1536),
        ("num_hidden_layers", 6),
        ("num_attention_heads", 8),
        ("num_key_value_heads", 2),
        ("beacon_window", 256),
    ] {
        config[key] = json!(size);
    }
    config["vision_config"]["patch_size"] = json!(2); // 64 tokens of a frame
    task.write("windows.json", &config.to_string());
    let films =
        "datasets:\n  - json_path: folders.json\n    data_root: media\n    video_read_type: img\n";
    task.write("films.yaml", films);
    let planned = ["windows", "tape"].map(|way| {
        let way = format!("vst.backward={way}");
        let more = [
            way.as_str(),
            "data.mixture=films.yaml",
            "data.min_frames=16",
            "tune.parts=[\"llm\",\"projector\"]",
            "vst.ratios=[16]",
            "train.max_steps=2",
            "train.gradient_accumulation_steps=1",
            "checkpoint.save_steps=0",
        ];
        let set = SET.iter().chain(&more).flat_map(|set| ["--set", *set]);
        let arguments = ["train", "recipe.toml", "--out", "mem", "--device", "cpu"];
        let ended = task.run(&arguments.into_iter().chain(set).collect::<Vec<_>>());
        assert_eq!(ended.code, 0, "{ended:?}");
        let told = ended.stderr.lines().find(|line| line.starts_with("memory: predicted")).unwrap();
        let gib: Vec<f64> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
        eprintln!("{way}: {told}");
        assert!(gib[0] > 0.0 && gib[1] > 0.0, "{told}");
        std::fs::remove_dir_all(task.path("mem")).unwrap();
        gib[0]
    });
    assert!(planned[0] < planned[1], "a tape of a window is less than one of all: {planned:?}");
}

/// Learned token and maps of the full size, as many numbers as the released code adds to its base; recipes of that size have plans.
#[test]
fn full_sizes_are_those_of_the_paper() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("recipes");
    let config = ModelConfig::from_file(&recipes.join("models/video-xl-7b.json")).unwrap();
    assert_eq!((config.tokens_per_frame(), config.vision.depth), (144, 23));
    let parameters = Vlm::new(&config, &Device::flex()).parameters();
    let learned = parameters.iter().filter(|one| one.name.contains("beacon_"));
    assert_eq!(learned.map(Parameter::count).sum::<usize>(), 462_554_624);
    for (name, tuned) in [("vst-only", 462_554_624), ("7b-pretrain", 16_522_240)] {
        let recipe = Recipe::load(&recipes.join(format!("video-xl-{name}.toml")), &[]).unwrap();
        let plan = Plan::new(recipe, None).unwrap();
        assert_eq!(plan.counts.iter().map(|count| count.tuned).sum::<u64>(), tuned, "{name}");
    }
    let recipe = Recipe::load(&recipes.join("video-xl-7b.toml"), &[]).unwrap();
    let plan = Plan::new(recipe, None).unwrap();
    // 28 layers with keys and values of 4 heads of 128 numbers, two bytes each, of a token for 16.
    let windows = plan.report().windows.unwrap();
    assert_eq!(windows.longest_learned, 2048 * 144 / 16);
    assert_eq!(windows.longest_bytes, 18_432 * 28 * 2 * 4 * 128 * 2);
    // On one tape all windows are held, window by window no more than one.
    let on_tape = Plan { vst: None, ..plan.clone() };
    let (one, all) = (plan.memory(plan.samples.mean), on_tape.memory(plan.samples.mean));
    assert!(one.activations < all.activations / 5, "{one:?} {all:?}");
}
