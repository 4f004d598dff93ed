//! Promises of the loop that only whole runs can show: exact resume, accumulation, refusals.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::path::Path;

use xcomp_tests::{Task, read_tensors};
use xcomp_train::error::{EXIT_RECIPE, Error};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::machine::stop::Stop;
use xcomp_train::peers::Alone;
use xcomp_train::run::launch::{Launch, launch, train_recipe};
use xcomp_train::train::Summary;
use xcomp_train::train::checkpoint::Checkpoints;
use xcomp_train::train::checkpoint::manifest::damage;
use xcomp_train::train::meter::Record;

fn train(tiny: &Task, out: &Path, set: &[&str]) -> Result<Summary, Error> {
    train_recipe(tiny.recipe(set), out, Choice::Cpu, Stop::never())
}

/// Hashes of everything that decides what comes next.
fn fingerprint(run: &Path) -> BTreeMap<&'static str, String> {
    ["model.safetensors", "optimizer.safetensors", "train_state.json"]
        .map(|name| (name, size_and_sha256(&run.join("last").join(name)).unwrap().1))
        .into()
}

fn records(run: &Path) -> Vec<Record> {
    let records = xcomp_train::run::metrics::read(&run.join("metrics.jsonl")).unwrap().records;
    records.into_values().collect()
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let tiny = Task::folders();
    let (whole, parts) = (tiny.path("whole"), tiny.path("parts"));
    train(&tiny, &whole, &[]).unwrap();
    train(&tiny, &parts, &[]).unwrap();
    assert_eq!(fingerprint(&whole), fingerprint(&parts), "two runs agree");

    // Go back to step 4 as if the process had died before its last save: the newest folder is gone.
    std::fs::remove_dir_all(parts.join("checkpoint-6")).unwrap();
    assert_eq!(Checkpoints::open(&parts).latest().unwrap().0.unwrap().step, 4);
    // What only moves files and threads may change between starts.
    let summary = train(&tiny, &parts, &["data.workers=2", "data.prefetch_mib=1"]).unwrap();
    assert_eq!(summary.step, 6);
    assert_eq!(fingerprint(&whole), fingerprint(&parts), "the resumed run agrees");

    // One record per step, and the steps done twice had the same numbers.
    let (a, b) = (records(&whole), records(&parts));
    let numbers = |records: &[Record]| -> Vec<_> {
        records.iter().map(|r| (r.step, r.loss.to_bits(), r.grad_norm.to_bits())).collect()
    };
    assert_eq!(numbers(&a), numbers(&b));
    assert_eq!(a.len(), 6);
}

#[test]
fn truncated_and_deleted_checkpoints_are_passed_over() {
    let tiny = Task::folders();
    let (whole, hurt) = (tiny.path("whole"), tiny.path("hurt"));
    let keep_all = "checkpoint.save_total_limit=0";
    train(&tiny, &whole, &[keep_all]).unwrap();
    train(&tiny, &hurt, &[keep_all]).unwrap();
    std::fs::remove_file(hurt.join("checkpoint-4/optimizer.safetensors")).unwrap();
    let model = hurt.join("checkpoint-6/model.safetensors");
    let half = std::fs::read(&model).unwrap().len() as u64 / 2;
    std::fs::OpenOptions::new().write(true).open(&model).unwrap().set_len(half).unwrap();
    train(&tiny, &hurt, &[keep_all]).unwrap();
    assert_eq!(fingerprint(&whole), fingerprint(&hurt));
    assert_eq!(damage(&hurt.join("checkpoint-4")), None, "the redone steps publish it anew");
}

#[test]
fn a_changed_run_is_refused_with_every_difference() {
    let tiny = Task::folders();
    let out = tiny.path("run");
    train(&tiny, &out, &["train.max_steps=2"]).unwrap();
    let refused = |set: &[&str], want: &[&str]| {
        let error = train(&tiny, &out, set).unwrap_err();
        assert_eq!(error.exit_code(), EXIT_RECIPE);
        let text = error.to_string();
        assert!(want.iter().all(|want| text.contains(want)), "{text}");
    };
    refused(
        &["train.max_steps=2", "optimizer.learning_rate=0.5", "compression.schedule=none"],
        &[
            "[optimizer] learning_rate was 0.01, is 0.5",
            "[compression] schedule was \"cosine\", is \"none\"",
        ],
    );
    let text = std::fs::read_to_string(tiny.path("pictures.json")).unwrap();
    tiny.write("pictures.json", &text.replace("It is red.", "It is rose."));
    refused(&["train.max_steps=2"], &["sha256 of the mixture"]);
}

