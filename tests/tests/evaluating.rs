//! `xcomp eval` and `xcomp compare` on real clips and a tiny tuned model.

use serde_json::Value;
use xcomp_tests::{TinyRun, media_root};

const XCOMP: &str = env!("CARGO_BIN_EXE_xcomp-under-test");

#[test]
fn real_questions_are_answered_counted_and_compared() {
    let Some(media) = media_root("real_questions_are_answered_counted_and_compared") else {
        return;
    };
    let run = TinyRun::new();
    let xcomp = |arguments: &[&str]| {
        let ended = run.run(XCOMP, arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended
    };
    xcomp(&["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"]);
    let (questions, videos) = (media.join("mcq.json"), media.join("clips"));
    let eval = |out: &str, more: &[&str]| -> (Value, String) {
        let mut arguments = vec!["eval", "base", "--questions", questions.to_str().unwrap()];
        arguments.extend(["--videos", videos.to_str().unwrap(), "--out", out]);
        arguments.extend(["--format", "json", "--device", "cpu", "--frames", "16"]);
        arguments.extend(more);
        let ended = xcomp(&arguments);
        (serde_json::from_str(&ended.stdout).unwrap(), ended.stderr)
    };

    let (first, _) = eval("written", &["--limit", "3"]);
    assert_eq!(
        first["micro"]["questions"].as_u64().unwrap_or(0) + first["left_out"].as_u64().unwrap(),
        3
    );
    let (written, _) = eval("written", &[]);
    let (again, _) = eval("written", &[]);
    assert_eq!(written, again);
    let logged = std::fs::read_to_string(run.path("written/responses.jsonl")).unwrap();
    assert_eq!(logged.lines().count(), 15, "no question was asked twice");

    let likelihood = ["--by", "likelihood", "--select", "8", "--score", "clean", "--limit", "4"];
    let (likely, _) = eval("likely", &likelihood);
    assert_eq!((&likely["micro"]["questions"], &likely["left_out"]), (&4.into(), &0.into()));
    let results: Value =
        serde_json::from_slice(&std::fs::read(run.path("likely/results.json")).unwrap()).unwrap();
    for log in results["logs"].as_array().unwrap() {
        assert_eq!(log["frames_s"].as_array().unwrap().len(), 8, "{log}");
        assert!("ABCD".contains(log["filtered_resps"].as_str().unwrap()), "{log}");
        let right = log["filtered_resps"] == log["target"];
        assert_eq!(log["score"], f64::from(u8::from(right)), "{log}");
    }

    let same = xcomp(&["compare", "likely", "likely", "--format", "json"]);
    let same: Value = serde_json::from_str(&same.stdout).unwrap();
    assert_eq!(
        (&same["verdict"], &same["needed_questions"]),
        (&"not_distinguishable".into(), &Value::Null)
    );
    let text = xcomp(&["compare", "likely", "likely"]).stdout;
    assert!(
        text.contains("not distinguishable") && text.contains("4 questions about 4 videos"),
        "{text}"
    );
    let (_, _) = eval("short", &["--limit", "2", "--by", "likelihood"]);
    let unlike = run.run(XCOMP, &["compare", "likely", "short"]);
    assert_eq!(unlike.code, 2);
    assert!(unlike.stderr.contains("same questions"), "{unlike:?}");
}
