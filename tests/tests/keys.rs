//! Every key of a recipe, one by one: another value changes what it says it changes, a value of the wrong kind is refused by name.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use xcomp_tests::{Task, varied};
use xcomp_train::data::Data;
use xcomp_train::machine::files::{entries, size_and_sha256};
use xcomp_train::recipe::{KEYS, Origin, Recipe};
use xcomp_train::run::launch::planned;

/// What a key is seen to change; where that is not the numbers, the numbers stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// Losses, gradient norms and learning rates by step, or the weights in the end.
    Numbers,
    /// Which files the run leaves.
    Files,
    /// The bytes of the exported weights.
    Export,
    /// How the run ends: its exit code.
    End,
    /// A spike that is spoken of.
    Spike,
    /// The utilisation figure.
    Mfu,
    /// Bytes of the features that are kept.
    Features,
    /// The plan, where nothing is trained.
    Plan,
    /// How samples are read: threads, and bytes that may wait.
    Reading,
    /// What a checkpoint is asked, and its answers.
    Answers,
    /// Losses on held-out samples.
    HeldOut,
    /// What the run is called in its records.
    Named,
}
use Seen::{
    Answers, End, Export, Features, Files, HeldOut, Mfu, Named, Numbers, Plan, Reading, Spike,
};

/// Keys that both runs of a comparison have.
type Beside = &'static [&'static str];
const BASE: Beside = &["model.checkpoint=base", "model.config=config.json"];
const FILMS: Beside = &["data.mixture=folders.yaml"];
const CUT: Beside = &["data.mixture=cut.yaml", "train.max_steps=6"];
const LONG: Beside = &["train.max_steps=6"];
const STEP: Beside = &[
    "compression.schedule=step",
    "compression.step_layers=[3,6]",
    "compression.step_strides=[2,2]",
];
const RANK: Beside = &[
    "compression.schedule=rank",
    "compression.step_layers=[3,6]",
    "compression.step_shares=[0.5,0.5]",
];
const LIST: Beside = &["compression.schedule=list", "compression.tokens=[4,4,4,3,3,2,2,1,1]"];
const UNIFORM: Beside = &["compression.schedule=uniform", "compression.uniform_tokens=4"];
const BUDGET: Beside = &["compression.schedule=budget", "compression.budgets=[4]"];
const TOWER: Beside = &["tune.parts=[\"llm\",\"vision\"]"];
const HIGH: Beside = &["optimizer.learning_rate=3.0", "train.max_steps=6"];
const BLOWN: Beside =
    &["optimizer.learning_rate=1e30", "optimizer.max_grad_norm=0", "train.max_steps=6"];
const SAVES: Beside = &["checkpoint.save_steps=1", "checkpoint.save_total_limit=1"];
const RISING: Beside = &[
    "checkpoint.save_steps=1",
    "checkpoint.save_total_limit=1",
    "optimizer.learning_rate=3.0",
    "train.max_steps=6",
];
const KEPT: Beside = &["data.feature_cache=features"];
const UNSEEN: Beside = &["data.mixture=", "data.expected_samples=20"];
const ASKED: Beside = &[
    "eval.checkpoint=base",
    "eval.questions=questions.json",
    "eval.videos=media",
    "eval.min_frames=8",
    "eval.max_frames=16",
];
const CHOSEN: Beside = &[
    "eval.checkpoint=base",
    "eval.questions=questions.json",
    "eval.videos=media",
    "eval.min_frames=8",
    "eval.max_frames=16",
    "eval.select=8",
];
const LISTENED: Beside = &[
    "eval.checkpoint=base",
    "eval.questions=subtitled.json",
    "eval.videos=media",
    "eval.min_frames=8",
    "eval.max_frames=16",
];
const WIDE: Beside = &[
    "eval.checkpoint=base",
    "eval.questions=questions.json",
    "eval.videos=media",
    "eval.min_frames=8",
    "eval.max_frames=32",
];
const WINDOWS: Beside =
    &["model.config=windows.json", "compression.schedule=none", "data.clip_frames=1", FILMS[0]];