#[test]
fn a_named_checkpoint_is_gone_on_from_and_nothing_is_overtaken() {
    let tiny = Task::folders();
    let (whole, other) = (tiny.path("whole"), tiny.path("other"));
    train(&tiny, &whole, &[]).unwrap();
    let four = whole.join("checkpoint-4");
    let from = |out: &Path, set: &[&str], path: &Path| {
        let resume = Some(path);
        let (device, stop) = (Choice::Cpu, Stop::never());
        launch(tiny.recipe(set), Launch { out, resume, device, stop, peers: &Alone })
    };

    assert_eq!(from(&other, &[], &four).unwrap().step, 6);
    assert_eq!(fingerprint(&whole), fingerprint(&other));
    assert_eq!(records(&other).first().unwrap().step, 5, "only the steps behind it were done");
    // The same command again: the run has its own, newer checkpoint by now.
    assert_eq!(from(&other, &[], &four).unwrap().step, 6);

    let refused = |result: Result<Summary, Error>, want: &[&str]| {
        let text = result.unwrap_err().to_string();
        assert!(want.iter().all(|want| text.contains(want)), "{text}");
    };
    refused(from(&whole, &[], &four), &["checkpoint-4", "checkpoint-6 is newer", "--out"]);
    let fresh = tiny.path("fresh");
    refused(
        from(&fresh, &["optimizer.learning_rate=0.5"], &four),
        &["belongs to another run", "[optimizer] learning_rate was 0.01, is 0.5"],
    );
    std::fs::remove_file(four.join("optimizer.safetensors")).unwrap();
    refused(from(&fresh, &[], &four), &["checkpoint-4", "optimizer.safetensors"]);
    refused(from(&fresh, &[], &tiny.path("nowhere")), &["nowhere", "MANIFEST"]);
}

/// Saves without moments are for exports; a run that a signal stops is saved whole all the same.
#[test]
fn a_run_without_moments_goes_on_only_from_a_stop() {
    let tiny = Task::folders();
    let set = ["checkpoint.moments=false", "checkpoint.save_steps=2"];
    let out = tiny.path("run");
    train(&tiny, &out, &set).unwrap();
    assert!(!out.join("last/optimizer.safetensors").exists());
    assert!(out.join("export/model.safetensors").is_file());
    std::fs::remove_dir_all(out.join("checkpoint-6")).unwrap();
    let refused = train(&tiny, &out, &set).unwrap_err().to_string();
    assert!(["checkpoint-4", "without moments", "export it"].iter().all(|w| refused.contains(w)));

    let set = [&set[..], &["train.gradient_accumulation_steps=1"]].concat();
    let weights = |run: &Path| size_and_sha256(&run.join("last/model.safetensors")).unwrap().1;
    let whole = tiny.path("whole");
    train(&tiny, &whole, &set).unwrap();
    // Behind step 2, which has just been saved without moments, and behind step 3, which has not been saved.
    for steps in [2, 3] {
        let run = tiny.path(&format!("stopped-{steps}"));
        let ended = train_recipe(tiny.recipe(&set), &run, Choice::Cpu, Stop::after_looks(steps));
        assert!(matches!(ended, Err(Error::Stopped { step, .. }) if step == steps), "{ended:?}");
        train(&tiny, &run, &set).unwrap();
        assert_eq!(weights(&run), weights(&whole), "{steps}");
    }
}

/// First moments after one step are the clipped gradient, scaled alike in both runs.
fn gradients(run: &Path) -> Vec<f32> {
    let moments = read_tensors(&run.join("last/optimizer.safetensors"));
    let means = moments.iter().filter(|(name, _)| name.starts_with("exp_avg."));
    means.flat_map(|(_, tensor)| tensor.f32().to_vec()).collect()
}

