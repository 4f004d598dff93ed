//! Kept features of the frozen tower: the same run to the bit, whatever the cache holds, loses or shares.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xcomp_data::PythonRandom;
use xcomp_tests::Task;
use xcomp_train::data::Data;
use xcomp_train::machine::device::{self, Choice};
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::run::cache_fill::{self, FillReport, fill};
use xcomp_train::run::launch::train_recipe;
use xcomp_train::train::meter::Record;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xcomp-under-test");
const CACHE: &str = "data.feature_cache=\"features\"";
/// Samples of the tiny task, and how many of them its six steps of two take.
const SAMPLES: usize = 12;

/// Everything that a run computes, to the bit.
#[derive(Debug, PartialEq)]
struct Numbers {
    losses: Vec<(usize, u64, u64)>,
    files: BTreeMap<&'static str, String>,
}

/// Trains into a new folder; gives its numbers and how many samples came from the cache.
fn train(tiny: &Task, out: &str, set: &[&str]) -> (Numbers, u64) {
    let out = tiny.path(out);
    train_recipe(tiny.recipe(set), &out, Choice::Cpu, Stop::never())
        .unwrap_or_else(|error| panic!("{set:?}: {error}"));
    let records: Vec<Record> = xcomp_train::run::metrics::read(&out.join("metrics.jsonl"))
        .unwrap()
        .records
        .into_values()
        .collect();
    let losses =
        records.iter().map(|r| (r.step, r.loss.to_bits(), r.grad_norm.to_bits())).collect();
    let files = ["model.safetensors", "optimizer.safetensors", "train_state.json"]
        .map(|name| (name, size_and_sha256(&out.join("last").join(name)).unwrap().1))
        .into();
    (Numbers { losses, files }, records.iter().map(|record| record.cached).sum())
}

fn cache(tiny: &Task, set: &[&str], task: cache_fill::Task) -> FillReport {
    let recipe = tiny.recipe(&[&[CACHE], set].concat());
    let plan = Plan::new(recipe, Some(SAMPLES)).unwrap();
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let device = device::open(Choice::Cpu).unwrap().device;
    fill(&plan, &data, &device, task).unwrap()
}

fn filled(tiny: &Task) {
    let report = cache(tiny, &[], cache_fill::Task::Fill);
    assert_eq!((report.found, report.made, report.missing), (0, SAMPLES, 0), "{report}");
}

/// The store's only file.
fn store_file(tiny: &Task) -> std::path::PathBuf {
    tiny.path("features/000000.features")
}

fn delete_media(tiny: &Task) {
    std::fs::remove_dir_all(tiny.path("media")).unwrap();
}

#[test]
fn a_run_without_a_cache_one_that_fills_it_and_one_behind_it_are_the_same() {
    let formats: [(&str, &[&str]); 4] = [
        ("f32", &[]),
        ("bf16", &["train.dtype=\"bf16\""]),
        ("rounded", &["data.feature_format=\"bf16\""]),
        ("int8", &["data.feature_format=\"int8\""]),
    ];
    let mut first_losses = vec![];
    for (name, format) in formats {
        let tiny = Task::folders();
        let with = [&[CACHE], format].concat();
        let (plain, cached) = train(&tiny, "plain", format);
        assert_eq!(cached, 0, "{name}");
        let (filling, cached) = train(&tiny, "filling", &with);
        assert_eq!((&filling, cached), (&plain, 0), "{name}: while it is filled");
        delete_media(&tiny);
        let (behind, cached) = train(&tiny, "behind", &with);
        assert_eq!((&behind, cached), (&plain, SAMPLES as u64), "{name}: with no media left");
        first_losses.push(plain.losses[0].1);
    }
    first_losses.dedup();
    assert_eq!(first_losses.len(), 4, "every format has its own numbers");
}

#[test]
fn a_cache_filled_ahead_needs_no_media_and_tells_what_a_format_costs() {
    let tiny = Task::folders();
    let (plain, _) = train(&tiny, "plain", &[]);
    filled(&tiny);
    let again = cache(&tiny, &[], cache_fill::Task::Fill);
    assert_eq!((again.found, again.made, again.losses), (SAMPLES, 0, None));
    let int8 = cache(&tiny, &["data.feature_format=\"int8\""], cache_fill::Task::Fill);
    let ordered = cache(&tiny, &["compression.group_order=\"frame\""], cache_fill::Task::Fill);
    assert_eq!((ordered.found, ordered.made), (0, SAMPLES), "another order has its own features");
    let (exact, kept) = int8.losses.unwrap();
    assert_eq!((int8.found, int8.made), (0, SAMPLES));
    let off = (exact - kept).abs();
    assert!(off > 0.0 && off < 1e-2, "{exact} {kept}");
    delete_media(&tiny);
    assert_eq!(train(&tiny, "behind", &[CACHE]), (plain, SAMPLES as u64));
}

