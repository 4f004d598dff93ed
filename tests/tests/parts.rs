//! Work that processes do apart: shares of a cache and of an evaluation, joined by the same command without a share.

#![cfg(feature = "video")]

use std::process::{Command, Stdio};

use serde_json::Value;
use xcomp_tests::{Task, media_root, program};

fn json(task: &Task, arguments: &[&str]) -> Value {
    let ended = task.run(arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn three_processes_fill_one_cache_as_one_does() {
    let task = Task::folders();
    let cache = |store: &str, more: &[&str]| -> Vec<String> {
        let set = format!("data.feature_cache={store}");
        let arguments = ["data", "cache", "recipe.toml", "--set", &set, "--device", "cpu"];
        arguments.iter().chain(more).map(ToString::to_string).collect()
    };
    let run = |store: &str, more: &[&str]| -> Value {
        let arguments = cache(store, &[&["--format", "json"], more].concat());
        json(&task, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let single = run("single", &[]);
    assert_eq!((&single["made"], &single["missing"]), (&single["samples"], &0.into()));

    let start = |share: &str| {
        let mut command = Command::new(program());
        command.args(cache("three", &["--part", share])).current_dir(task.path(""));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut together = ["0/3", "1/3", "2/3"].map(start);
    together[1].kill().unwrap(); // wherever it is
    for process in &mut together {
        process.wait().unwrap();
    }
    assert!(start("1/3").wait().unwrap().success());

    let joined = run("three", &[]);
    assert_eq!((&joined["found"], &joined["made"]), (&single["samples"], &0.into()), "{joined}");
    let trained = |store: &str| {
        let set = format!("data.feature_cache={store}");
        let arguments = ["train", "recipe.toml", "--out", store, "--set", &set, "--device", "cpu"];
        let out = format!("run-{store}");
        let arguments = arguments.map(|word| if word == store { out.as_str() } else { word });
        let ended = task.run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        std::fs::read(task.path(&out).join("last/model.safetensors")).unwrap()
    };
    assert!(trained("single") == trained("three"), "the same features");
    let wrong = task.run(&["data", "cache", "recipe.toml", "--part", "3/3"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("0/3"), "{wrong:?}");
}

#[test]
fn parts_of_an_evaluation_make_the_whole() {
    let Some(media) = media_root("parts_of_an_evaluation_make_the_whole") else { return };
    let task = Task::tuned();
    let (questions, videos) = (media.join("mcq.json"), media.join("clips"));
    let eval = |out: &str, more: &[&str]| {
        let mut arguments = vec!["eval", "model", "--questions", questions.to_str().unwrap()];
        arguments.extend(["--videos", videos.to_str().unwrap(), "--out", out, "--device", "cpu"]);
        arguments.extend(["--frames", "8", "--limit", "5", "--format", "json"]);
        arguments.extend(more);
        let ended = task.run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        (ended.stdout, ended.stderr)
    };
    let (single, _) = eval("single", &[]);
    for share in ["1/2", "0/2"] {
        eval("parts", &["--part", share]);
    }
    let (joined, told) = eval("parts", &[]);
    assert_eq!(single, joined);
    assert!(told.contains("went through the decoder 0 times"), "{told}");
    let results = |out: &str| std::fs::read(task.path(out).join("results.json")).unwrap();
    assert!(results("single") == results("parts"), "the same tables");
}