/// The distance of two vectors over the length of the first.
fn relative_distance(a: &[f32], b: &[f32]) -> f64 {
    let square =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    (difference / square(&mut a.iter().copied().map(f64::from))).sqrt()
}

#[test]
fn accumulation_of_four_ones_is_one_of_four() {
    let tiny = Task::folders();
    for norm in ["sample", "token"] {
        let norm = format!("train.loss_norm={norm}");
        let run = |batch: &str, accumulation: &str| {
            let out = tiny.path(&format!("{norm}-{batch}"));
            let batch = format!("train.per_device_batch_size={batch}");
            let accumulation = format!("train.gradient_accumulation_steps={accumulation}");
            train(&tiny, &out, &[&norm, &batch, &accumulation, "train.max_steps=1"]).unwrap();
            (records(&out).remove(0), gradients(&out))
        };
        let ((one, ones), (four, fours)) = (run("1", "4"), run("4", "1"));
        let off = |a: f64, b: f64| (a - b).abs() / a;
        let found = [
            off(one.loss, four.loss),
            off(one.grad_norm, four.grad_norm),
            relative_distance(&ones, &fours),
        ];
        eprintln!("{norm}: loss, gradient norm and gradients differ by {found:?}");
        assert!(ones.len() == fours.len() && found.iter().all(|off| *off <= 1e-6), "{found:?}");
    }
}

#[test]
fn recompute_trains_the_same_model() {
    let tiny = Task::folders();
    let losses = |recompute: &str, dtype: &str| -> Vec<f64> {
        let out = tiny.path(&format!("{recompute}-{dtype}"));
        let set = [format!("train.recompute={recompute}"), format!("train.dtype={dtype}")];
        train(&tiny, &out, &set.each_ref().map(String::as_str)).unwrap();
        records(&out).iter().map(|record| record.loss).collect()
    };
    // bf16 has eight bits behind the leading one: two roundings of a number are at most so far apart.
    for (dtype, bound) in [("f32", 1e-4), ("bf16", 2.0_f64.powi(-8))] {
        let (kept, again) = (losses("none", dtype), losses("layer", dtype));
        assert!(kept.len() == 6 && again.len() == 6, "{dtype}");
        let off: Vec<f64> = kept.iter().zip(&again).map(|(a, b)| (a - b).abs() / a).collect();
        println!("{dtype}: losses differ by {off:?}");
        assert!(off.iter().all(|off| *off < bound), "{dtype}: {off:?}");
    }
}

/// With a tuned tower, which runs again clip by clip, and with a projector that long videos do not teach.
#[test]
fn a_tuned_tower_learns_the_same_with_recompute() {
    let tiny = Task::folders();
    let train_as = |recompute: &str, more: &[&str]| {
        let out = tiny.path(&format!("{recompute}-{}", more.len()));
        let recompute = format!("train.recompute={recompute}");
        let parts = "tune.parts=[\"vision\", \"projector\", \"llm\"]";
        train(&tiny, &out, &[&[parts, recompute.as_str()], more].concat()).unwrap();
        let weights = out.join("last/model.safetensors");
        (records(&out), read_tensors(&weights))
    };
    for more in [&[][..], &["tune.projector_gradient_below_frames=1"]] {
        let (kept, kept_weights) = train_as("none", more);
        let (again, again_weights) = train_as("layer", more);
        for (kept, again) in kept.iter().zip(&again) {
            let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * a.abs();
            assert!(near(kept.loss, again.loss) && near(kept.grad_norm, again.grad_norm));
        }
        assert!(kept_weights.keys().eq(again_weights.keys()));
        let towers = kept_weights.keys().filter(|name| name.contains("vision_tower")).count();
        assert!(towers > 10, "{towers} tensors of the tower are tuned");
    }
}

