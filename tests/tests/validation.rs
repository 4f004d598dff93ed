//! Held-out samples: what their loss is, that it moves no number of the training, and what follows from it.

#![cfg(feature = "video")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::Device;
use xcomp_data::load_example;
use xcomp_tests::Task;
use xcomp_train::data::Data;
use xcomp_train::data::collate::{VisualInput, collate};
use xcomp_train::error::Error;
use xcomp_train::export::{find_checkpoint, tuned_model};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::files::{read_text, size_and_sha256};
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::run::launch::{planned, train_recipe};
use xcomp_train::run::list::Runs;
use xcomp_train::run::metrics::Recorded;
use xcomp_train::train::Summary;
use xcomp_train::train::held_out::HeldOut;

const FOLDERS: &str = "datasets:
  - json_path: folders.json
    data_root: media
    video_read_type: img
";
const WATCHED: [&str; 2] = ["data.validation_mixture=held.yaml", "eval.every_steps=1"];

fn task() -> Task {
    let task = Task::folders();
    task.write("held.yaml", FOLDERS);
    task
}

fn train(task: &Task, out: &Path, set: &[&str]) -> Result<Summary, Error> {
    train_recipe(task.recipe(set), out, Choice::Cpu, Stop::never())
}

fn hash(run: &Path, name: &str) -> String {
    size_and_sha256(&run.join(name)).unwrap().1
}

fn held_out(run: &Path) -> BTreeMap<usize, HeldOut> {
    Recorded::of_run(run).unwrap().held_out
}

fn losses(run: &Path) -> Vec<(usize, u64)> {
    held_out(run).into_iter().map(|(step, held)| (step, held.eval_loss.0.to_bits())).collect()
}

#[test]
fn validation_moves_no_number_of_the_training() {
    let task = task();
    let (plain, watched) = (task.path("plain"), task.path("watched"));
    train(&task, &plain, &["log.logging_steps=3"]).unwrap();
    let set = [&WATCHED[..], &["log.logging_steps=3", "log.tensorboard=true"]].concat();
    train(&task, &watched, &set).unwrap();
    for name in ["last/model.safetensors", "last/optimizer.safetensors", "export/model.safetensors"]
    {
        assert_eq!(hash(&plain, name), hash(&watched, name), "{name}");
    }
    assert!(!read_text(&plain.join("last/train_state.json")).unwrap().contains("validated"));
    assert!(held_out(&plain).is_empty());
    let found = held_out(&watched);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(found.values().all(|held| (held.eval_samples, held.eval_left_out) == (3, 0)));
    let state: serde_json::Value =
        serde_json::from_str(&read_text(&watched.join("trainer_state.json")).unwrap()).unwrap();
    let log = state["log_history"].as_array().unwrap();
    let told: Vec<_> = log.iter().filter_map(|line| line["eval_loss"].as_f64()).collect();
    assert_eq!(told, found.values().map(|held| held.eval_loss.0).collect::<Vec<_>>());
}

