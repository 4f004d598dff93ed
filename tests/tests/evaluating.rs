//! `xcomp eval` and `xcomp compare` on real clips and a tiny tuned model.

use serde_json::{Value, json};
use xcomp_tests::{Task, media_root};

#[test]
fn real_questions_are_answered_counted_and_compared() {
    let Some(media) = media_root("real_questions_are_answered_counted_and_compared") else {
        return;
    };
    let run = Task::pictures();
    let xcomp = |arguments: &[&str]| {
        let ended = run.run(arguments);
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
    let unlike = run.run(&["compare", "likely", "short"]);
    assert_eq!(unlike.code, 2);
    assert!(unlike.stderr.contains("same questions"), "{unlike:?}");
}

/// Questions about a video share its reading, in whatever order they stand; each answer is that of the question alone.
#[test]
fn a_video_is_read_once_for_all_its_questions() {
    let Some(media) = media_root("a_video_is_read_once_for_all_its_questions") else { return };
    let run = Task::pictures();
    let train = ["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"];
    assert_eq!(run.run(&train).code, 0);
    let asked: Vec<Value> =
        serde_json::from_slice(&std::fs::read(media.join("mcq.json")).unwrap()).unwrap();
    let about = |video: usize, question: usize| {
        let mut entry = asked[question].clone();
        entry["video"] = asked[video].get("video").unwrap().clone();
        entry
    };
    let pairs = [(0, 0), (1, 1), (2, 2), (1, 3), (0, 4), (2, 5), (0, 6)];
    let eval = |out: &str, entries: &[Value], more: &[&str]| -> (Vec<Value>, String) {
        run.write("questions.json", &json!(entries).to_string());
        let videos = media.join("clips");
        let mut arguments = vec!["eval", "base", "--questions", "questions.json", "--out", out];
        arguments.extend(["--videos", videos.to_str().unwrap(), "--device", "cpu"]);
        arguments.extend(["--frames", "16"]);
        arguments.extend(more);
        let ended = run.run(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        let results = std::fs::read(run.path(out).join("results.json")).unwrap();
        let results: Value = serde_json::from_slice(&results).unwrap();
        (results["logs"].as_array().unwrap().clone(), ended.stderr)
    };
    let together: Vec<Value> = pairs.iter().map(|(v, q)| about(*v, *q)).collect();
    for (way, more) in [("written", &[][..]), ("likely", &["--by", "likelihood"])] {
        let (shared, told) = eval(way, &together, more);
        assert!(told.contains("went through the decoder 3 times"), "{told}");
        for (at, entry) in together.iter().enumerate() {
            let (alone, told) = eval(&format!("{way}-{at}"), std::slice::from_ref(entry), more);
            assert!(told.contains("went through the decoder 1 times"), "{told}");
            for key in ["video", "input", "resps", "frames_s", "key"] {
                assert_eq!(shared[at][key], alone[0][key], "{way} {at} {key}");
            }
        }
    }
}

/// The recipe says what is evaluated, on what and how; arguments and `--set` win over it.
#[test]
fn a_recipe_states_its_evaluation() {
    let run = Task::pictures();
    let xcomp = |arguments: &[&str]| {
        let ended = run.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        serde_json::from_str::<Value>(&ended.stdout).unwrap_or_default()
    };
    let question = |picture: &str, colour: &str| {
        json!({ "video": picture, "question": "Which colour is it?",
            "candidates": ["(A) red", "(B) green"], "answer": colour, "question_type": "colour" })
    };
    let questions = [question("0.png", "(A) red"), question("1.png", "(B) green")];
    run.write("questions.json", &json!(questions).to_string());
    let recipe = std::fs::read_to_string(run.path("recipe.toml")).unwrap();
    let asked = "[eval]\nquestions = \"questions.json\"\nvideos = \"pictures\"\n";
    run.write("recipe.toml", &format!("{recipe}{asked}answer_by = \"likelihood\"\n"));
    xcomp(&["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"]);

    let json = ["--format", "json", "--device", "cpu"];
    let eval = |arguments: &[&str]| xcomp(&[&["eval"], arguments, &json].concat());
    let of_run = eval(&["base", "--out", "of-run"]);
    let of_recipe =
        eval(&["recipe.toml", "--set", "eval.checkpoint=\"base\"", "--out", "of-recipe"]);
    assert_eq!(of_run, of_recipe);
    assert_eq!(eval(&["base"]), of_run);
    assert!(run.path("runs/base-eval/results.json").is_file(), "where no --out says otherwise");
    assert_eq!(
        (&of_run["benchmark"], &of_run["micro"]["questions"]),
        (&"lvbench".into(), &2.into())
    );
    let as_mlvu = ["base", "--out", "as-mlvu", "--set", "eval.benchmark=mlvu"];
    assert_eq!(eval(&as_mlvu)["benchmark"], "mlvu");
    let by_argument = [&as_mlvu[..], &["--benchmark", "videomme"]].concat();
    let refused = run.run(&[&["eval"], &by_argument[..]].concat());
    assert!(refused.stderr.contains("`options`"), "{refused:?}");

    // Kept features change no answer, and are made once.
    let cache = ["--set", "data.feature_cache=features"];
    let kept = || std::fs::metadata(run.path("base/features/000000.features")).unwrap().len();
    assert_eq!(eval(&[&["base", "--out", "filling"], &cache[..]].concat()), of_run);
    let bytes = kept();
    assert_eq!(eval(&[&["base", "--out", "behind"], &cache[..]].concat()), of_run);
    assert!(bytes > 0 && kept() == bytes, "{bytes} {}", kept());

    let unnamed = run.run(&["eval", "recipe.toml", "--out", "x"]);
    assert_eq!(unnamed.code, 2);
    assert!(unnamed.stderr.contains("states no [eval] checkpoint"), "{unnamed:?}");
    let plain = run.run(&["eval", "base/export", "--out", "x", "--set", "eval.select=8"]);
    assert_eq!(plain.code, 2);
    assert!(plain.stderr.contains("--set has nothing to override"), "{plain:?}");
}

/// What cannot be asked is named before the first question, or left out and counted; what merely looks odd is asked.
#[test]
fn questions_that_cannot_be_asked_are_named_or_counted() {
    let run = Task::pictures();
    let question = |id: &str, picture: &str, candidates: Value, answer: Value| {
        json!({ "question_id": id, "video": picture, "question": "How many <image> tags?",
            "candidates": candidates, "answer": answer, "question_type": "count" })
    };
    let two = || json!(["<image>", "none"]);
    let lines = [
        question("numbers", "0.png", json!(["none", 1, 2]), json!(2)),
        question("gone", "gone.mp4", two(), json!("none")),
        question("typo", "1.png", two(), json!("nine")),
        question("torn", "torn.png", two(), json!("none")),
        question("tag", "1.png", two(), json!("<image>")),
    ];
    run.write("q.jsonl", &lines.map(|line| line.to_string()).join("\n"));
    run.write("pictures/torn.png", "no picture");
    let trained = run.run(&["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"]);
    assert_eq!(trained.code, 0, "{trained:?}");
    let eval = |out: &str, more: &[&str]| {
        let asked =
            ["eval", "base", "--questions", "q.jsonl", "--videos", "pictures", "--out", out];
        run.run(&[&asked[..], &["--by", "likelihood", "--format", "json"], more].concat())
    };

    let stopped = eval("stopped", &[]);
    assert_eq!(stopped.code, 2, "{stopped:?}");
    for says in
        ["2 questions cannot be asked", "gone.mp4", "`nine` is not a candidate", "--missing"]
    {
        assert!(stopped.stderr.contains(says), "{says}: {stopped:?}");
    }
    assert!(!run.path("stopped").exists(), "nothing was asked");

    let counted = eval("counted", &["--missing", "skip"]);
    assert_eq!(counted.code, 0, "{counted:?}");
    let report: Value = serde_json::from_str(&counted.stdout).unwrap();
    assert_eq!((&report["micro"]["questions"], &report["left_out"]), (&2.into(), &0.into()));
    let unasked: Vec<&str> = report["unasked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(unasked, ["typo", "gone", "torn"]);
    let results: Value =
        serde_json::from_slice(&std::fs::read(run.path("counted/results.json")).unwrap()).unwrap();
    let logs = results["logs"].as_array().unwrap();
    assert!(logs[0]["input"].as_str().unwrap().contains("(C) 2"), "{}", logs[0]);
    assert_eq!((&logs[0]["target"], &logs[1]["target"]), (&"C".into(), &"A".into()));
}
