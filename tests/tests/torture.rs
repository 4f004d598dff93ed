//! Runs that are killed, signalled, out of time or out of disk.
//!
//! `XCOMP_TORTURE` says how many times the kill test kills (default 20; `make torture` 200).

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use xcomp_data::PythonRandom;
use xcomp_tests::{Task, kills};
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::train::checkpoint::Checkpoints;
use xcomp_train::train::checkpoint::manifest::damage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xcomp-under-test");

fn start(tiny: &Task, run: &Path, extra: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("train").arg(tiny.path("recipe.toml")).arg("--out").arg(run).args(extra);
    command.args(["--device", "cpu"]).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn finish(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

/// Hashes of weights, moments and everything else, the order of the next samples included.
fn fingerprint(run: &Path) -> BTreeMap<&'static str, String> {
    ["model.safetensors", "optimizer.safetensors", "train_state.json"]
        .map(|name| (name, size_and_sha256(&run.join("last").join(name)).unwrap().1))
        .into()
}

/// The newest step on disk; every published checkpoint must be whole.
fn newest(run: &Path) -> usize {
    let folders = Checkpoints::open(run).folders().unwrap();
    for saved in &folders {
        assert_eq!(damage(&saved.folder), None, "published but damaged");
    }
    if run.join("last").exists() {
        assert_eq!(damage(&run.join("last")), None);
    }
    folders.last().map_or(0, |saved| saved.step)
}

#[test]
fn kill_minus_nine_at_any_moment_loses_at_most_one_interval() {
    killed_runs_end_like_one_that_is_not(&[], kills());
}

/// With what draws random numbers at every step.
#[test]
fn kill_minus_nine_changes_no_drawn_number() {
    let adapters = ["--set", "tune.lora_rank=4", "--set", "tune.lora_dropout=0.25"];
    let narrow = ["--set", "train.weights_dtype=bf16", "--set", "optimizer.moments_dtype=int8"];
    for set in [[&adapters[..], &narrow[..2]].concat(), narrow.to_vec()] {
        killed_runs_end_like_one_that_is_not(&set, kills().div_ceil(4));
    }
}

fn killed_runs_end_like_one_that_is_not(set: &[&str], kills: usize) {
    let tiny = Task::folders();
    let steps = ["--set", "train.max_steps=40", "--set", "checkpoint.save_steps=1"];
    let steps = [&steps, set].concat();
    let whole = tiny.path("whole");
    let begun = Instant::now();
    assert!(finish(start(&tiny, &whole, &steps)).status.success());
    let (want, whole_ms) = (fingerprint(&whole), begun.elapsed().as_millis() as u32);

    let mut random = PythonRandom::new(7);
    let (mut killed, mut finished, mut inside_saves) = (0, 0, 0);
    while killed < kills || finished == 0 {
        let run: PathBuf = tiny.path(&format!("run-{finished}"));
        let before = newest(&run);
        let mut child = start(&tiny, &run, &steps);
        if killed < kills {
            let delay_ms = random.randbelow(whole_ms / 3 + 20);
            std::thread::sleep(Duration::from_millis(delay_ms.into()));
            child.kill().unwrap();
            killed += 1;
        }
        let done = finish(child).status.success();
        assert!(newest(&run) >= before, "a published checkpoint was lost");
        inside_saves += usize::from(partial(&run));
        if done {
            assert_eq!(fingerprint(&run), want, "after {killed} kills");
            finished += 1;
        }
    }
    say(&format!(
        "killed {killed} times ({inside_saves} inside a save), {finished} runs ended with the bits of the uninterrupted one"
    ));
}

/// Whether a kill left a half-written checkpoint.
fn partial(run: &Path) -> bool {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".partial-"))
}

/// A line that is seen although the test passes.
fn say(line: &str) {
    eprintln!("{line}");
}

const LONG: [&str; 4] = ["--set", "train.max_steps=120", "--set", "checkpoint.save_steps=0"];

