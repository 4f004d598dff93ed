//! The program as users meet it: arguments, exit codes, error lines, stdout and stderr.

#![cfg(feature = "video")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use xcomp_tests::Task;

fn xcomp(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_xcomp-under-test");
    Command::new(program).args(arguments).current_dir(root()).output().expect("the program starts")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Runs the program; its exit code and what it says on stderr, or stdout if it succeeds.
fn check(arguments: &[&str], code: i32, want: &[&str]) {
    let output = xcomp(arguments);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    let text = if code == 0 { &out } else { &err };
    for want in want {
        assert!(text.contains(want), "{arguments:?} says not `{want}` but\n{text}");
    }
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn the_missions_recipe_is_planned_with_no_weights_present() {
    check(
        &["plan", "recipes/xcomp-2b.toml"],
        0,
        &[
            "1,543,714,304",
            "of 1,838,128,640",
            "16 16 16 15 15 14 14 13 12 12 11 10 9 9 8 7 6 5 5 4 3 3 2 2 1 1 1 1",
            "2,247 of 32 samples, warm-up 68",
        ],
    );
    check(
        &["plan", "recipes/xcomp-2b-released.toml", "--format", "json"],
        0,
        &[
            "\"tuned\": 1547649536",
            "\"total\": 1838128640",
            "\"steps\": 2247",
            "\"warmup_steps\": 68",
        ],
    );
}

#[test]
fn a_wrong_key_is_named_with_line_and_suggestion() {
    let tiny = Task::folders();
    tiny.write("wrong.toml", "[model]\ncheckpoint = \"x\"\n[optimizer]\nlearning_rat = 1e-5\n");
    let path = tiny.path("wrong.toml");
    let path = path.to_str().unwrap();
    let line = format!(
        "{path}:4: unknown key `learning_rat` in [optimizer]; did you mean `learning_rate`?"
    );
    check(&["train", path], 2, &[&line]);
}

#[test]
fn wrong_arguments_and_missing_files_exit_with_2() {
    check(&["train"], 2, &["<RECIPE>"]);
    check(&["trian"], 2, &["unrecognized subcommand 'trian'"]);
    check(&["train", "nowhere.toml"], 2, &["cannot read the recipe nowhere.toml"]);
    check(&["train", "recipes/xcomp-2b.toml", "--device", "gpu"], 2, &["`gpu` is no device"]);
    check(&["train", "recipes/xcomp-2b.toml", "--budget", "soon"], 2, &["`soon` is no duration"]);
    check(&["plan", "recipes/xcomp-2b.toml", "--set", "steps=3"], 2, &["table.key=value"]);
    #[cfg(not(feature = "mpi"))]
    check(&["train", "recipes/xcomp-2b.toml", "--mpi"], 2, &["this build has no MPI"]);
    check(
        &["plan", "recipes/xcomp-2b.toml", "--set", "model.config=nowhere.json"],
        2,
        &["nowhere.json"],
    );
    check(&["export", "nowhere", "out"], 2, &["no complete checkpoint"]);
    check(&["--version"], 0, &["xcomp"]);
    let jpeg = format!("jpeg files   {}", xcomp_data::media::picture::JPEG_DECODER);
    check(&["doctor"], 0, &["cpu: works", &jpeg, "file locks   work"]);
    check(&["runs", "nowhere"], 2, &["nowhere is no folder"]);
    check(&["completions", "bash"], 0, &["_xcomp()"]);
    check(
        &["recipe", "keys", "--table", "log"],
        0,
        &["`logging_steps` (whole number, default `1`)"],
    );
    check(&["recipe", "keys", "--format", "json"], 0, &["\"word\": \"cosine\""]);
}

/// Every verb that the help lists has a help of its own, and the verbs of the README are among them.
#[test]
fn the_help_lists_verbs_that_are_there() {
    let help = String::from_utf8(xcomp(&["help"]).stdout).unwrap();
    let listed = help.split_once("Commands:\n").unwrap().1.split("\n\n").next().unwrap();
    let verbs: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    for verb in ["plan", "train", "export", "data", "doctor", "eval", "ask", "report", "runs"] {
        assert!(verbs.contains(&verb), "{verb}: {help}");
    }
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        check(&[verb, "--help"], 0, &[&format!("Usage: xcomp-under-test {verb}")]);
    }
}

/// `auto` is the first device that `doctor` says works: the same numbers come of both.
#[test]
fn auto_takes_the_first_device_that_works() {
    let tiny = Task::folders();
    let found = tiny.run(&["doctor", "--format", "json"]);
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    let devices = found["devices"].as_array().unwrap();
    let first = devices.iter().find(|device| device[1] == "works").expect("a device that works");
    let losses = |device: &str| -> Vec<Value> {
        let ended = tiny.run(&["train", "recipe.toml", "--out", device, "--device", device]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let text = std::fs::read_to_string(tiny.path(device).join("metrics.jsonl")).unwrap();
        let record = |line| serde_json::from_str::<Value>(line).unwrap();
        text.lines().map(|line| record(line)["loss"].clone()).collect()
    };
    let (auto, named) = (losses("auto"), losses(first[0].as_str().unwrap()));
    assert!(auto.len() == 6 && auto == named, "{auto:?} {named:?}");
    for device in devices.iter().filter(|device| device[1] != "works") {
        let ended = tiny.run(&["train", "recipe.toml", "--device", device[0].as_str().unwrap()]);
        assert_ne!(ended.code, 0, "{ended:?}");
    }
}

#[test]
fn a_run_is_trained_exported_and_continued() {
    let tiny = Task::folders();
    let recipe = tiny.path("recipe.toml");
    let (recipe, run, export) = (recipe.to_str().unwrap(), tiny.path("run"), tiny.path("export"));
    let (run, export) = (run.to_str().unwrap(), export.to_str().unwrap());
    check(&["train", recipe, "--out", run, "--device", "cpu"], 0, &["6 steps, loss"]);
    check(&["train", recipe, "--out", run, "--device", "cpu"], 0, &["6 steps"]);
    check(&["export", run, "--out", export, "--step", "4"], 0, &["exported step 4"]);
    let json = ["export", run, export, "--step", "4", "--format", "json"]; // the old place of the folder
    check(&json, 0, &["\"step\": 4", "\"folder\""]);
    check(&["export", run, export, "--out", export], 2, &["cannot be used with"]);
    check(&["train", recipe, "--out", run, "--format", "json"], 0, &["\"steps\": 6"]);
    let folder = tiny.path(".");
    let folder = folder.to_str().unwrap();
    check(&["runs", folder], 0, &["/run ", "6/6", "finished"]);
    check(&["runs", folder, "--format", "json"], 0, &["\"state\": \"finished\""]);
    check(
        &["replay", run, "--step", "4"],
        0,
        &["from the state after step 0", "micro-batch 1", "finite"],
    );
    check(&["replay", run, "--step", "9"], 2, &["the run has steps 1 to 6"]);
    check(&["compare", run, "reference"], 0, &["outside the band of the released run"]);
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        assert!(Path::new(export).join(name).is_file(), "{name}");
    }
    check(
        &["train", recipe, "--out", run, "--set", "train.seed=7"],
        2,
        &["belongs to another run", "[train] seed was 42, is 7"],
    );
}

#[test]
fn unusable_data_exits_with_3() {
    let tiny = Task::folders();
    let recipe = tiny.path("recipe.toml");
    let recipe = recipe.to_str().unwrap();
    let with = |set: &str, want: &[&str]| {
        let run = tiny.path("run");
        check(&["train", recipe, "--out", run.to_str().unwrap(), "--set", set], 3, want);
    };
    with("data.mixture=nowhere.yaml", &["nowhere.yaml"]);
    tiny.write("not-a-tokenizer.json", "{}");
    with("model.tokenizer=not-a-tokenizer.json", &["not-a-tokenizer.json"]);
    with("model.model_max_length=20", &["model_max_length is 20"]);
    // Every picture is broken: no neighbour can stand in.
    for index in 0..9 {
        tiny.write(&format!("media/picture_{index}.png"), "not a picture");
    }
    for (folder, frame) in (0..3).flat_map(|folder| (0..16).map(move |frame| (folder, frame))) {
        tiny.write(&format!("media/folder_{folder}/frame_{frame}.png"), "not a picture");
    }
    with("data.on_broken=neighbour", &["cannot be read"]);
    with("data.on_broken=stop", &["cannot be read"]);
    check(&["data", "lint", recipe], 3, &["12 of 12 samples cannot be used"]);
}

#[test]
fn the_mixture_is_reported() {
    let tiny = Task::folders();
    let recipe = tiny.path("recipe.toml");
    let recipe = recipe.to_str().unwrap();
    check(&["data", "lint", recipe], 0, &["12 samples over 12 media, 0 cannot be used"]);
    check(
        &["data", "stats", recipe],
        0,
        &["12 samples (9 images, 3 videos)", "pictures", "folders"],
    );
    check(&["data", "show", recipe, "--index", "1"], 0, &["It is green."]);
    check(&["data", "show", recipe, "--index", "99"], 3, &["the mixture has 12"]);
}

#[test]
fn damaged_base_weights_are_named() {
    let tiny = Task::folders();
    let recipe = tiny.path("recipe.toml");
    let recipe = recipe.to_str().unwrap();
    let (run, base) = (tiny.path("run"), tiny.path("run/export"));
    check(&["train", recipe, "--out", run.to_str().unwrap()], 0, &[]);
    let weights = base.join("model.safetensors");
    let checkpoint = format!("model.checkpoint={}", base.display());
    let tuned = tiny.path("tuned");
    let train = |code, want: &[&str]| {
        let tuned = tuned.to_str().unwrap();
        let set = ["--set", &checkpoint, "--set", "model.init=checkpoint"];
        check(&[&["train", recipe, "--out", tuned], &set[..]].concat(), code, want);
    };
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    train(2, &["model.safetensors"]);
    std::fs::remove_file(&weights).unwrap();
    train(2, &[base.to_str().unwrap()]);
    std::fs::write(&weights, &bytes).unwrap();
    let config = std::fs::read_to_string(tiny.path("config.json")).unwrap();
    tiny.write(
        "config.json",
        &config.replace(
            "\"intermediate_size\":32,\"num_hidden_layers\":9",
            "\"intermediate_size\":48,\"num_hidden_layers\":9",
        ),
    );
    train(2, &["shape", "48"]);
    tiny.write("config.json", &config);
    train(0, &["6 steps"]);
}

/// Steps of the recipe's shapes need no data; behind kept features there is no tower, without compression there is more to do.
#[test]
fn bench_times_steps_with_and_without_the_tower() {
    let run = Task::pictures();
    let bench = |more: &[&str]| {
        let sizes = ["data.expected_text_tokens=20", "data.expected_supervised_tokens=5"];
        let mut arguments = vec!["bench", "recipe.toml", "--steps", "1", "--warmup", "0"];
        arguments.extend(["--device", "cpu", "--format", "json"]);
        arguments.extend(sizes.iter().flat_map(|size| ["--set", size]));
        run.run(&[&arguments, more].concat())
    };
    let rows = |more: &[&str]| {
        let ended = bench(more);
        assert_eq!(ended.code, 0, "{ended:?}");
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        report["rows"].as_array().unwrap().clone()
    };
    let whole = rows(&["--frames", "8,16"]);
    assert_eq!((whole.len(), &whole[1]["tokens_in"]), (2, &(16 * 16 + 20).into()));
    let cached = &rows(&["--frames", "16", "--cached"])[0];
    let plain = &rows(&["--frames", "16", "--no-compression"])[0];
    let number = |row: &Value, key: &str| row.pointer(key).unwrap().as_f64().unwrap();
    let tower = |row: &Value| number(row, "/parts/vision_s") + number(row, "/parts/merge_s");
    assert!(tower(&whole[1]) > 0.0 && tower(plain) > 0.0 && tower(cached) <= 0.0);
    let flops = |row: &Value| number(row, "/model_flops");
    assert!(flops(cached) < flops(&whole[1]) && flops(&whole[1]) < flops(plain));
    assert!(number(cached, "/loss").is_finite() && number(cached, "/step_s/median") > 0.0);

    let odd = bench(&["--frames", "7"]);
    assert_eq!(odd.code, 2);
    assert!(odd.stderr.contains("7 frames do not make whole clips of 8"), "{odd:?}");
}

/// Events become the same questions whenever they are asked for; what is wrong in a file is told by line.
#[test]
fn events_become_questions() {
    let task = Task::pictures();
    let film = |name: &str, second: f64| {
        format!(
            "{{\"video\": \"{name}\", \"events\": [{{\"start\": 1, \"text\": \"rain\"}},\n{{\"start\": {second}, \"text\": \"sun\"}}]}}"
        )
    };
    task.write("events.json", &format!("[{},\n{}]", film("a.mp4", 2.0), film("b.mp4", 3.5)));
    let made = |out: &str, seed: &str| {
        let ended = task.run(&["data", "vico", "events.json", "--out", out, "--seed", seed]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("2 questions"), "{ended:?}");
        std::fs::read_to_string(task.path(out)).unwrap()
    };
    let first = made("first.json", "1");
    assert_eq!(first, made("again.json", "1"));
    assert!((2..12).any(|seed| made("other.json", &seed.to_string()) != first));
    let records: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(records[1]["video"], "b.mp4");
    let human = records[1]["conversations"][0]["value"].as_str().unwrap();
    assert!(human.starts_with("<image>\nWhich of these happens"), "{human}");

    task.write("events.json", &format!("[{},\n{}]", film("a.mp4", 2.0), film("b.mp4", 0.5)));
    let ended = task.run(&["data", "vico", "events.json", "--out", "bad.json"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    let told =
        "events.json, line 4: events of `b.mp4` are not in order: one at 0.5 s follows one at 1 s";
    assert!(ended.stderr.contains(told), "{ended:?}");
    assert!(!task.path("bad.json").exists());
}
