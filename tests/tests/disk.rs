//! Disks that are too small or grow full, and files that may not grow: told early, at once, and truly.

#![cfg(feature = "video")]

use std::path::Path;
use std::process::Command;

use xcomp_tests::{Ended, Task};
use xcomp_train::machine::files::{entries, size_of};
use xcomp_train::run::launch::planned;
use xcomp_train::run::metrics;
use xcomp_train::train::checkpoint::Checkpoints;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xcomp-under-test");

fn train<'a>(out: &'a str, set: &'a [&'a str]) -> Vec<&'a str> {
    let set = set.iter().flat_map(|key| ["--set", key]);
    ["train", "recipe.toml", "--out", out].into_iter().chain(set).collect()
}

/// As [`Task::run`], with no file larger than so many KiB.
fn run_limited(task: &Task, kib: u64, arguments: &[&str]) -> Ended {
    let script = format!("ulimit -f {kib}; exec \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script, PROGRAM]).args(arguments).current_dir(task.path(""));
    Ended::of(&mut command)
}

/// Everything in a folder and below it that is still being written, or was when its process ended.
fn half_written(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    for path in entries(folder).unwrap() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            found.extend(half_written(&path));
        }
        if ["partial", ".trash-", ".last-", ".tmp"].iter().any(|part| name.contains(part)) {
            found.push(name);
        }
    }
    found
}

fn steps_logged(run: &Path) -> usize {
    metrics::read(&run.join("metrics.jsonl")).map_or(0, |read| read.records.len())
}

/// No disk takes the checkpoints of so many steps, where all of them stay.
const TOO_MUCH: [&str; 3] =
    ["train.max_steps=1000000000", "checkpoint.save_steps=1", "checkpoint.save_total_limit=0"];

#[test]
fn a_run_that_its_disk_cannot_take_ends_before_its_first_step() {
    let task = Task::pictures();
    let ended = task.run(&train("run", &TOO_MUCH));
    assert_eq!(ended.code, 1, "{ended:?}");
    for words in ["run: ", " bytes, ", " are free; make room", "save_total_limit", "no step"] {
        assert!(ended.stderr.contains(words), "no `{words}` in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("intact"), "{ended:?}");
    assert_eq!(steps_logged(&task.path("run")), 0);
    assert!(Checkpoints::open(&task.path("run")).folders().unwrap().is_empty());

    // A checkpoint that is there changes what is said, not that it is said.
    let three = ["train.max_steps=3", "checkpoint.save_steps=1", "checkpoint.save_total_limit=0"];
    assert_eq!(task.run(&train("resumed", &three)).code, 0);
    let ended = task.run(&train("resumed", &TOO_MUCH));
    assert_eq!(steps_logged(&task.path("resumed")), 3, "{ended:?}");
    assert_ne!(ended.code, 0);
}

#[test]
fn the_room_that_is_asked_for_is_what_comes_to_what_is_there() {
    let task = Task::pictures();
    let plan = |set: &[&str]| planned(task.recipe(set)).unwrap();
    let twelve = "train.max_steps=12";
    let five = plan(&[twelve, "checkpoint.save_steps=5", "checkpoint.save_total_limit=0"]);
    let counts = |step, present| {
        let count = five.checkpoints_behind(step, present);
        (count.most, count.left)
    };
    // Saves at 5, 10 and 12.
    assert_eq!([counts(0, 0), counts(5, 1), counts(10, 2), counts(12, 3)], [(3, 3); 4]);
    let last = plan(&[twelve, "checkpoint.save_steps=0"]).checkpoints_behind(0, 0);
    assert_eq!((last.most, last.left), (1, 1));
    let best = plan(&[twelve, "checkpoint.save_steps=2", "checkpoint.keep_best=true"]);
    let best = best.checkpoints_behind(4, 2);
    assert_eq!((best.most, best.left), (4, 3), "two newest, the best, and the one being written");
}

#[test]
fn a_save_that_fails_is_told_before_the_next_one_and_leaves_nothing_behind() {
    let task = Task::pictures();
    // A save cannot put its link where a folder is.
    std::fs::create_dir_all(task.path("run/last/in the way")).unwrap();
    let set = ["train.max_steps=300", "checkpoint.save_steps=100"];
    let ended = task.run(&train("run", &set));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("cannot link run/last: "), "{ended:?}");
    let run = task.path("run");
    assert!((100..200).contains(&steps_logged(&run)), "{} steps", steps_logged(&run));
    assert_eq!(half_written(&run), Vec::<String>::new());
}

#[test]
fn a_checkpoint_larger_than_a_file_may_be_is_told_before_the_first_step() {
    let task = Task::pictures();
    let ended = run_limited(&task, 64, &train("run", &["checkpoint.save_steps=0"]));
    assert_eq!(ended.code, 1, "{ended:?}");
    for words in ["cannot write run/optimizer.safetensors", "65536", "ulimit -f", "no step"] {
        assert!(ended.stderr.contains(words), "no `{words}` in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("intact") && steps_logged(&task.path("run")) == 0, "{ended:?}");
}

#[test]
fn a_file_that_may_not_grow_is_named_and_keeps_whole_lines() {
    let task = Task::pictures();
    assert_eq!(task.run(&train("base", &[])).code, 0);
    let kib = size_of(&task.path("base/last/optimizer.safetensors")) / 1024 + 64;
    // As a long run has filled it, but for a few records.
    let filled = " ".repeat((kib * 1024 - 2500) as usize) + "{}\n";
    std::fs::create_dir(task.path("run")).unwrap();
    task.write("run/metrics.jsonl", &filled);
    let set = ["train.max_steps=20", "checkpoint.save_steps=0"];
    let ended = run_limited(&task, kib, &train("run", &set));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("metrics.jsonl: File too large"), "{ended:?}");
    let text = std::fs::read_to_string(task.path("run/metrics.jsonl")).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() > 2, "{}", text.trim());
    assert_eq!(half_written(&task.path("run")), Vec::<String>::new());
}

#[test]
fn leftovers_of_dead_processes_go_at_the_next_start() {
    let task = Task::pictures();
    assert_eq!(task.run(&train("run", &["train.max_steps=2"])).code, 0);
    // No process has such a number: the largest is 4194304.
    for name in
        ["plan.partial-4194399", "trainer_state.partial-4194399", "export/x.partial-4194399"]
    {
        task.write(&format!("run/{name}"), "half");
    }
    std::fs::create_dir_all(task.path("run/.partial-checkpoint-4-4194399")).unwrap();
    std::fs::create_dir_all(task.path("run/.trash-checkpoint-1-4194399")).unwrap();
    std::os::unix::fs::symlink("checkpoint-2", task.path("run/.last-4194399")).unwrap();
    let ended = task.run(&train("run", &["train.max_steps=2"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(half_written(&task.path("run")), Vec::<String>::new());
}
