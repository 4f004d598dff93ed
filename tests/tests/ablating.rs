//! `xcomp ablate`: whole sweeps on a tiny model, their tables, and what a kill leaves behind.

#![cfg(feature = "video")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use xcomp_model::base::config::ModelConfig;
use xcomp_tests::{Task, llava_next_video, llava_video, windows_config};
use xcomp_train::ablate::sweep::Sweep;
use xcomp_train::demo::mini::Mini;
use xcomp_train::recipe::{Recipe, answer_compression};

const XCOMP: &str = env!("CARGO_BIN_EXE_xcomp-under-test");

/// A tiny task with questions, and recipes for a base and for what is tuned on it.
fn task() -> Task {
    let run = Task::pictures();
    let words = ["red", "green", "blue", "white"];
    let question = |index: usize| {
        json!({
            "video": format!("{index}.png"), "question": "Which colour is it?",
            "candidates": words, "answer": words[index % 4], "question_type": "colour",
        })
    };
    let questions: Vec<Value> = (0..8).map(question).collect();
    run.write("questions.json", &json!(questions).to_string());
    let recipe = fs::read_to_string(run.path("recipe.toml")).unwrap();
    run.write("tune.toml", &recipe.replace("init = \"random\"\n", ""));
    run
}

const HEAD: &str = r#"[sweep]
recipe = "tune.toml"
base = "recipe.toml"
seeds = [1, 2]
questions = "questions.json"
videos = "pictures"
frames = [8]
ask = ["--by", "likelihood"]
"#;

fn ablate(run: &Task, more: &[&str]) -> (i32, String, String) {
    let fixed = ["ablate", "sweep.toml", "--out", "sweep", "--device", "cpu"];
    let ended = run.run(&[&fixed, more].concat());
    (ended.code, ended.stdout, ended.stderr)
}

