//! Each failure is one clear line with the right exit code, and names who, what and where.

use std::fs;

use xcomp_tests::{Ended, Task};

fn check(run: &Task, arguments: &[&str], code: i32, names: &[&str]) -> Ended {
    let ended = run.run(arguments);
    assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
    for name in names {
        assert!(ended.stderr.contains(name), "{arguments:?}: no `{name}` in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// A run that works, so that each failure below is that of its one change.
fn trained() -> Task {
    let run = Task::pictures();
    let ended = run.run(&["train", "recipe.toml", "--out", "base"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    run
}

#[test]
fn a_wrong_key_fails_with_its_line_and_the_nearest_key() {
    let run = Task::pictures();
    run.write("wrong.toml", "[optimizer]\nlearning_rte = 1e-5\n");
    check(&run, &["plan", "wrong.toml"], 2, &["wrong.toml", "2", "learning_rte", "learning_rate"]);
}

#[test]
fn missing_files_are_named() {
    let run = Task::pictures();
    check(&run, &["train", "absent.toml"], 2, &["absent.toml"]);
    check(
        &run,
        &["train", "recipe.toml", "--set", "model.config=absent.json"],
        2,
        &["absent.json"],
    );
    check(
        &run,
        &["train", "recipe.toml", "--set", "data.mixture=absent.yaml"],
        3,
        &["absent.yaml"],
    );
    let checkpoint = [
        "train",
        "recipe.toml",
        "--set",
        "model.init=checkpoint",
        "--set",
        "model.checkpoint=absent",
    ];
    check(&run, &checkpoint, 2, &["absent"]);
    check(&run, &["frobnicate"], 2, &["frobnicate"]);
}

#[test]
fn an_unknown_tokenizer_is_named_with_what_it_lacks() {
    let run = Task::pictures();
    check(
        &run,
        &["train", "recipe.toml", "--set", "model.tokenizer=absent.json"],
        3,
        &["absent.json"],
    );
    run.write("other.json", r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#);
    let other = ["train", "recipe.toml", "--set", "model.tokenizer=other.json"];
    check(&run, &other, 3, &["other.json", "which the chat template of the model needs"]);
}

#[test]
fn damaged_weights_are_named() {
    let run = trained();
    let folder = "base/export";
    let from = [
        "train",
        "recipe.toml",
        "--out",
        "again",
        "--set",
        "model.init=checkpoint",
        "--set",
        "model.checkpoint=base/export",
    ];
    let file = run.path(folder).join("model.safetensors");
    let whole = fs::read(&file).unwrap();

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    check(&run, &from, 2, &["model.safetensors"]);
    fs::write(&file, b"not weights").unwrap();
    check(&run, &from, 2, &["model.safetensors"]);
    fs::write(&file, &whole).unwrap();

    let text = fs::read_to_string(run.path("config.json")).unwrap();
    run.write("wider.json", &text.replace("\"intermediate_size\":64", "\"intermediate_size\":96"));
    let wider = [from.as_slice(), &["--set", "model.config=wider.json"]].concat();
    check(&run, &wider, 2, &["mlp.down_proj.weight", "[32, 64]", "[32, 96]"]);
    run.write("deeper.json", &text.replace("\"num_hidden_layers\":9", "\"num_hidden_layers\":10"));
    let deeper = [from.as_slice(), &["--set", "model.config=deeper.json"]].concat();
    check(&run, &deeper, 2, &["model.layers.9."]);
    let ended = run.run(&from);
    assert_eq!(ended.code, 0, "the whole file works: {ended:?}");
}

#[test]
fn a_video_without_a_video_stream_is_named() {
    let run = Task::pictures();
    run.write("pictures/empty.mp4", "");
    run.write("pictures/text.mp4", "this is no video");
    let record = |video: &str| {
        format!(
            r#"[{{"id":"v","video":"{video}","conversations":[{{"from":"human","value":"<image>\nWhat?"}},{{"from":"gpt","value":"red"}}]}}]"#
        )
    };
    run.write("mixture.yaml", "datasets:\n  - json_path: train.json\n    data_root: pictures\n    video_read_type: decord\n");
    for video in ["empty.mp4", "text.mp4"] {
        run.write("train.json", &record(video));
        let strict = [
            "train",
            "recipe.toml",
            "--out",
            "strict",
            "--set",
            "data.on_broken=stop",
            "--set",
            "train.gradient_accumulation_steps=1",
        ];
        check(&run, &strict, 3, &[video]);
    }
}

#[test]
fn a_run_that_blows_up_ends_with_4_and_is_looked_into_by_replay() {
    let run = Task::pictures();
    let blown = [
        "train",
        "recipe.toml",
        "--out",
        "run",
        "--set",
        "optimizer.learning_rate=1e30",
        "--set",
        "optimizer.max_grad_norm=0",
    ];
    check(&run, &blown, 4, &["step 2: ", "is not finite", "xcomp replay run --step 2"]);
    let replay = run.run(&["replay", "run", "--step", "2"]);
    let words = ["from the state after step 1", "not finite: model.", "micro-batch 1: "];
    for word in words {
        assert!(replay.stdout.contains(word), "no `{word}` in {replay:?}");
    }
}