const MIXED: Beside =
    &[WINDOWS[0], WINDOWS[1], WINDOWS[2], FILMS[0], "vst.ratios=[2,4,8]", LONG[0]];
const SCENES: Beside = &[
    WINDOWS[0],
    WINDOWS[1],
    WINDOWS[2],
    "data.mixture=noise.yaml",
    "vst.windows=dynamic",
    "vst.most_frames=4",
];
const WATCHED: Beside = &["data.validation_mixture=folders.yaml"];
const PATIENT: Beside = &[
    "data.validation_mixture=folders.yaml",
    "eval.every_steps=1",
    "optimizer.learning_rate=3.0",
    "train.max_steps=6",
];
const STABLE: Beside = &[
    "schedule.lr_scheduler_type=warmup_stable_decay",
    "schedule.decay_steps=2",
    "train.max_steps=6",
];
const ADAPTERS: Beside = &["tune.lora_rank=2", "train.max_steps=6"];
const LANES: Beside = &["train.gradient_accumulation_steps=4", "train.lanes=2"];
const NONE: Beside = &[];

/// A key, another value than that of the tiny recipe and of what stands beside it, and what is seen to change.
const OTHER: &[(&str, &str, Beside, Seen)] = &[
    ("model.checkpoint", "other_base", &["model.init=checkpoint", BASE[0], BASE[1]], Numbers),
    ("model.config", "other.json", NONE, Numbers),
    ("model.tokenizer", "other_tokenizer.json", NONE, Numbers),
    ("model.template", "vicuna", NONE, Numbers),
    ("model.system_prompt", "Be brief.", NONE, Numbers),
    ("model.init", "checkpoint", BASE, Numbers),
    ("model.model_max_length", "SHORT", LONG, Numbers),
    ("data.mixture", "folders.yaml", NONE, Numbers),
    ("data.validation_mixture", "folders.yaml", NONE, HeldOut),
    ("data.validation_share", "0.25", NONE, Numbers),
    ("data.keep_start", "0.5", NONE, Numbers),
    ("data.keep_end", "0.5", NONE, Numbers),
    ("data.keep_seed", "42", NONE, Numbers),
    ("data.sample_type", "uniform", &[FILMS[0], "data.max_frames=8"], Numbers),
    ("data.fps", "0.5", FILMS, Numbers),
    ("data.min_frames", "16", &[FILMS[0], "data.fps=0.5"], Numbers),
    ("data.max_frames", "8", FILMS, Numbers),
    ("data.clip_frames", "1", FILMS, Numbers),
    ("data.order", "sequential", NONE, Numbers),
    ("data.packing", "true", &["train.per_device_batch_size=2"], Plan),
    ("data.workers", "2", NONE, Reading),
    ("data.prefetch_mib", "8", NONE, Reading),
    ("data.feature_cache", "features", NONE, Features),
    ("data.feature_cache_gib", "1e-6", KEPT, Features),
    ("data.feature_format", "int8", NONE, Numbers),
    ("data.allow_outside_paths", "true", &["data.mixture=outside.yaml", LONG[0]], Numbers),
    ("data.system", "refuse", &["data.mixture=system.yaml", LONG[0]], Numbers),
    ("data.truncated", "pad", CUT, Numbers),
    ("data.too_long", "drop_frames", &["model.model_max_length=SHORT", LONG[0]], Numbers),
    ("data.on_broken", "skip", CUT, Numbers),
    ("data.max_broken_share", "1.0", &["data.mixture=half.yaml", "train.max_steps=60"], End),
    ("data.expected_samples", "10", UNSEEN, Plan),
    ("data.expected_frames", "8", UNSEEN, Plan),
    ("data.expected_text_tokens", "30", UNSEEN, Plan),
    ("data.expected_supervised_tokens", "9", UNSEEN, Plan),
    ("compression.schedule", "none", NONE, Numbers),
    ("compression.keep", "uniform", NONE, Numbers),
    ("compression.step_layers", "[2,6]", STEP, Numbers),
    ("compression.step_strides", "[4,1]", STEP, Numbers),
    ("compression.step_shares", "[0.5,0.25]", RANK, Numbers),
    ("compression.uniform_tokens", "2", UNIFORM, Numbers),
    ("compression.tokens", "[4,4,3,3,2,2,1,1,1]", LIST, Numbers),
    ("compression.budgets", "[2]", BUDGET, Numbers),
    (
        "compression.group_order",
        "frame",
        &["data.mixture=noise.yaml", "model.config=three.json"],
        Numbers,
    ),
    ("vst.window_tokens", "16", WINDOWS, Numbers),
    ("vst.ratios", "[4]", WINDOWS, Numbers),
    ("vst.ratio_mix", "sequence", MIXED, Numbers),
    ("vst.backward", "tape", WINDOWS, Plan),
    ("vst.windows", "dynamic", WINDOWS, Numbers),
    ("vst.answer_windows", "dynamic", WINDOWS, Plan),
    ("vst.depth", "hill_climb", SCENES, Numbers),
    ("vst.depth_above", "1e9", SCENES, Numbers),
    ("vst.depth_deviations", "-9.0", SCENES, Numbers),
    ("vst.least_frames", "3", SCENES, Numbers),
    ("vst.most_frames", "8", SCENES, Numbers),
    ("vst.curriculum", "[{ until = 1.0, ratios = [8] }]", WINDOWS, Numbers),
    ("tune.parts", "[\"layers.4-8\",\"norm\"]", NONE, Numbers),
    ("tune.lora_rank", "2", NONE, Numbers),
    ("tune.lora_alpha", "4.0", ADAPTERS, Numbers),
    ("tune.lora_dropout", "0.5", ADAPTERS, Numbers),
    ("tune.lora_targets", "[\"q_proj\", \"mlp.0\"]", ADAPTERS, Numbers),
    ("tune.lora_rslora", "true", ADAPTERS, Numbers),
    ("tune.labels", "answers", NONE, Numbers),
    ("tune.projector_gradient_below_frames", "8", FILMS, Numbers),
    ("optimizer.learning_rate", "1e-3", NONE, Numbers),
    ("optimizer.weight_decay", "0.1", NONE, Numbers),
    ("optimizer.decay_on", "huggingface", &["optimizer.weight_decay=0.1", LONG[0]], Numbers),
    ("optimizer.adam_beta1", "0.8", NONE, Numbers),
    ("optimizer.adam_beta2", "0.95", NONE, Numbers),
    ("optimizer.adam_epsilon", "1e-3", NONE, Numbers),
    ("optimizer.max_grad_norm", "0.0001", &["optimizer.adam_epsilon=1e-3"], Numbers),
    ("optimizer.moments_dtype", "int8", LONG, Numbers),
    ("optimizer.layer_decay", "0.5", NONE, Numbers),
    ("optimizer.mm_projector_lr", "1e-4", NONE, Numbers),
    ("optimizer.mm_vision_tower_lr", "1e-4", TOWER, Numbers),
    ("schedule.lr_scheduler_type", "linear", LONG, Numbers),
    ("schedule.warmup_ratio", "0.5", LONG, Numbers),
    ("schedule.warmup_steps", "3", LONG, Numbers),
    ("schedule.min_lr_rate", "0.5", STABLE, Numbers),
    ("schedule.decay_steps", "4", STABLE, Numbers),
    ("train.num_train_epochs", "0.5", &["train.max_steps=0"], Numbers),
    ("train.max_steps", "1", NONE, Numbers),
    ("train.per_device_batch_size", "2", NONE, Numbers),
    ("train.gradient_accumulation_steps", "3", NONE, Numbers),
    ("train.lanes", "2", &["train.gradient_accumulation_steps=4"], Numbers),
    ("train.balance", "true", LANES, Numbers),
    ("train.loss_norm", "token", LONG, Numbers),
    ("train.recompute", "layer", NONE, Plan),
    ("train.memory_limit_gib", "0.001", NONE, End),
    ("train.clips_at_once", "2", FILMS, Plan),
    ("train.dtype", "bf16", NONE, Numbers),
    ("train.weights_dtype", "bf16", NONE, Numbers),
    ("train.accumulate_dtype", "bf16", NONE, Numbers),
    ("train.seed", "7", NONE, Numbers),
    ("train.early_stopping_patience", "1", PATIENT, Numbers),
    ("train.on_non_finite", "skip", BLOWN, End),
    ("train.spike_factor", "0.0", HIGH, Spike),
    ("checkpoint.save_steps", "1", NONE, Files),
    ("checkpoint.save_total_limit", "2", SAVES, Files),
    ("checkpoint.keep_best", "true", RISING, Files),
    ("checkpoint.moments", "false", NONE, Files),
    ("checkpoint.export_dtype", "f16", NONE, Export),
    ("log.run_name", "other", NONE, Named),
    ("log.tags", "[\"a\",\"b\"]", NONE, Named),
    ("log.logging_steps", "2", NONE, Numbers),
    ("log.tensorboard", "true", NONE, Files),
    ("log.peak_tflops", "0.1", NONE, Mfu),
    ("eval.every_steps", "1", WATCHED, HeldOut),
    ("eval.samples", "1", WATCHED, HeldOut),
    ("eval.checkpoint", "other_base", ASKED, Answers),
    ("eval.questions", "other_questions.json", ASKED, Answers),
    ("eval.videos", "other_media", ASKED, Answers),
    ("eval.subtitles", "media", LISTENED, Answers),
    ("eval.benchmark", "mlvu", ASKED, Answers),
    ("eval.answer_by", "likelihood", ASKED, Answers),
    ("eval.min_frames", "32", WIDE, Answers),
    ("eval.max_frames", "8", ASKED, Answers),
    ("eval.select", "8", ASKED, Answers),
    ("eval.repeat", "1", CHOSEN, Answers),
    ("eval.max_new_tokens", "1", ASKED, Answers),
];

fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().flat_map(|(table, keys)| keys.iter().map(|key| (*table, *key)))
}

/// Most tokens of a sample, so that 8 frames of a film fit and its 16 do not.
fn short(task: &Task) -> usize {
    let plan = planned(task.recipe(FILMS)).unwrap();
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let example = xcomp_data::load_example(&data.mixture.records()[0], 0, data.load_options());
    let (frames, ids) = example.map(|film| (film.frame_count(), film.input_ids.len())).unwrap();
    ids + frames * plan.config.tokens_per_frame() - 10
}

/// What is seen of a run, of a plan, or of an evaluation.
fn observe(task: &Task, set: &[&str], seen: Seen) -> BTreeMap<String, String> {
    let set: Vec<&str> = [&["train.max_steps=2"], set].concat();
    let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
    let mut observed = BTreeMap::new();
    let mut note = |seen: Seen, value: String| observed.insert(text(&seen), value);
    match seen {
        Plan => {
            let plan = planned(task.recipe(&set)).unwrap();
            note(Plan, serde_json::to_string(&plan.report()).unwrap());
        }
        Reading => {
            let plan = planned(task.recipe(&set)).unwrap();
            note(Reading, text(&Data::open(&plan.recipe, &plan.config, None).unwrap()));
        }
        Answers => {
            let out = task.path("answers");
            let set = set.iter().flat_map(|key| ["--set", key]);
            let arguments = ["eval", "recipe.toml", "--out", "answers", "--score", "clean"];
            let ended = task.run(&arguments.into_iter().chain(set).collect::<Vec<_>>());
            assert_eq!(ended.code, 0, "{ended:?}");
            let lines = fs::read_to_string(out.join("responses.jsonl")).unwrap();
            let answer = |line: &str| {
                let mut answer: Value = serde_json::from_str(line).unwrap();
                answer.as_object_mut().unwrap().remove("key"); // holds every setting, whether it acts or not
                answer.to_string()
            };
            note(Answers, lines.lines().map(answer).collect());
            fs::remove_dir_all(out).unwrap();
        }
        _ => observe_run(task, &set, &mut note),
    }
    observed
}