/// Every file of the trainings and examinations of a sweep with the time it was written.
fn written(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() && !entry.is_symlink() {
            found.extend(written(&entry));
        } else {
            found.push((entry.clone(), fs::symlink_metadata(&entry).unwrap().modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_sweep_over_learning_rate_and_schedule_becomes_a_table() {
    let run = task();
    let grid = "reference = \"schedule=none, learning_rate=0.01\"\n[grid]\n\
                compression.schedule = [\"none\", \"cosine\"]\n\
                optimizer.learning_rate = [1e-2]\n";
    run.write("sweep.toml", &[HEAD, grid].concat());

    let (code, plan, stderr) = ablate(&run, &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(plan.contains("5 trainings with 5 examinations, 0 trainings are finished"), "{plan}");
    assert!(!run.path("sweep/runs").exists(), "a dry run trains nothing");

    let (code, text, stderr) = ablate(&run, &["--jobs", "2"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(text.contains("| schedule=cosine, learning_rate=0.01 |"), "{text}");
    let table: Value =
        serde_json::from_slice(&fs::read(run.path("sweep/table.json")).unwrap()).unwrap();
    let rows = table["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(
            (&row["accuracy"]["seeds"], &row["accuracy"]["questions"]),
            (&json!(2), &json!(8))
        );
        assert_eq!(row["missing"], json!([]));
    }
    assert_eq!(rows[0]["mean_tokens"], 16.0);
    assert!(rows[1]["mean_tokens"].as_f64().unwrap() < 10.0);
    assert_eq!(table["base"]["tasks"][0]["task"], "colour");
    assert!((table["base"]["tasks"][0]["guess"].as_f64().unwrap() - 0.25).abs() < 1e-12);
    assert_eq!(fs::read_to_string(run.path("sweep/table.csv")).unwrap().lines().count(), 3);
    let page = fs::read_to_string(run.path("sweep/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("schedule=cosine"));
    for outside in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "the page reaches for {outside}");
    }

    let before = written(&run.path("sweep/runs"));
    let (code, again, stderr) = ablate(&run, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("5 trainings are finished"), "{stderr}");
    assert_eq!(before, written(&run.path("sweep/runs")), "nothing is done twice");
    let tables = |text: &str| text.split_once("## ").unwrap().1.to_owned();
    assert_eq!(tables(&text), tables(&again));
}

#[test]
fn arms_that_train_alike_share_a_training_and_untuned_arms_are_the_base() {
    let run = task();
    run.write(
        "sweep.toml",
        &[
            HEAD,
            "reference = \"untuned\"\n\
             [[arm]]\nname = \"untuned\"\nseeds = [1]\ntrain.max_steps = 1\noptimizer.learning_rate = 0.0\n\
             [[arm]]\nname = \"untuned, pruned\"\nseeds = [1]\ntrain.max_steps = 1\noptimizer.learning_rate = 0.0\n\
             compression.schedule = \"fastv\"\ncompression.step_layers = [3]\ncompression.step_shares = [0.5]\n\
             [[arm]]\nname = \"tuned\"\n\
             [[arm]]\nname = \"tuned, asked twice as much\"\neval.max_new_tokens = 2\n\
             [[table]]\ntitle = \"Table 1\"\narms = [\"untuned\", \"untuned, pruned\", \"tuned\"]\n\
             [[table.claim]]\ntext = \"tuning helps\"\nbetter = \"tuned\"\nthan = \"untuned\"\n",
        ]
        .concat(),
    );
    let (code, text, stderr) = ablate(&run, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("4 trainings with 7 examinations"), "{stderr}");
    assert!(text.contains("- tuning helps: "), "{text}");
    let table: Value =
        serde_json::from_slice(&fs::read(run.path("sweep/table.json")).unwrap()).unwrap();
    let all = table["base"]["tasks"][1]["estimate"]["mean"].clone();
    let rows = &table["tables"][0]["rows"];
    assert_eq!(rows[0]["accuracy"]["mean"], all, "nothing was tuned");
    // The recipe's cosine, and 16 tokens in three of nine layers before 8 in the others.
    let means = [&rows[0]["mean_tokens"], &rows[1]["mean_tokens"]];
    assert_eq!(means, [&json!(69.0 / 9.0), &json!(96.0 / 9.0)]);
    assert_eq!(rows[1]["missing"], json!([]));
}

/// Three bases; an arm with three seeds has one training from each, as an arm with one seed has.
#[test]
fn every_arm_is_trained_from_every_base_and_paired_within_it() {
    let run = task();
    let head = HEAD
        .replace("seeds = [1, 2]", "seeds = [1, 2, 3]\nbase_seeds = [42, 7, 8]\npair_seeds = true");
    let arms = "reference = \"untuned\"\n[[arm]]\nname = \"untuned\"\nseeds = [1]\ntrain.max_steps = 1\n\
                optimizer.learning_rate = 0.0\n[[arm]]\nname = \"tuned\"\n";
    run.write("sweep.toml", &[&head, arms].concat());
    let (code, plan, stderr) = ablate(&run, &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(plan.contains("9 trainings with 9 examinations, 0 trainings are finished"), "{plan}");

    for part in ["0/2", "1/2"] {
        let (code, _, stderr) = ablate(&run, &["--part", part, "--jobs", "2"]);
        assert_eq!(code, 0, "{stderr}");
    }
    let before = written(&run.path("sweep/runs"));
    let (code, text, stderr) = ablate(&run, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("9 trainings are finished"), "{stderr}");
    assert_eq!(before, written(&run.path("sweep/runs")), "nothing is done twice");
    assert!(text.contains("## The 3 bases, before any arm"), "{text}");
    assert!(text.contains("| 3 from 3 bases |"), "{text}");
    let table: Value =
        serde_json::from_slice(&fs::read(run.path("sweep/table.json")).unwrap()).unwrap();
    let seeds: Vec<&Value> =
        table["base"]["losses"].as_array().unwrap().iter().map(|base| &base["seed"]).collect();
    assert_eq!(seeds, [42, 7, 8]);
    let rows = table["tables"][0]["rows"].as_array().unwrap();
    let all = table["base"]["tasks"][1]["estimate"]["mean"].clone();
    assert_eq!(rows[0]["accuracy"]["mean"], all, "nothing was tuned");
    for estimate in [&rows[0]["accuracy"], &rows[1]["accuracy"], &rows[1]["difference"]] {
        assert_eq!((&estimate["seeds"], &estimate["bases"]), (&json!(3), &json!(3)));
        assert!(estimate["base_deviation"].is_f64() && estimate["seed_deviation"].is_null());
    }

    // The base as its recipe says has seed 42: a sweep without the key finds what is done from it.
    run.write("sweep.toml", &[HEAD, arms].concat());
    let (code, plan, stderr) = ablate(&run, &["--dry-run", "--seeds", "1"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(plan.contains("3 trainings with 3 examinations, 3 trainings are finished"), "{plan}");
}

#[test]
fn a_killed_sweep_loses_at_most_the_last_interval_of_the_run_at_work() {
    let run = task();
    let arms = "reference = \"a\"\n[[arm]]\nname = \"a\"\nseeds = [1]\ntrain.max_steps = 400\n\
                checkpoint.save_steps = 5\n";
    run.write("sweep.toml", &[HEAD, arms].concat());
    let mut sweep = Command::new(XCOMP)
        .args(["ablate", "sweep.toml", "--out", "sweep", "--device", "cpu"])
        .current_dir(run.path("."))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let at_work = loop {
        assert!(sweep.try_wait().unwrap().is_none(), "the sweep ended before it could be killed");
        if let Some(folder) = run_with_checkpoint(&run.path("sweep/runs"), 5) {
            break folder;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    // The training sees that its parent is gone, saves and ends: then nobody holds the folder.
    xcomp_train::run::folder::wait_for(&at_work).unwrap();
    let saved = newest(&at_work);
    assert!(saved >= 5 && !at_work.join("finished.json").exists(), "killed at step {saved}");
    let logged = steps(&at_work);

    let (code, _, stderr) = ablate(&run, &[]);
    assert_eq!(code, 0, "{stderr}");
    let (again, all) = (steps(&at_work), (1..=400).collect::<Vec<usize>>());
    let repeated = again.len() - all.len();
    assert!(repeated <= 5 && logged.len() <= saved + 5, "{repeated} steps were done again");
    assert!(all.iter().all(|step| again.contains(step)));
}

fn run_with_checkpoint(runs: &Path, save_steps: usize) -> Option<PathBuf> {
    let folders = fs::read_dir(runs).ok()?.map(|entry| entry.unwrap().path());
    // The base of this task saves every second step and has four.
    folders.into_iter().find(|run| {
        let newest = newest(run);
        newest > 4 && newest.is_multiple_of(save_steps)
    })
}

fn newest(run: &Path) -> usize {
    let folders = xcomp_train::train::checkpoint::Checkpoints::open(run).folders().unwrap();
    folders.last().map_or(0, |saved| saved.step)
}

/// Steps in the order in which they were logged.
fn steps(run: &Path) -> Vec<usize> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let step = |line: &str| -> Option<usize> {
        let record: Value = serde_json::from_str(line).ok()?;
        Some(record["step"].as_u64()? as usize)
    };
    text.lines().filter_map(step).collect()
}

/// The mini base of a sweep is of the family that a `config.json` describes.
#[test]
fn mini_bases_of_other_families_are_made_trained_and_tuned() {
    let mut windows = llava_video("grid");
    windows["mm_hidden_size"] = windows["hidden_size"].clone();
    let windows = windows_config(&windows.to_string());
    let models = [
        ("LLaVA-Video", llava_video("grid"), "cosine_full_first"),
        ("LLaVA-NeXT-Video", llava_next_video(), "cosine_full_first"),
        ("Video-XL", windows, "none"),
    ];
    for (family, config, schedule) in models {
        let run = Task::pictures();
        run.write("model.json", &config.to_string());
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("recipes");
        for name in ["mini.toml", "mini-base.toml"] {
            fs::copy(recipes.join("ablations").join(name), run.path(name)).unwrap();
        }
        let set = r#"["data.clip_frames=1", "data.min_frames=2", "data.max_frames=2", "train.max_steps=1"]"#;
        run.write(
            "sweep.toml",
            &format!(
                "[sweep]\nrecipe = \"mini.toml\"\nbase = \"mini-base.toml\"\nset = {set}\nbase_set = {set}\n\
                 seeds = [1]\nreference = \"tuned\"\nframes = [2]\nask = [\"--by\", \"likelihood\"]\n\
                 [world]\nconfig = \"model.json\"\ntrain_clips = 16\nvalidation_clips = 1\ntest_clips = 2\n\
                 [[arm]]\nname = \"tuned\"\ncompression.schedule = \"{schedule}\"\n"
            ),
        );
        let (code, text, stderr) = ablate(&run, &[]);
        assert_eq!(code, 0, "{family}: {stderr}");
        assert!(text.contains("| tuned |"), "{text}");
        let made = ModelConfig::from_file(&run.path("sweep/untrained/config.json")).unwrap();
        assert_eq!(made.family.name, family);
        // Another model is another world: what was made is not taken for it.
        let other = config.to_string().replace("1e-6", "1e-5").replace("1e-06", "1e-5");
        run.write("model.json", &other);
        let (code, _, stderr) = ablate(&run, &[]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("holds another world"), "{stderr}");
    }
}

#[test]
fn a_mini_base_with_two_sizes_or_none_is_refused() {
    let run = task();
    let sweep = |world: &str| {
        run.write(
            "sweep.toml",
            &format!("{HEAD}reference = \"a\"\n[[arm]]\nname = \"a\"\n[world]\nconfig = \"model.json\"\n{world}"),
        );
        let (code, _, stderr) = ablate(&run, &["--dry-run"]);
        assert_ne!(code, 0, "{stderr}");
        stderr
    };
    assert!(sweep("").contains("model.json"));
    run.write("model.json", &llava_video("grid").to_string());
    assert!(
        sweep("hidden_size = 8\n").contains("model.json sizes the model; leave out hidden_size")
    );
    run.write("model.json", "{}");
    assert!(sweep("").contains("model.json"));
}

/// The sweeps of the repository are sweeps, and their arms are recipes.
#[test]
fn the_sweeps_of_the_repository_fit_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("recipes/ablations");
    for name in [
        "paper.toml",
        "paper-quick.toml",
        "budget.toml",
        "budget-quick.toml",
        "llava-quick.toml",
        "learning-rate.toml",
        "group-order.toml",
    ] {
        let sweep = Sweep::load(&folder.join(name)).unwrap_or_else(|error| panic!("{error}"));
        for arm in &sweep.arms {
            let set = [sweep.head.set.clone(), arm.train.clone(), arm.eval.clone()].concat();
            Recipe::load(&sweep.head.recipe, &set).unwrap_or_else(|error| panic!("{error}"));
            if !arm.answers.is_empty() {
                answer_compression(&arm.answers).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        Recipe::load(&sweep.head.base.clone().unwrap(), &sweep.head.base_set).unwrap();
        let world: Mini = sweep.world.clone().unwrap().try_into().unwrap();
        assert!(world.test_clips > 0);
        if let Some(config) = world.config {
            ModelConfig::from_file(&folder.join(config)).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let shown = fs::read_to_string(folder.join("learning-rate.toml")).unwrap();
    let page = fs::read_to_string(folder.join("../../docs/ablations.md")).unwrap();
    assert!(page.contains(shown.trim()), "docs/ablations.md shows another learning-rate.toml");
}