/// What may change the last bits of later steps is never refused, but told and written down.
#[test]
fn a_resume_on_another_device_version_or_recompute_is_noted() {
    let tiny = Task::pictures();
    let start = |set: &[&str]| {
        let set = set.iter().flat_map(|key| ["--set", key]);
        let ended = tiny.run(
            &["train", "recipe.toml", "--out", "run"].into_iter().chain(set).collect::<Vec<_>>(),
        );
        assert_eq!(ended.code, 0, "{ended:?}");
        std::fs::remove_dir_all(tiny.path("run/checkpoint-4")).unwrap();
        let text = std::fs::read_to_string(tiny.path("run/env.json")).unwrap();
        let environment: serde_json::Value = serde_json::from_str(&text).unwrap();
        (ended.stderr, environment)
    };
    let told = "steps after 2 may differ from those of the run as it was in their last bits";
    let (said, mut environment) = start(&[]);
    let own = environment["footings"].clone();
    assert!(!said.contains(told) && own[0]["after_step"] == 0, "{said} {own}");
    assert!(!start(&[]).0.contains(told), "nothing has changed");
    let (said, changed) = start(&["train.recompute=layer"]);
    assert!(said.contains(&format!("recompute was false, is true: {told}")), "{said}");
    assert_eq!(changed["footings"].as_array().unwrap().len(), 2);

    // As if the steps before had been taken on a card, by an older version of the program.
    environment["footings"][0]["device"] = "Cuda".into();
    environment["footings"][0]["numerics"] = 0.into();
    tiny.write("run/env.json", &environment.to_string());
    let (said, changed) = start(&[]);
    let (now, numerics) = (own[0]["device"].as_str().unwrap(), &own[0]["numerics"]);
    let both = format!(
        "the kind of device was Cuda, is {now}; the version of the numbers was 0, is {numerics}"
    );
    assert!(said.contains(&both) && said.contains(told), "{said}");
    assert_eq!(changed["footings"][0]["device"], "Cuda");
    assert_eq!(changed["footings"][1]["after_step"], 2);
}

#[test]
fn the_export_reloads_to_the_same_weights() {
    let tiny = Task::folders();
    let out = tiny.path("run");
    train(&tiny, &out, &[]).unwrap();
    let [tuned, exported] =
        ["last", "export"].map(|folder| read_tensors(&out.join(folder).join("model.safetensors")));
    assert!(exported.len() > tuned.len(), "frozen weights are exported too");
    for (name, tensor) in &tuned {
        assert_eq!(exported.get(name), Some(tensor), "{name}");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_with_the_state_before_it() {
    let tiny = Task::folders();
    let out = tiny.path("run");
    // A rate that blows the weights up.
    let set =
        ["optimizer.learning_rate=1e30", "schedule.warmup_ratio=0", "optimizer.max_grad_norm=0"];
    let error = train(&tiny, &out, &set).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    let Error::NonFinite { step, .. } = error else { panic!("{error}") };
    let last = records(&out).pop().unwrap();
    assert!(last.step == step && !(last.loss.is_finite() && last.grad_norm.is_finite()));
    assert_eq!(damage(&out.join(format!("non_finite/checkpoint-{}", step - 1))), None);

    let skipped = tiny.path("skipped");
    let set = [&set[..], &["train.on_non_finite=skip"]].concat();
    assert_eq!(train(&tiny, &skipped, &set).unwrap().step, 6);
}

/// Steps on the way to a replayed one add gradients lane by lane, as the run did.
#[test]
fn a_replay_goes_through_the_steps_of_a_run_with_lanes() {
    let task = Task::folders();
    let lanes = ["train.lanes=4", "train.gradient_accumulation_steps=4", "train.balance=true"];
    let replayed = |name: &str, save_steps: &str| {
        let set = [&lanes[..], &[save_steps, "checkpoint.save_total_limit=0"]].concat();
        train(&task, &task.path(name), &set).unwrap();
        let ended =
            task.run(&["replay", name, "--step", "5", "--format", "json", "--device", "cpu"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        (report["from"].as_u64().unwrap(), report["micro"].clone())
    };
    let (from_start, far) = replayed("far", "checkpoint.save_steps=0");
    let (from_before, near) = replayed("near", "checkpoint.save_steps=4");
    assert_eq!((from_start, from_before), (0, 4));
    assert_eq!(far, near);
}
