//! `xcomp ask` on a tiny tuned model and real videos made by code.

use std::io::Write as _;

use serde_json::Value;
use xcomp_data::media::encode::{RgbFrames, write_mp4};
use xcomp_tests::Task;

const SIDE: usize = 64;

/// A tuned model and a video of `count` frames at 8 frames a second, dark but for a bright middle.
fn tuned(count: usize) -> Task {
    let run = Task::tuned();
    let level = |frame: usize| if (count / 2..count / 2 + 8).contains(&frame) { 240 } else { 30 };
    let pixels: Vec<u8> =
        (0..count).flat_map(|frame| vec![level(frame); SIDE * SIDE * 3]).collect();
    let frames = RgbFrames { pixels: &pixels, width: SIDE, height: SIDE, fps: 8 };
    write_mp4(&run.path("film.mp4"), frames).unwrap();
    run
}

fn ask(run: &Task, more: &[&str]) -> Value {
    let mut arguments = vec!["ask", "model", "film.mp4", "Which colour is it?", "--format", "json"];
    arguments.extend(["--max-new-tokens", "8", "--device", "cpu"]);
    arguments.extend(more);
    let ended = run.run(&arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn chooses_frames_and_draws_their_scores() {
    let run = tuned(96);
    let all = ask(&run, &["--frames", "96"]);
    assert_eq!((&all["frames"], &all["frames_looked_at"]), (&96.into(), &96.into()));

    for more in [
        &["--repeat", "1"][..],
        &["--repeat", "8"],
        &["--global"],
        &["--causal"],
        &["--clip-frames", "4"],
    ] {
        let select = [&["--frames", "96", "--select", "16", "--plot", "scores.svg"], more].concat();
        let chosen = ask(&run, &select);
        assert_eq!(chosen["frames"], 16, "{more:?}");
        let times: Vec<f64> =
            chosen["times_s"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(times.len(), 16);
        assert!(
            times.is_sorted() && times.iter().all(|time| (0.0..12.0).contains(time)),
            "{times:?}"
        );
        assert_eq!(chosen["visual_tokens_in"], 16 * 16);
        let svg = std::fs::read_to_string(run.path("scores.svg")).unwrap();
        let lines = |colour: &str, places: usize| {
            let drawn = svg.lines().filter(|line| line.starts_with("<polyline"));
            drawn.filter(|l| l.contains(colour) && l.matches(',').count() == places).count()
        };
        assert_eq!(lines("#D55E00", 2), 16, "a line for every chosen frame");
        assert_eq!(lines("#1F83C4", 96), 1, "a score for every frame");
    }
}

/// The same checkpoint under a ranking, and pruned when it answers; no layer of either holds whole frames to choose from.
#[test]
fn a_checkpoint_answers_under_another_compression() {
    let run = tuned(32);
    let compression = |schedule: &'static str| {
        let settings = [schedule, "step_layers=[3]", "step_shares=[0.25]"];
        settings.into_iter().flat_map(|setting| ["--compression", setting]).collect::<Vec<_>>()
    };
    let set = ["schedule=rank", "step_layers=[3]", "step_shares=[0.25]"]
        .map(|setting| format!("compression.{setting}"));
    let set: Vec<&str> = set.iter().flat_map(|setting| ["--set", setting]).collect();
    let spelt = ask(&run, &[set, vec!["--frames", "32"]].concat());
    assert_eq!(spelt["visual_tokens_out"], 32 * 4);
    for schedule in ["schedule=rank", "schedule=fastv"] {
        let arguments = [compression(schedule), vec!["--frames", "32"]].concat();
        let answer = ask(&run, &arguments);
        assert_eq!(answer["visual_tokens_in"], 32 * 16);
        assert_eq!(answer["visual_tokens_out"], 32 * 4, "{schedule}");

        let mut arguments = vec!["ask", "model", "film.mp4", "Which colour is it?"];
        arguments.extend(["--select", "16"].into_iter().chain(compression(schedule)));
        let ended = run.run(&arguments);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains("its layers hold no whole frames"), "{ended:?}");
    }
}

/// What is printed ends before the stop string, whatever tokens it is made of.
#[test]
fn a_stop_string_ends_the_answer() {
    let run = tuned(16);
    let say = |stop: &[&str]| -> String {
        let asked = ["ask", "model", "film.mp4", "Which colour is it?", "--frames", "16"];
        let written = ["--device", "cpu", "--max-new-tokens", "12", "--temperature", "1"];
        let ended = run.run(&[&asked[..], &written, stop].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout.split("\n[16 frames").next().unwrap().to_owned()
    };
    let whole = say(&[]);
    let letter = whole.chars().nth(whole.chars().count() / 2).unwrap().to_string();
    let before = whole.split(&letter).next().unwrap();
    assert_eq!(say(&["--stop", &letter]), before, "{whole:?} before {letter:?}");
    assert_eq!(say(&["--stop", "no such words", "--stop", &whole]), "");
    assert_eq!(say(&["--stop", "no such words"]), whole);
}

/// The folder says how answers are drawn; what is said on the command line wins.
#[test]
fn the_folders_generation_config_holds_unless_a_flag_says_otherwise() {
    let run = tuned(16);
    let say = |config: &str, flags: &[&str]| {
        run.write("model/generation_config.json", config);
        ask(&run, flags)["answer"].clone()
    };
    let (plain, penalty) = ("{}", r#"{"repetition_penalty": 100.0}"#);
    let drawn = r#"{"do_sample": true, "temperature": 5.0, "top_k": 0, "top_p": 0.9}"#;
    let penalised = say(plain, &["--repetition-penalty", "100"]);
    assert_ne!(penalised, say(plain, &[]));
    assert_eq!(say(penalty, &[]), penalised);
    assert_eq!(say(penalty, &["--repetition-penalty", "1"]), say(plain, &[]));
    let flags = ["--temperature", "5", "--top-p", "0.9"];
    assert_ne!(say(plain, &flags), say(plain, &[]));
    assert_eq!(say(drawn, &[]), say(plain, &flags));
    assert_eq!(say(drawn, &["--temperature", "0"]), say(plain, &[]));
    assert_eq!(say(&drawn.replace("true", "false"), &[]), say(plain, &[]));

    run.write("model/generation_config.json", r#"{"repetition_penalty": 0}"#);
    let ended = run.run(&["ask", "model", "film.mp4", "What?"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("generation_config.json"), "{ended:?}");
}

/// One chosen frame is shown as a still clip.
#[test]
fn a_single_frame_can_be_chosen() {
    let run = tuned(64);
    let one = ask(&run, &["--frames", "64", "--select", "1", "--repeat", "8"]);
    assert_eq!((&one["frames"], &one["visual_tokens_in"]), (&1.into(), &(8 * 16).into()));
    assert_eq!(one["times_s"].as_array().unwrap().len(), 1);
}

/// The released evaluation leaves videos below 1024 frames alone.
#[test]
fn the_reference_rules_choose_from_1024_frames_on() {
    let run = tuned(96);
    let kept = ask(&run, &["--frames", "96", "--select", "16", "--score", "reference"]);
    assert_eq!(kept["frames"], 96);
    let long = tuned(1024);
    let chosen = ask(
        &long,
        &["--frames", "1024", "--select", "16", "--score", "reference", "--repeat", "1"],
    );
    assert_eq!((&chosen["frames"], &chosen["frames_looked_at"]), (&16.into(), &1024.into()));
}

/// Frames of a film at 1 frame a second.
const MINUTES_10: usize = 600;
const HOURS_3: usize = 3 * 3600;
/// Bound of the memory of the tiny model at 256 frames of 64 pixels, whatever the length of the film.
const BOUND_MIB: u64 = 512;

#[test]
fn three_hours_take_no_more_memory_than_ten_minutes() {
    let run = tuned(16);
    let peak = |count: usize| {
        let pixels: Vec<u8> =
            (0..count).flat_map(|frame| vec![(frame % 251) as u8; SIDE * SIDE * 3]).collect();
        let frames = RgbFrames { pixels: &pixels, width: SIDE, height: SIDE, fps: 1 };
        write_mp4(&run.path("film.mp4"), frames).unwrap();
        let asked = ask(&run, &["--frames", "256", "--select", "64"]);
        assert_eq!((&asked["frames"], &asked["frames_looked_at"]), (&64.into(), &256.into()));
        assert!((asked["duration_s"].as_f64().unwrap() - count as f64).abs() < 2.0, "{asked}");
        asked["peak_memory_mib"].as_u64().unwrap()
    };
    let (short, long) = (peak(MINUTES_10), peak(HOURS_3));
    let line = format!("peak memory: {short} MiB for 10 minutes, {long} MiB for 3 hours\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(short > 0 && long <= short + short / 8 && long < BOUND_MIB, "{line}");
}

#[test]
fn wrong_numbers_are_one_clear_line() {
    let run = tuned(32);
    for (more, says) in [
        (["--select", "12"], "multiple of 8"),
        (["--repeat", "9"], "give 1 to 8"),
        (["--frames", "12"], "multiples of 8"),
        (["--compression", "schedule=fastv"], "needs this key"),
        (["--set", "compression.schedule=fastv"], "needs this key"),
        (["--set", "eval.select=8"], "a checkpoint has no recipe"),
        (["--temperature", "nan"], "temperature and top_p must not be negative"),
        (["--repetition-penalty", "0"], "must be above 0"),
        (["--max-new-tokens", "0"], "at least 1"),
        (["--plot", "scores.png"], "name scores.svg"),
    ] {
        let mut arguments = vec!["ask", "model", "film.mp4", "Which colour is it?"];
        arguments.extend(more);
        if ["--repeat", "--plot"].contains(&more[0]) {
            arguments.extend(["--select", "16"]);
        }
        let ended = run.run(&arguments);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
}

/// Damaged weights give scores that are no numbers: no answer is read from them, in no way of asking.
#[test]
fn scores_that_are_no_numbers_are_an_error() {
    let run = tuned(16);
    let path = run.path("model/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + head]).unwrap();
    let place = &header["model.norm.weight"]["data_offsets"];
    let at = |end: usize| 8 + head + place[end].as_u64().unwrap() as usize;
    let norm = at(0)..at(1);
    bytes[norm].fill(0xff); // not a number in every float format
    std::fs::write(&path, bytes).unwrap();
    let question = serde_json::json!([{ "video": "film.mp4", "question": "Q?",
        "candidates": ["x", "y"], "answer": "x", "question_type": "t" }]);
    run.write("q.json", &question.to_string());
    let eval = ["eval", "model", "--questions", "q.json", "--videos", ".", "--frames", "16"];
    for arguments in [
        &["ask", "model", "film.mp4", "Which?", "--frames", "16"][..],
        &[&eval[..], &["--by", "likelihood"]].concat(),
        &[&eval[..], &["--by", "generation"]].concat(),
    ] {
        let ended = run.run(&[arguments, &["--device", "cpu"]].concat());
        assert_eq!(ended.code, 4, "{ended:?}");
        assert!(ended.stderr.contains("are not finite"), "{ended:?}");
    }
}