/// The loss of the saved weights, sample by sample, by other means.
fn loss_of(plan: &Plan, run: &Path, data: &Data) -> f64 {
    let device = Device::flex();
    let model = tuned_model(plan, &find_checkpoint(run, None).unwrap(), &device).unwrap();
    let records = data.held_out.as_ref().unwrap().records();
    let loss = |(index, record)| {
        let example = load_example(record, index, data.load_options()).unwrap();
        let (prompt, visuals) = collate(example, plan.recipe.data.clip_frames).unwrap();
        let encoded = visuals.iter().map(|visual| match visual {
            VisualInput::Clips(clips, _) => model.encode(clips, &device, plan.encoding()),
            VisualInput::Features(_) => panic!("no cache was asked"),
        });
        let merged = vec![encoded.collect()];
        let (loss, weight) = model.loss(&[prompt], merged, &plan.compression, plan.loss_norm());
        f64::from(loss.into_scalar::<f32>()) / weight as f64
    };
    let losses: Vec<f64> = records.iter().enumerate().map(loss).collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn the_loss_is_that_of_the_weights_and_the_split_parts_media() {
    let task = task();
    // Two questions on every medium, so that a split by samples would be seen.
    for name in ["pictures.json", "folders.json"] {
        let mut records: Vec<serde_json::Value> =
            serde_json::from_str(&read_text(&task.path(name)).unwrap()).unwrap();
        records.extend(records.clone());
        task.write(name, &serde_json::Value::from(records).to_string());
    }
    let set = ["data.validation_share=0.34", "eval.samples=0"];
    let run = task.path("run");
    train(&task, &run, &set).unwrap();
    let plan = planned(task.recipe(&set)).unwrap();
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let held = data.held_out.as_ref().unwrap();
    assert_eq!((plan.samples.count, data.mixture.len(), held.len()), (16, 16, 8));
    let media = |mixture: &xcomp_data::Mixture| -> BTreeSet<_> {
        mixture.records().iter().flat_map(xcomp_data::Record::paths).collect()
    };
    assert!(media(&data.mixture).is_disjoint(&media(held)));
    let found = held_out(&run);
    // Before every save: the recipe saves every second step.
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [2, 4, 6]);
    let (got, want) = (found[&6].eval_loss.0, loss_of(&plan, &run, &data));
    assert!((got - want).abs() <= 1e-6 * want, "{got} {want}");
    assert_eq!(found[&6].eval_samples, 8);
}

/// Weights that stay, a step over all samples, the same samples held out: both losses are the mean over them.
#[test]
fn the_loss_is_that_of_a_step_for_models_that_read_in_windows_too() {
    let task = task();
    let windows = xcomp_tests::windows_config(&read_text(&task.path("config.json")).unwrap());
    task.write("windows.json", &windows.to_string());
    let still = [
        "data.validation_mixture=mixture.yaml",
        "optimizer.learning_rate=0",
        "train.gradient_accumulation_steps=12",
        "train.max_steps=1",
    ];
    let in_windows =
        ["model.config=windows.json", "compression.schedule=none", "data.clip_frames=1"];
    for (name, more) in [("whole", &[][..]), ("windows", &in_windows)] {
        let run = task.path(name);
        train(&task, &run, &[&still[..], more].concat()).unwrap();
        let Recorded { records, held_out, .. } = Recorded::of_run(&run).unwrap();
        let (want, got) = (records[&1].loss, held_out[&1].eval_loss.0);
        assert_eq!((records[&1].samples, held_out[&1].eval_samples), (12, 12));
        assert!((got - want).abs() <= 1e-5 * want, "{name}: {got}, not {want}");
    }
}

#[test]
fn the_best_is_that_of_the_held_out_loss_and_patience_ends_the_run() {
    let task = task();
    let run = task.path("run");
    let rising = ["optimizer.learning_rate=3.0", "schedule.warmup_ratio=0", "train.max_steps=20"];
    let saves = ["checkpoint.save_steps=1", "checkpoint.save_total_limit=1"];
    let patient = ["checkpoint.keep_best=true", "train.early_stopping_patience=3"];
    let set = [&WATCHED[..1], &rising, &saves, &patient].concat();
    let summary = train(&task, &run, &set).unwrap();
    let found = held_out(&run);
    let lowest = found.values().min_by(|a, b| a.eval_loss.0.total_cmp(&b.eval_loss.0)).unwrap();
    assert_eq!(summary.step, lowest.step + 3, "{found:?}");
    assert!(summary.step < 20 && found.len() == summary.step);
    for step in [lowest.step, summary.step] {
        assert!(run.join(format!("checkpoint-{step}/MANIFEST")).is_file(), "{step}");
    }
    assert!(run.join("export/config.json").is_file());
    assert!(Runs::of(&run).unwrap().to_string().contains("finished"));
    // Nothing is left to do, unless it may wait longer.
    let before = hash(&run, "last/model.safetensors");
    assert_eq!(train(&task, &run, &set).unwrap().step, summary.step);
    assert_eq!(hash(&run, "last/model.safetensors"), before);
    let longer = [&set[..], &["train.early_stopping_patience=5"]].concat();
    let went_on = train(&task, &run, &longer).unwrap().step;
    assert_eq!(went_on, summary.step + 2);
}