fn observe_run(task: &Task, set: &[&str], note: &mut dyn FnMut(Seen, String) -> Option<String>) {
    let run = task.path("run");
    let set = set.iter().flat_map(|key| ["--set", key]);
    let arguments = ["train", "recipe.toml", "--out", "run"];
    let ended = task.run(&arguments.into_iter().chain(set).collect::<Vec<_>>());
    assert!([0, 3, 4, 5].contains(&ended.code), "{ended:?}");
    note(End, ended.code.to_string());
    note(Spike, ended.stderr.contains("is a spike over its mean").to_string());
    let records = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let lines = records.lines().map(|line| serde_json::from_str(line).unwrap());
    let (held_out, records): (Vec<Value>, Vec<Value>) =
        lines.partition(|line: &Value| line.get("eval_loss").is_some());
    let shown = |lines: &[Value], keys: &[&str]| -> String {
        let of = |record: &Value| {
            keys.iter().map(|key| record[key].to_string()).collect::<Vec<_>>().join(" ")
        };
        lines.iter().map(of).collect::<Vec<String>>().join("\n")
    };
    let of = |keys: &[&str]| shown(&records, keys);
    note(Named, of(&["run", "tags"]));
    note(HeldOut, shown(&held_out, &["step", "eval_loss", "eval_samples"]));
    let hash =
        |name: &str| size_and_sha256(&run.join(name)).map_or(String::new(), |(_, hash)| hash);
    let numbers = of(&["step", "loss", "grad_norm", "learning_rate", "lr_used"]);
    note(Numbers, numbers + &hash("last/model.safetensors"));
    note(Mfu, of(&["mfu_pct"]).contains(|digit: char| digit.is_ascii_digit()).to_string());
    note(Export, hash("export/model.safetensors"));
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let files = [&run, &run.join("last")].map(|folder| entries(folder).unwrap_or_default());
    let names = files.concat().iter().map(|path| name(path)).collect::<Vec<_>>();
    let kind = |name: &str| name.split("tfevents").next().unwrap().to_owned();
    note(Files, names.iter().map(|name| kind(name) + " ").collect());
    let kept = entries(&task.path("features")).unwrap_or_default();
    let bytes = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    note(Features, kept.iter().map(bytes).sum::<u64>().to_string());
    for folder in [run, task.path("features")] {
        fs::remove_dir_all(folder).unwrap_or_default();
    }
}

