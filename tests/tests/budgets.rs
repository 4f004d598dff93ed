//! Sweeps at equal cost: what a question costs, the ideal observer, one checkpoint at several budgets, what can be told apart.

#![cfg(feature = "video")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use xcomp_tests::{Task, assert_page_is_shown};

const SWEEP: &str = r#"[sweep]
recipe = "mini.toml"
base = "mini-base.toml"
set = ["train.max_steps=2"]
base_set = ["train.max_steps=1", "data.min_frames=8", "data.max_frames=8"]
base_seeds = [1, 2]
pair_seeds = true
seeds = [1, 2]
reference = "plain"
frames = [8]
ask = ["--by", "likelihood"]

[world]
train_clips = 16
validation_clips = 1
test_clips = 6
frames = 64
flares = [2, 8]

[[arm]]
name = "plain"
curve = "plain"
data.min_frames = 8
data.max_frames = 8

[[arm]]
name = "twice"
curve = "plain"
frames = [16]

[[arm]]
name = "elastic, 8"
frames = [16]
compression.schedule = "elastic"
compression.budgets = [4, 8]
train.per_device_batch_size = 1
train.gradient_accumulation_steps = 4
ask = ["--tokens", "8"]

[[arm]]
name = "elastic, 4"
frames = [16]
compression.schedule = "elastic"
compression.budgets = [4, 8]
train.per_device_batch_size = 1
train.gradient_accumulation_steps = 4
ask = ["--tokens", "4"]

[[arm]]
name = "chosen"
frames = [16]
data.min_frames = 8
data.max_frames = 8
ask = ["--select", "8", "--score", "clean", "--repeat", "1"]

[[table]]
title = "Equal cost"
arms = ["plain", "twice", "elastic, 8", "elastic, 4", "chosen"]

[[table.claim]]
text = "more frames help"
better = "twice"
than = "plain"
tasks = ["needle, 2 frames", "needle, 8 frames"]

[[table.claim]]
text = "fewer tokens do not hurt"
better = "elastic, 4"
than = "elastic, 8"
"#;

fn sweep(run: &Task, text: &str, more: &[&str]) -> (i32, String, String) {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("recipes");
    for name in ["mini.toml", "mini-base.toml"] {
        fs::copy(recipes.join("ablations").join(name), run.path(name)).unwrap();
    }
    run.write("sweep.toml", text);
    let fixed = ["ablate", "sweep.toml", "--out", "sweep", "--device", "cpu"];
    let ended = run.run(&[&fixed, more].concat());
    (ended.code, ended.stdout, ended.stderr)
}

