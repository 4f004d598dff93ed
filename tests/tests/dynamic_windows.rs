//! Windows that end where the scene changes, through the whole program: both ways of going back, kept features, exports, answers.

#![cfg(feature = "video")]

use std::fs;

use serde_json::{Value, json};
use xcomp_data::Media;
use xcomp_tests::{Task, windows_config};
use xcomp_train::answer::Answerer;
use xcomp_train::machine::device::{self, Choice};
use xcomp_train::recipe::tables::WindowsWord;

/// Folders of frames whose colour changes within a film, for a model that reads windows of two frames.
fn task() -> Task {
    let task = Task::folders();
    let config = fs::read_to_string(task.path("config.json")).unwrap();
    task.write("windows.json", &windows_config(&config).to_string());
    for film in 0..3 {
        for frame in (5..16).filter(|frame| frame % 5 < 2) {
            let [from, to] = [(film + 1) % 3, film]
                .map(|film| task.path(&format!("media/folder_{film}/frame_{frame}.png")));
            if film < 2 {
                fs::copy(from, to).unwrap();
            }
        }
    }
    task
}

const SET: [&str; 6] = [
    "model.config=windows.json",
    "compression.schedule=none",
    "data.clip_frames=1",
    "vst.ratios=[2,4,8]",
    "vst.most_frames=5",
    "train.max_steps=3",
];
const SCENES: &str = "vst.windows=dynamic";

/// Losses and gradient norms of every step, as text.
fn train(task: &Task, out: &str, more: &[&str]) -> Vec<[f64; 2]> {
    task.trained(out, &[&SET, more].concat())
}

/// With a tower that moves: the class tokens come from a pass of their own, or from the one that learns.
#[test]
fn both_ways_back_cut_alike() {
    let task = task();
    let moves = "tune.parts=[\"llm\",\"projector\",\"vision\",\"vst\"]";
    let tape = train(&task, "tape", &[SCENES, moves, "vst.backward=tape"]);
    let windows = train(&task, "windows", &[SCENES, moves]);
    let fixed = train(&task, "fixed", &[moves]);
    assert_ne!(windows, fixed, "scenes end windows elsewhere");
    for (tape, windows) in tape.iter().flatten().zip(windows.iter().flatten()) {
        assert!((tape - windows).abs() < 1e-3 * tape.abs(), "{tape:?} {windows:?}");
    }
}

/// Where no gap is deep enough, windows of so many frames are those of fixed length, to the bit.
#[test]
fn without_scenes_windows_are_those_of_fixed_length() {
    let task = task();
    let none = ["data.mixture=films.yaml", SCENES, "vst.depth_above=1e9", "vst.most_frames=2"];
    task.write(
        "films.yaml",
        "datasets:\n  - json_path: folders.json\n    data_root: media\n    video_read_type: img\n",
    );
    assert_eq!(train(&task, "none", &none), train(&task, "fixed", &none[..1]));
}

/// Without a cache, while it is filled, and behind it: to the bit; features without class tokens are not taken for them.
#[test]
fn kept_features_have_the_class_tokens() {
    let task = task();
    let cache = "data.feature_cache=features";
    let fixed = train(&task, "fixed", &[cache]);
    let plain = train(&task, "plain", &[SCENES]);
    assert_eq!(train(&task, "filling", &[SCENES, cache]), plain);
    fs::rename(task.path("media"), task.path("gone")).unwrap();
    assert_eq!(train(&task, "behind", &[SCENES, cache]), plain);
    assert_eq!(train(&task, "fixed_again", &[cache]), fixed);
    assert_ne!(fixed, plain);
}

/// An export answers as the recipe says, and otherwise where that is asked.
#[test]
fn exports_state_where_windows_end() {
    let task = task();
    let keys = ["vst.depth=hill_climb", "vst.depth_deviations=0.25"];
    train(&task, "scenes", &[&[SCENES], &keys[..]].concat());
    train(&task, "trained", &[SCENES, "vst.answer_windows=fixed"]);
    let stated = |run: &str| {
        let text = fs::read_to_string(task.path(run).join("export/config.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["xcomp_windows"].clone()
    };
    let block = json!({"depth": "hill_climb", "depth_deviations": 0.25, "least_frames": 1, "most_frames": 5});
    assert_eq!((stated("scenes"), stated("trained")), (block, Value::Null));

    let device = device::open(Choice::Cpu).unwrap().device;
    let open = || Answerer::open(&task.path("scenes/export"), &device).unwrap();
    let scores = |answerer: Answerer| {
        let options = answerer.frame_options(16..=16);
        let (frames, choice, media) = xcomp_data::load_media(
            &task.path("media/folder_0"),
            Some(xcomp_data::ReadType::Img),
            &options,
            &xcomp_data::Limits::default(),
        )
        .unwrap();
        assert_eq!(media, Media::Video);
        let seen = answerer.see(frames, &choice, media).unwrap();
        answerer.letter_likelihoods(&seen, "What colour is it?", &['A', 'B']).unwrap()
    };
    let (own, fixed, scenes) = (
        scores(open()),
        scores(open().with_windows(WindowsWord::Fixed).unwrap()),
        scores(open().with_windows(WindowsWord::Dynamic).unwrap()),
    );
    assert_eq!(own, scenes);
    assert_ne!(own, fixed);

    let ask = |folder: &str, windows: &str| {
        task.run(&[
            "ask",
            folder,
            "media/folder_0",
            "What colour is it?",
            "--windows",
            windows,
            "--frames",
            "16",
            "--max-new-tokens",
            "2",
        ])
    };
    assert_eq!(ask("scenes/export", "fixed").code, 0);
    assert_eq!(ask("trained/export", "dynamic").code, 0, "by the usual rule");
}