/// What may happen to a file of the store.
fn hurt(file: &Path, how: &str) {
    let mut bytes = std::fs::read(file).unwrap();
    let half = bytes.len() / 2;
    match how {
        "delete" => return std::fs::remove_file(file).unwrap(),
        "truncate" => bytes.truncate(half),
        "flip" => bytes[half] ^= 1,
        _ => bytes.fill(0),
    }
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_hurt_cache_changes_nothing_and_is_whole_again() {
    for how in ["delete", "truncate", "flip", "zero"] {
        let tiny = Task::folders();
        let (plain, _) = train(&tiny, "plain", &[]);
        filled(&tiny);
        hurt(&store_file(&tiny), how);
        let (after, cached) = train(&tiny, "after", &[CACHE]);
        assert_eq!(after, plain, "{how}");
        assert!(cached < SAMPLES as u64, "{how}: something is made anew");
        let repaired = cache(&tiny, &[], cache_fill::Task::Fill);
        assert_eq!((repaired.found + repaired.made, repaired.missing), (SAMPLES, 0), "{how}");
        delete_media(&tiny);
        assert_eq!(train(&tiny, "behind", &[CACHE]), (plain, SAMPLES as u64), "{how}");
    }
}

#[test]
fn a_check_names_damage_drops_it_and_counts_what_is_missing() {
    for (how, dropped, found) in [("delete", 0, 0..1), ("flip", 1, 11..12), ("truncate", 1, 1..12)]
    {
        let tiny = Task::folders();
        filled(&tiny);
        assert!(cache(&tiny, &[], cache_fill::Task::Verify).is_clean());
        hurt(&store_file(&tiny), how);
        let report = cache(&tiny, &[], cache_fill::Task::Verify);
        assert_eq!(report.check.as_ref().unwrap().dropped.len(), dropped, "{how}: {report}");
        assert!(found.contains(&report.found) && !report.is_clean(), "{how}: {report}");
        assert!(cache(&tiny, &[], cache_fill::Task::Fill).is_clean(), "{how}");
        assert!(cache(&tiny, &[], cache_fill::Task::Verify).is_clean(), "{how}");
    }
}

#[test]
fn other_weights_frames_or_media_find_nothing_stale() {
    let tiny = Task::folders();
    filled(&tiny);
    for other in [
        "train.seed=7",
        "data.max_frames=8",
        "data.min_frames=16",
        "data.fps=1.0",
        "data.clip_frames=1",
        "train.dtype=\"bf16\"",
        "data.feature_format=\"int8\"",
    ] {
        assert_eq!(cache(&tiny, &[other], cache_fill::Task::Verify).found, 0, "{other}");
    }
    for same in ["compression.keep=\"uniform\"", "tune.labels=\"answers\"", "data.workers=2"] {
        assert_eq!(cache(&tiny, &[same], cache_fill::Task::Verify).found, SAMPLES, "{same}");
    }
    let (one, other) = (tiny.path("media/picture_0.png"), tiny.path("media/picture_1.png"));
    std::fs::copy(other, one).unwrap();
    let frame = tiny.path("media/folder_1/frame_3.png");
    std::fs::copy(tiny.path("media/folder_2/frame_3.png"), frame).unwrap();
    let report = cache(&tiny, &[], cache_fill::Task::Verify);
    // The picture now has the bytes of another one, whose features are there.
    assert_eq!((report.found, report.missing), (SAMPLES - 1, 1), "{report}");
}

#[test]
fn a_small_limit_keeps_the_store_small_and_the_numbers_as_they_are() {
    let tiny = Task::folders();
    let (plain, _) = train(&tiny, "plain", &[]);
    let limit = 20_000_u64;
    let gib = format!("data.feature_cache_gib={:.12}", limit as f64 / (1_u64 << 30) as f64);
    for out in ["first", "second"] {
        assert_eq!(train(&tiny, out, &[CACHE, &gib]).0, plain);
        let files = std::fs::read_dir(tiny.path("features")).unwrap();
        let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= limit && bytes > 0, "{bytes}");
    }
}

fn start(tiny: &Task) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["data", "cache"]).arg(tiny.path("recipe.toml"));
    command.args(["--device", "cpu", "--set", CACHE]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn kills_and_a_second_process_leave_a_sound_store() {
    let tiny = Task::folders();
    let (plain, _) = train(&tiny, "plain", &[]);
    let begun = Instant::now();
    assert!(start(&tiny).wait().unwrap().success());
    let whole_ms = begun.elapsed().as_millis() as u32;
    let mut random = PythonRandom::new(3);
    for _ in 0..6 {
        std::fs::remove_dir_all(tiny.path("features")).unwrap();
        let mut children = [start(&tiny), start(&tiny)];
        std::thread::sleep(Duration::from_millis(random.randbelow(whole_ms + 20).into()));
        children[0].kill().unwrap();
        children[0].wait().unwrap();
        assert!(children[1].wait().unwrap().success());
        let report = cache(&tiny, &[], cache_fill::Task::Verify);
        assert_eq!((report.found, report.missing), (SAMPLES, 0), "{report}");
    }
    delete_media(&tiny);
    assert_eq!(train(&tiny, "behind", &[CACHE]), (plain, SAMPLES as u64));
}
