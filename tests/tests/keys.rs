//! Every key of a recipe, one by one: another value is taken into a run, a value of the wrong kind is refused by name.

#![cfg(feature = "video")]

use std::path::Path;

use xcomp_tests::Task;
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::recipe::{KEYS, Origin, Recipe};
use xcomp_train::run::launch::train_recipe;

/// A value that is not the tiny recipe's, with what it needs beside it.
const OTHER: &[(&str, &[&str])] = &[
    ("model.checkpoint", &["model.checkpoint=\"base\"", "model.config=\"config.json\""]),
    ("model.config", &["model.config=\"other.json\""]),
    ("model.tokenizer", &["model.tokenizer=\"other_tokenizer.json\""]),
    ("model.template", &["model.template=\"chatml\""]),
    ("model.system_prompt", &["model.system_prompt=\"Be brief.\""]),
    ("model.init", &["model.init=\"checkpoint\"", "model.checkpoint=\"base\""]),
    ("model.model_max_length", &["model.model_max_length=4096"]),
    ("data.mixture", &["data.mixture=\"other.yaml\""]),
    ("data.keep_start", &["data.keep_start=0.1"]),
    ("data.keep_end", &["data.keep_end=0.9"]),
    ("data.keep_seed", &["data.keep_seed=42"]),
    ("data.sample_type", &["data.sample_type=\"uniform\""]),
    ("data.fps", &["data.fps=1.0"]),
    ("data.min_frames", &["data.min_frames=16"]),
    ("data.max_frames", &["data.max_frames=8"]),
    ("data.clip_frames", &["data.clip_frames=4"]),
    ("data.order", &["data.order=\"sequential\""]),
    ("data.workers", &["data.workers=2"]),
    ("data.prefetch_mib", &["data.prefetch_mib=8"]),
    ("data.feature_cache", &["data.feature_cache=\"features\""]),
    ("data.feature_cache_gib", &["data.feature_cache_gib=0.5"]),
    ("data.feature_format", &["data.feature_format=\"int8\""]),
    ("data.allow_outside_paths", &["data.allow_outside_paths=true"]),
    ("data.system", &["data.system=\"refuse\""]),
    ("data.on_broken", &["data.on_broken=\"stop\""]),
    ("data.max_broken_share", &["data.max_broken_share=0.5"]),
    ("data.expected_samples", &["data.expected_samples=10"]),
    ("data.expected_frames", &["data.expected_frames=8"]),
    ("data.expected_text_tokens", &["data.expected_text_tokens=30"]),
    ("data.expected_supervised_tokens", &["data.expected_supervised_tokens=9"]),
    ("compression.schedule", &["compression.schedule=\"none\""]),
    ("compression.keep", &["compression.keep=\"uniform\""]),
    ("compression.step_layers", STAGED),
    ("compression.step_strides", STAGED),
    (
        "compression.step_shares",
        &[
            "compression.step_shares=[0.5,0.25]",
            "compression.schedule=\"rank\"",
            "compression.step_layers=[3,6]",
        ],
    ),
    (
        "compression.uniform_tokens",
        &["compression.uniform_tokens=2", "compression.schedule=\"uniform\""],
    ),
    (
        "compression.tokens",
        &["compression.tokens=[4,4,3,3,2,2,1,1,1]", "compression.schedule=\"list\""],
    ),
    ("compression.group_order", &["compression.group_order=\"frame\""]),
    ("tune.parts", &["tune.parts=[\"layers.4-8\", \"norm\"]"]),
    ("tune.labels", &["tune.labels=\"answers\""]),
    ("tune.projector_gradient_below_frames", &["tune.projector_gradient_below_frames=8"]),
    ("optimizer.learning_rate", &["optimizer.learning_rate=1e-3"]),
    ("optimizer.weight_decay", &["optimizer.weight_decay=0.1"]),
    ("optimizer.decay_on", &["optimizer.decay_on=\"huggingface\""]),
    ("optimizer.adam_beta1", &["optimizer.adam_beta1=0.8"]),
    ("optimizer.adam_beta2", &["optimizer.adam_beta2=0.95"]),
    ("optimizer.adam_epsilon", &["optimizer.adam_epsilon=1e-6"]),
    ("optimizer.max_grad_norm", &["optimizer.max_grad_norm=0.5"]),
    ("optimizer.mm_projector_lr", &["optimizer.mm_projector_lr=1e-4"]),
    (
        "optimizer.mm_vision_tower_lr",
        &["optimizer.mm_vision_tower_lr=1e-4", "tune.parts=[\"llm\", \"vision\"]"],
    ),
    ("schedule.lr_scheduler_type", &["schedule.lr_scheduler_type=\"linear\""]),
    ("schedule.warmup_ratio", &["schedule.warmup_ratio=0.5"]),
    ("schedule.warmup_steps", &["schedule.warmup_steps=1"]),
    ("train.num_train_epochs", &["train.num_train_epochs=0.1"]),
    ("train.max_steps", &["train.max_steps=1"]),
    ("train.per_device_batch_size", &["train.per_device_batch_size=2"]),
    ("train.gradient_accumulation_steps", &["train.gradient_accumulation_steps=3"]),
    ("train.loss_norm", &["train.loss_norm=\"token\""]),
    ("train.recompute", &["train.recompute=\"auto\"", "train.memory_limit_gib=1.0"]),
    ("train.memory_limit_gib", &["train.memory_limit_gib=8.0"]),
    ("train.dtype", &["train.dtype=\"bf16\""]),
    ("train.accumulate_dtype", &["train.accumulate_dtype=\"bf16\""]),
    ("train.seed", &["train.seed=7"]),
    ("train.on_non_finite", &["train.on_non_finite=\"skip\""]),
    ("train.spike_factor", &["train.spike_factor=0.0"]),
    ("checkpoint.save_steps", &["checkpoint.save_steps=1"]),
    ("checkpoint.save_total_limit", &["checkpoint.save_total_limit=3"]),
    ("checkpoint.keep_best", &["checkpoint.keep_best=true"]),
    ("checkpoint.export_dtype", &["checkpoint.export_dtype=\"f16\""]),
    ("log.logging_steps", &["log.logging_steps=2"]),
    ("log.tensorboard", &["log.tensorboard=true"]),
    ("log.peak_tflops", &["log.peak_tflops=0.1"]),
    ("eval.checkpoint", &["eval.checkpoint=\"base\""]),
    ("eval.questions", &["eval.questions=\"questions.json\""]),
    ("eval.videos", &["eval.videos=\"media\""]),
    ("eval.subtitles", &["eval.subtitles=\"media\""]),
    ("eval.benchmark", &["eval.benchmark=\"lvbench\""]),
    ("eval.answer_by", &["eval.answer_by=\"likelihood\""]),
    ("eval.min_frames", &["eval.min_frames=8"]),
    ("eval.max_frames", &["eval.max_frames=512"]),
    ("eval.select", &["eval.select=8"]),
    ("eval.repeat", &["eval.repeat=1"]),
    ("eval.max_new_tokens", &["eval.max_new_tokens=4"]),
];