/// Stopped between two held-out samples, after every step: nothing is measured twice, and nothing is another number.
#[test]
fn a_run_that_is_stopped_in_a_validation_goes_on_with_the_same_bits() {
    let task = task();
    task.write("held.yaml", &format!("{FOLDERS}    weight: 4\n"));
    let (whole, parts) = (task.path("whole"), task.path("parts"));
    let more = ["checkpoint.keep_best=true", "train.max_steps=4", "eval.samples=0"];
    let set = [&WATCHED[..], &more].concat();
    train(&task, &whole, &set).unwrap();
    let mut cut_short = 0;
    // A stop is looked at before every micro-batch and before every held-out sample.
    for looks in [3, 4, 3] {
        let stop = Stop::after_looks(looks);
        let ended = train_recipe(task.recipe(&set), &parts, Choice::Cpu, stop);
        assert!(matches!(ended, Err(Error::Stopped { .. })), "{ended:?}");
        let state = read_text(&parts.join("last/train_state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        let found = state["validated"]["found"].as_array().unwrap().len();
        cut_short += usize::from(found > 0);
    }
    assert!(cut_short > 0);
    train(&task, &parts, &set).unwrap();
    for name in ["model.safetensors", "optimizer.safetensors", "train_state.json"] {
        let name = format!("last/{name}");
        assert_eq!(hash(&whole, &name), hash(&parts, &name), "{name}");
    }
    assert_eq!(losses(&whole), losses(&parts));
}

#[test]
fn media_that_are_trained_on_and_held_out_are_told() {
    let task = task();
    let told = |set: &str| {
        let arguments = ["train", "recipe.toml", "--out", "run", "--device", "cpu", "--set", set];
        let more = ["--set", "eval.every_steps=1", "--set", "train.max_steps=1"];
        let ended = task.run(&[&arguments[..], &more].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        std::fs::remove_dir_all(task.path("run")).unwrap();
        ended.stderr
    };
    let line = "3 media of [data] validation_mixture are trained on as well";
    assert!(told("data.validation_mixture=held.yaml").contains(line));
    assert!(!told("data.validation_share=0.2").contains("trained on as well"));
}

#[test]
fn held_out_samples_that_cannot_be_used_are_told_before_the_first_step() {
    let task = task();
    let broken = read_text(&task.path("folders.json")).unwrap().replace("folder_", "gone_");
    task.write("broken.json", &broken);
    task.write("held.yaml", &FOLDERS.replace("folders.json", "broken.json"));
    let run = task.path("run");
    let error = train(&task, &run, &WATCHED).unwrap_err().to_string();
    assert!(error.contains("held.yaml"), "{error}");
    // Two of three are there.
    let mixed = read_text(&task.path("folders.json")).unwrap().replacen("folder_0", "gone_0", 2);
    task.write("broken.json", &mixed);
    train(&task, &run, &WATCHED).unwrap();
    let found = held_out(&run);
    assert!(found.values().all(|held| (held.eval_samples, held.eval_left_out) == (2, 1)));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let task = task();
    let refused = |set: &[&str], want: &str| {
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        let loaded = xcomp_train::recipe::Recipe::load(&task.path("recipe.toml"), &set);
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    };
    refused(
        &["data.validation_share=0.5", "data.validation_mixture=held.yaml"],
        "give one of them",
    );
    refused(&["data.validation_share=1.0"], "1 excluded");
    refused(&["train.early_stopping_patience=2"], "nothing is held out");
    let set = ["data.validation_share=0.99"];
    let error = train(&task, &task.path("run"), &set).unwrap_err().to_string();
    assert!(error.contains("leaves none to train on"), "{error}");
}
