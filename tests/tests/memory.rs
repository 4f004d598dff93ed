//! Memory over a long run, and a run that may take less than it needs.

#![cfg(feature = "video")]

use xcomp_tests::Task;

/// What a process of that many steps may still grow by, in MiB, once its caches are warm.
const SLACK_MIB: f64 = 8.0;

#[test]
fn three_hundred_steps_hold_no_more_than_a_hundred() {
    let run = Task::pictures();
    let arguments = [
        "train",
        "recipe.toml",
        "--out",
        "run",
        "--device",
        "cpu",
        "--set",
        "train.max_steps=300",
        "--set",
        "log.logging_steps=50",
        "--set",
        "checkpoint.save_steps=100",
    ];
    let ended = run.run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    let records = xcomp_train::run::metrics::read(&run.path("run/metrics.jsonl")).unwrap().records;
    let held_mib = |step: usize| 1024.0 * records[&step].rss_gib;
    let steps = [50, 100, 150, 200, 250, 300];
    let figures: Vec<String> =
        steps.iter().map(|step| format!("{step}: {:.1}", held_mib(*step))).collect();
    eprintln!("MiB of the process after so many steps: {}", figures.join(", "));
    for step in [150, 200, 250, 300] {
        assert!(held_mib(step) > 0.0 && held_mib(step) < held_mib(100) + SLACK_MIB, "{figures:?}");
    }
}

#[test]
fn a_run_that_may_take_too_little_says_what_was_planned_and_which_key_to_change() {
    let run = Task::pictures();
    let arguments =
        ["train", "recipe.toml", "--out", "run", "--set", "train.memory_limit_gib=0.0001"];
    let ended = run.run(&arguments);
    assert_eq!(ended.code, 5, "{ended:?}");
    let words = [
        "error: out of memory: the mean step does not fit; planned are",
        "weights",
        "memory_limit_gib allows",
    ];
    for word in words.into_iter().chain(["tune fewer weights with [tune] parts"]) {
        assert!(ended.stderr.contains(word), "no `{word}` in {}", ended.stderr);
    }
}
