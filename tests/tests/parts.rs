//! Work that processes do apart: shares of a cache, an evaluation, a sweep and a grid of needles, joined by the same command without a share.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xcomp_data::features::Key;
use xcomp_data::features::store::{Store, StoreOptions};
use xcomp_tests::{Task, media_root, program};

fn json(task: &Task, arguments: &[&str]) -> Value {
    let ended = task.run(arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Starts the program in the folder of a task.
fn start(task: &Task, arguments: &[&str]) -> Child {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(task.path(""));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The payload of every record of a store.
fn records(store: &Path) -> BTreeMap<Key, Vec<u8>> {
    let options = StoreOptions { max_bytes: 0, now: std::time::UNIX_EPOCH };
    let store = Store::open(store, options).unwrap();
    store.keys().into_iter().map(|key| (key, store.get(&key).unwrap())).collect()
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
        let arguments = cache("three", &["--part", share]);
        start(&task, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut together = ["0/3", "1/3", "2/3"].map(start);
    together[1].kill().unwrap(); // wherever it is
    for process in &mut together {
        process.wait().unwrap();
    }
    assert!(start("1/3").wait().unwrap().success());

    let (one, three) = (records(&task.path("single")), records(&task.path("three")));
    assert!(one.len() >= 12, "{} records", one.len());
    assert!(one == three, "the same keys and bytes");
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

/// Every file of a folder's tables, pictures and pages.
fn tables(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let shown = files.filter(|path| {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        ["json", "md", "csv", "html", "svg"].contains(&end)
    });
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    shown.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

/// Waits until something is so while a process works; the process must not end before.
fn until(process: &mut Child, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(process.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn parts_of_a_sweep_make_the_whole() {
    let task = Task::pictures();
    let question = |at: usize| {
        serde_json::json!({"video": format!("{at}.png"), "question": "Which colour is it?",
            "candidates": ["red", "green", "blue", "white"], "answer": "red", "question_type": "colour"})
    };
    task.write("questions.json", &(0..8).map(question).collect::<Value>().to_string());
    let recipe = fs::read_to_string(task.path("recipe.toml")).unwrap();
    task.write("tune.toml", &recipe.replace("init = \"random\"\n", ""));
    task.write(
        "sweep.toml",
        "[sweep]\nrecipe = \"tune.toml\"\nbase = \"recipe.toml\"\nseeds = [1, 2]\n\
         questions = \"questions.json\"\nvideos = \"pictures\"\nframes = [8]\nask = [\"--by\", \"likelihood\"]\n\
         reference = \"schedule=none\"\n[grid]\ncompression.schedule = [\"none\", \"cosine\"]\n",
    );
    let arguments = |out, more: &[&'static str]| {
        [&["ablate", "sweep.toml", "--out", out, "--device", "cpu"], more].concat()
    };
    let single = task.run(&arguments("single", &[]));
    assert_eq!(single.code, 0, "{single:?}");

    let part = |share: &'static str| start(&task, &arguments("parts", &["--part", share]));
    let mut together = [part("0/2"), part("1/2")];
    // At work: the world and the base are made by one of them while the other waits.
    until(&mut together[0], || task.path("parts/runs").is_dir());
    let beside = task.run(&arguments("parts", &[]));
    assert!(beside.code == 2 && beside.stderr.contains("is in use"), "{beside:?}");
    together[0].kill().unwrap();
    together[0].wait().unwrap();
    let again = task.run(&arguments("parts", &["--part", "0/2", "--format", "json"]));
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap()["trainings"], 2);
    assert!(together[1].wait().unwrap().success());

    assert!(!task.path("parts/table.json").exists(), "a part makes no table");
    let joined = task.run(&arguments("parts", &[]));
    assert_eq!(joined.code, 0, "{joined:?}");
    assert!(joined.stderr.contains("5 trainings are finished"), "{joined:?}");
    let (one, parts) = (tables(&task.path("single")), tables(&task.path("parts")));
    assert!(one.len() >= 4, "{:?}", one.keys());
    assert!(one == parts, "the same tables, pictures and page");
}

#[test]
fn parts_of_a_grid_of_needles_make_the_whole() {
    let task = Task::tuned();
    let arguments = |out, more: &[&'static str]| {
        let fixed = ["niah", "model", "--out", out, "--device", "cpu", "--count", "2"];
        [&fixed[..], &["--lengths", "16,64,32", "--depths", "0.5,1"], more].concat()
    };
    let single = task.run(&arguments("single", &[]));
    assert_eq!(single.code, 0, "{single:?}");
    let part = |share: &'static str| start(&task, &arguments("parts", &["--part", share]));
    let mut together = [part("0/2"), part("1/2")];
    together[0].kill().unwrap(); // wherever it is
    for process in &mut together {
        process.wait().unwrap();
    }
    assert!(part("0/2").wait().unwrap().success());
    let lines = |folder: &str| {
        let text = fs::read_to_string(task.path(folder).join("cells.jsonl")).unwrap();
        text.lines().count()
    };
    assert_eq!([lines("parts/part-0-of-2"), lines("parts/part-1-of-2")], [3, 3]);
    let joined = task.run(&arguments("parts", &[]));
    assert_eq!((joined.code, &joined.stdout), (0, &single.stdout), "{joined:?}");
    assert_eq!(lines("parts"), 0, "nothing was asked twice");
    assert!(tables(&task.path("single")) == tables(&task.path("parts")), "the same tables");
    // Other chains are other answers.
    let other = task.run(&arguments("parts", &["--seed", "7"]));
    assert_eq!((other.code, lines("parts")), (0, 6), "{other:?}");
}