#[test]
fn every_key_acts() {
    let task = varied();
    let short = short(&task).to_string();
    let mut usual = BTreeMap::new();
    let mut idle = vec![];
    for (table, key) in keys() {
        let name = format!("{table}.{key}");
        let row = OTHER.iter().find(|(row, ..)| *row == name);
        let (_, value, beside, seen) = row.unwrap_or_else(|| panic!("no test exercises {name}"));
        let beside: Vec<String> = beside.iter().map(|set| set.replace("SHORT", &short)).collect();
        let beside: Vec<&str> = beside.iter().map(String::as_str).collect();
        let other = format!("{name}={}", value.replace("SHORT", &short));
        let set = [&beside[..], &[other.as_str()]].concat();
        assert_eq!(task.recipe(&set).origin(table, key), Origin::Set, "{name}");
        let before = usual
            .entry((
                beside.join(" "),
                matches!(seen, Plan | Reading | Answers).then_some(format!("{seen:?}")),
            ))
            .or_insert_with(|| observe(&task, &beside, *seen));
        let now = observe(&task, &set, *seen);
        let of = |seen: Seen| (before.get(&format!("{seen:?}")), now.get(&format!("{seen:?}")));
        let (was, is) = of(*seen);
        if was.is_none() || was == is {
            idle.push(format!("{set:?} changes no {seen:?}: {was:?}"));
        }
        let (was, is) = of(Numbers);
        if !matches!(seen, Numbers | End) && was != is {
            idle.push(format!("{set:?} changes numbers as well: {was:?} {is:?}"));
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
}

#[test]
fn every_key_refuses_a_value_of_the_wrong_kind_by_name() {
    let tiny = Task::folders();
    for (table, key) in keys() {
        let set = [format!("{table}.{key}={{ wrong = 1 }}")];
        let error = Recipe::load(&tiny.path("recipe.toml"), &set).unwrap_err().to_string();
        assert!(error.contains(&format!("[{table}] {key} = ")), "{error}");
    }
}