/// Waits until a run has logged so many steps.
fn await_steps(run: &Path, steps: usize) {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        if text.lines().count() >= steps {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "the run does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_saves_and_exits_with_75_and_the_run_goes_on_exactly() {
    let tiny = Task::folders();
    let (whole, parts) = (tiny.path("whole"), tiny.path("parts"));
    assert!(finish(start(&tiny, &whole, &LONG)).status.success());
    for name in ["-TERM", "-INT"] {
        let child = start(&tiny, &parts, &LONG);
        await_steps(&parts, newest(&parts) + 5);
        signal(&child, name);
        let output = finish(child);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(75), "{err}");
        assert!(err.contains("by a signal; the same command goes on from there"), "{err}");
        assert!((5..120).contains(&newest(&parts)));
    }
    assert!(finish(start(&tiny, &parts, &LONG)).status.success());
    assert_eq!(fingerprint(&whole), fingerprint(&parts));
}

#[test]
fn a_budget_leaves_time_to_save() {
    let tiny = Task::folders();
    let run = tiny.path("run");
    let endless = ["--set", "train.max_steps=1000000", "--budget", "2s"];
    let output = finish(start(&tiny, &run, &endless));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(75), "{err}");
    assert!(err.contains("by the budget"), "{err}");
    assert!(newest(&run) > 0);
}

#[test]
fn a_kill_behind_the_last_step_is_made_up_for() {
    let tiny = Task::folders();
    let run = tiny.path("run");
    assert!(finish(start(&tiny, &run, &[])).status.success());
    let whole = fingerprint(&run);
    // As a kill leaves them between the last checkpoint, its link and the export.
    std::fs::remove_dir_all(run.join("export")).unwrap();
    std::fs::remove_file(run.join("last")).unwrap();
    std::os::unix::fs::symlink("checkpoint-4", run.join("last")).unwrap();
    assert_ne!(fingerprint(&run), whole);
    assert!(finish(start(&tiny, &run, &[])).status.success());
    assert_eq!(fingerprint(&run), whole);
    assert!(run.join("export/model.safetensors").is_file());
}

#[test]
fn two_processes_do_not_share_a_run() {
    let tiny = Task::folders();
    let run = tiny.path("run");
    let first = start(&tiny, &run, &LONG);
    await_steps(&run, 1);
    let second = finish(start(&tiny, &run, &LONG));
    assert_eq!(second.status.code(), Some(2));
    let err = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(err.contains("in use by another process"), "{err}");
    signal(&first, "-TERM");
    assert_eq!(finish(first).status.code(), Some(75));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let tiny = Task::folders();
    for run in [Path::new("/proc/xcomp-run"), &tiny.path("recipe.toml/run")] {
        let output = finish(start(&tiny, run, &[]));
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(
            err.contains("cannot create folder") && err.contains(run.to_str().unwrap()),
            "{err}"
        );
    }
}

/// A disk that grows full in the middle of a run: it ends with an error that says so, and goes on once there is room.
#[test]
fn a_full_disk_leaves_the_last_checkpoint_intact() {
    let tiny = Task::folders();
    let disk = tiny.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64m none {disk} || exit 99
         run() {{ {PROGRAM} train {recipe} --out {disk}/run --device cpu --set train.max_steps=200 --set checkpoint.save_steps=1; }}
         run & child=$!
         until test -d {disk}/run/checkpoint-5; do sleep 0.01; done
         head -c 64m /dev/zero > {disk}/filler 2> /dev/null
         wait $child; echo code $?
         ls {disk}/run | grep checkpoint- | head -1
         rm {disk}/filler; run; echo code $?
         sha256sum {disk}/run/last/model.safetensors",
        disk = disk.display(),
        recipe = tiny.path("recipe.toml").display(),
    );
    let unshare =
        Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &script]).output();
    let Ok(output) = unshare else { return say("SKIPPED a_full_disk: no `unshare` here") };
    if output.status.code() == Some(99) {
        return say("SKIPPED a_full_disk: this system mounts no tmpfs for users");
    }
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let codes: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("code ")).collect();
    assert_eq!(codes, ["1", "0"], "{out}\n{err}");
    // Whichever write met the full disk.
    let told = ["the last checkpoint is intact (", "No space left on device"];
    assert!(told.iter().any(|words| err.contains(words)), "{err}");
    assert!(out.contains("\ncheckpoint-"), "{out}");

    let whole = tiny.path("whole");
    let steps = ["--set", "train.max_steps=200", "--set", "checkpoint.save_steps=0"];
    assert!(finish(start(&tiny, &whole, &steps)).status.success());
    assert!(out.contains(&fingerprint(&whole)["model.safetensors"]), "{out}");
}