const STAGED: &[&str] = &[
    "compression.schedule=\"step\"",
    "compression.step_layers=[3,6]",
    "compression.step_strides=[2,2]",
];

fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().flat_map(|(table, keys)| keys.iter().map(|key| (*table, *key)))
}

#[test]
fn every_key_takes_another_value_into_a_run() {
    let tiny = Task::folders();
    for (from, to) in [
        ("config.json", "other.json"),
        ("tokenizer.json", "other_tokenizer.json"),
        ("mixture.yaml", "other.yaml"),
    ] {
        std::fs::copy(tiny.path(from), tiny.path(to)).unwrap();
    }
    let run = |set: &[&str], out: &Path| {
        let recipe = tiny.recipe(&[&["train.max_steps=2"], set].concat());
        train_recipe(recipe, out, Choice::Cpu, Stop::never())
            .unwrap_or_else(|e| panic!("{set:?}: {e}"))
    };
    run(&[], &tiny.path("first"));
    std::fs::rename(tiny.path("first/export"), tiny.path("base")).unwrap();

    for (table, key) in keys() {
        let name = format!("{table}.{key}");
        let row = OTHER.iter().find(|(row, _)| *row == name);
        let (_, set) = row.unwrap_or_else(|| panic!("no test exercises {name}"));
        let (usual, other) = (tiny.recipe(&[]), tiny.recipe(set));
        assert_eq!(other.origin(table, key), Origin::Set, "{name}");
        let value = |recipe: &Recipe| recipe.resolved()[table].get(key).cloned();
        assert_ne!(value(&usual), value(&other), "{name} has the same value");
        run(set, &tiny.path(&format!("run-{name}")));
    }
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
