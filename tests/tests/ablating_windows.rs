//! A sweep of Video-XL in miniature: windows beside other compressions, questions of events, needles.

#![cfg(feature = "video")]

use std::fs;
use std::path::{Path, PathBuf};

use xcomp_tests::{Task, llava_video, windows_config};

fn ablate(run: &Task) -> (i32, String, String) {
    let ended = run.run(&["ablate", "sweep.toml", "--out", "sweep", "--device", "cpu"]);
    (ended.code, ended.stdout, ended.stderr)
}

/// Windows on and off, drops, samples made of events, needles in hay: what a sweep of Video-XL asks on one base.
#[test]
fn a_sweep_of_windows_has_tokens_needles_and_questions_of_events() {
    let mut windows = llava_video("grid");
    windows["mm_hidden_size"] = windows["hidden_size"].clone();
    let run = Task::pictures();
    run.write("model.json", &windows_config(&windows.to_string()).to_string());
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("recipes");
    for name in ["mini.toml", "mini-base.toml"] {
        fs::copy(recipes.join("ablations").join(name), run.path(name)).unwrap();
    }
    let set = r#"["data.clip_frames=1", "data.min_frames=2", "data.max_frames=2", "train.max_steps=1", "vst.ratios=[2]"]"#;
    run.write(
        "sweep.toml",
        &format!(
            r#"[sweep]
recipe = "mini.toml"
base = "mini-base.toml"
set = {set}
base_set = {set}
seeds = [1, 2]
reference = "learned"
frames = [4]
ask = ["--by", "likelihood"]
[world]
config = "model.json"
train_clips = 16
validation_clips = 1
test_clips = 2
vico_percent = [25]
[[arm]]
name = "learned"
[[arm]]
name = "learned, 4"
ask = ["--ratio", "4"]
[[arm]]
name = "some of events"
mixture = "mixture-vico-25.yaml"
[[arm]]
name = "fewer frames"
frames = [2]
vst.windows = "none"
[[arm]]
name = "dropped"
vst.windows = "none"
compression.schedule = "pool"
compression.step_layers = [0]
compression.step_strides = [4]
[[table]]
title = "Same"
arms = ["learned", "fewer frames"]
same_tokens = true
[[table]]
title = "Other"
arms = ["learned, 4", "dropped", "some of events"]
same_tokens = true
[needles]
arms = ["learned, 4", "dropped"]
lengths = [2, 5]
depths = [0.0, 1.0]
count = 2
"#
        ),
    );
    let (code, text, stderr) = ablate(&run);
    assert_eq!(code, 0, "{stderr}");
    for row in [
        "| learned | 4 | 8.00 |",
        "| learned, 4 | 4 | 4.00 |",
        "| some of events | 4 | 8.00 |",
        "| fewer frames | 2 | 16.00 |",
        "| dropped | 4 | 4.00 |",
        "The arms use as many visual tokens",
        "The arms do not use as many visual tokens",
    ] {
        assert!(text.contains(row), "{row}: {text}");
    }
    let mixed = fs::read_to_string(run.path("sweep/world/mixture-vico-25.yaml")).unwrap();
    assert!(mixed.contains("train.json\n    sampling_strategy: first:12\n"), "{mixed}");
    assert!(mixed.contains("vico.json\n    sampling_strategy: first:4\n"), "{mixed}");
    let page = fs::read_to_string(run.path("sweep/report.html")).unwrap();
    for arm in ["learned, 4", "dropped"] {
        let title = format!("needles by frames of hay and depth: {arm}");
        assert_eq!(page.matches(&title).count(), 1, "{arm}");
    }
    // Two seeds of four trainings, and one test for each arm that looks for needles; the second call finds all of it.
    let kept = || {
        let all = walk(&run.path("sweep/runs"));
        let of = |name: &str| all.iter().filter(|path| path.ends_with(name)).count();
        [of("finished.json"), of("niah.json"), of("niah.svg")]
    };
    assert_eq!(kept(), [1 + 2 * 4, 2, 2]);
    let (code, again, stderr) = ablate(&run);
    assert_eq!((code, kept()), (0, [9, 2, 2]), "{stderr}");
    assert_eq!(again, text);
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
