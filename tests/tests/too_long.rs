//! `data.too_long`: what a run does with samples that are longer than the model takes.

#![cfg(feature = "video")]

use serde_json::Value;
use xcomp_data::load_example;
use xcomp_tests::{Ended, Task};
use xcomp_train::data::Data;
use xcomp_train::run::launch::planned;

/// Most tokens of a sample, so that 8 frames of a folder fit and its 16 do not.
fn limit(task: &Task) -> String {
    let plan = planned(task.recipe(&[])).unwrap();
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let length = |(index, record)| {
        let example = load_example(record, index, data.load_options()).unwrap();
        let frames = example.frame_count();
        (frames > 1).then(|| example.input_ids.len() - 1 + frames * plan.config.tokens_per_frame())
    };
    let shortest = data.mixture.records().iter().enumerate().filter_map(length).min().unwrap();
    format!("model.model_max_length={}", shortest - 10)
}

#[test]
fn samples_that_are_too_long_are_replaced_shortened_or_the_end() {
    let task = Task::folders();
    let limit = limit(&task);
    let run = |out: &str, set: &[&str]| -> Ended {
        let mut arguments = vec!["train", "recipe.toml", "--out", out, "--set", &limit];
        arguments.extend(set.iter().flat_map(|key| ["--set", key]));
        task.run(&arguments)
    };
    let records = |out: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(task.path(out).join("metrics.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let sum = |out: &str, key: &str| -> u64 {
        records(out).iter().map(|record| record[key].as_u64().unwrap_or(0)).sum()
    };

    // Six steps of two samples take each of the nine pictures and three folders once.
    let ended = run("shortened", &["data.too_long=drop_frames", "data.order=sequential"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!((sum("shortened", "limited"), sum("shortened", "frames")), (3, 9 + 3 * 8));
    assert!(ended.stderr.contains("with fewer frames"), "{ended:?}");

    for (out, set) in [("usual", &[][..]), ("skipped", &["data.too_long=skip"])] {
        let ended = run(out, &[set, &["data.order=sequential"]].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!((sum(out, "limited"), sum(out, "frames")), (0, 12), "neighbours are pictures");
    }
    let ended = run("stopped", &["data.too_long=stop", "data.on_broken=skip"]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("tokens, model_max_length is "), "{ended:?}");

    let lint = |word: &str| {
        let set = format!("data.too_long={word}");
        task.run(&["data", "lint", "recipe.toml", "--set", &limit, "--set", &set])
    };
    let ended = lint("drop_frames");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("3 have the most frames that fit"), "{ended:?}");
    let ended = lint("stop");
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stdout.contains("12 samples over 12 media, 3 cannot be used"), "{ended:?}");
}