#[test]
fn arms_of_equal_cost_stand_beside_the_ideal_observer() {
    let run = Task::pictures();
    let (code, plan, stderr) = sweep(&run, SWEEP, &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    // Two bases, and from each plain, twice and elastic; frames are chosen by the plain one.
    assert!(plan.contains("8 trainings with 12 examinations, 0 trainings are finished"), "{plan}");
    assert!(!plan.contains("with a chance of 80 %"), "nothing is known yet: {plan}");

    let (code, text, stderr) = sweep(&run, SWEEP, &["--jobs", "2"]);
    assert_eq!(code, 0, "{stderr}");
    let table: Value =
        serde_json::from_slice(&fs::read(run.path("sweep/table.json")).unwrap()).unwrap();
    let rows = &table["tables"][0]["rows"];
    let number = |row: usize, place: &str| rows[row].pointer(place).unwrap().as_f64().unwrap();
    let tokens = |row: usize| rows[row]["mean_tokens"].clone();
    assert_eq!([0, 1, 2, 4].map(tokens), [8.0; 4]);
    assert!((number(3, "/mean_tokens") - 4.0).abs() < 0.1, "{}", tokens(3));
    let flops: Vec<f64> = (0..5).map(|row| number(row, "/cost/llm_flops")).collect();
    assert_eq!(rows[2]["cost"], rows[1]["cost"]);
    assert!(flops[1] > 1.3 * flops[0] && flops[4] > flops[0], "{flops:?}");
    assert!(flops[3] < 0.75 * flops[1], "{flops:?}");
    let cache: Vec<f64> = (0..5).map(|row| number(row, "/cost/kv_bytes")).collect();
    // Prompts that name more frames may be a token longer.
    assert!((cache[4] / cache[0] - 1.0).abs() < 0.02 && cache[1] > 1.3 * cache[0], "{cache:?}");

    // 16 frames of 64 are one of every four: a light of 8 is always seen, one of 2 in half of its 61 places.
    let tasks: Vec<&str> = table["tables"][0]["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    let at = |task: &str| tasks.iter().position(|name| *name == task).unwrap();
    let best = |row: usize, task: &str| number(row, &format!("/task_ceilings/{}", at(task)));
    assert!((best(1, "needle, 8 frames") - 1.0).abs() < 1e-12);
    assert!((best(1, "needle, 2 frames") - (0.25 + 0.75 * 30.5 / 61.0)).abs() < 0.02);
    assert!(best(0, "needle, 2 frames") < 0.5 && best(1, "order") > 0.999);
    assert!(number(0, "/ceiling") < number(1, "/ceiling"));
    assert_eq!(rows[4]["ceiling"], rows[1]["ceiling"], "what is chosen from is seen");
    let claim = &table["tables"][0]["claims"][0];
    assert_eq!(claim["tasks"], json!(["needle, 2 frames", "needle, 8 frames"]));
    assert_eq!(
        (&claim["difference"]["questions"], &claim["difference"]["bases"]),
        (&json!(6), &json!(2))
    );
    assert!(
        text.contains("| ideal observer % |") && text.contains("`twice` less `plain` on needle"),
        "{text}"
    );

    let page = fs::read_to_string(run.path("sweep/report.html")).unwrap();
    let (shown, _) = page.split_once("<pre>").unwrap();
    for told in [
        "Claims",
        "ideal observer",
        "Accuracy against the cost of a question",
        "<code>plain</code>",
    ] {
        assert!(shown.contains(told), "the page does not tell {told}");
    }
    for raw in ["`", "|---", "**", "<script", "src=", "href=", "@import", "url("] {
        assert!(!shown.contains(raw), "the page shows {raw}");
    }

    assert_page_is_shown(&run.path("sweep/report.html"));

    let (code, plan, stderr) = sweep(&run, SWEEP, &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(plan.contains("8 trainings are finished"), "{plan}");
    assert!(plan.contains("`elastic, 4` less `elastic, 8`: "), "{plan}");
    assert!(plan.contains("(2 bases, 6 clips, level 2.5 %)"), "{plan}");

    // An arm that nobody has trained: the bases say what is known.
    let more = "\n[[arm]]\nname = \"new\"\ntrain.max_steps = 3\n[[table]]\ntitle = \"New\"\narms = [\"plain\", \"new\"]\n";
    let (code, plan, stderr) = sweep(&run, &[SWEEP, more].concat(), &["--dry-run"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        plan.contains("`new` less `plain`: ") && plan.contains(", by the base's variances)"),
        "{plan}"
    );
}

#[test]
fn a_world_without_room_and_a_claim_about_no_task_are_refused() {
    let run = Task::pictures();
    let refused = |from: &str, to: &str| {
        let (code, _, stderr) = sweep(&run, &SWEEP.replace(from, to), &["--dry-run"]);
        assert_ne!(code, 0, "{stderr}");
        stderr
    };
    let stderr = refused("flares = [2, 8]", "flares = [2, 63]");
    assert!(stderr.contains("no story fits into 64 frames with a light of 63"), "{stderr}");
    let stderr = refused("\"needle, 2 frames\",", "\"needle\",");
    assert!(stderr.contains("about the task `needle`, of which there is no question"), "{stderr}");
}
