//! Runs that are watched: records that any reader of JSON lines takes, a name and tags, a page that follows the run.

#![cfg(feature = "video")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;
use xcomp_tests::{Task, program};

const REFRESH: &str = "http-equiv=\"refresh\"";

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn task() -> Task {
    let task = Task::folders();
    task.write(
        "held.yaml",
        "datasets:\n  - json_path: folders.json\n    data_root: media\n    video_read_type: img\n",
    );
    task
}

#[test]
fn every_line_is_flat_and_says_of_which_run_and_kind_it_is() {
    let task = task();
    let set = ["data.validation_mixture=held.yaml", "log.tags=[\"a\",\"b\"]", "train.max_steps=2"];
    let set = set.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> =
        ["train", "recipe.toml", "--out", "mine"].into_iter().chain(set).collect();
    let ended = task.run(&arguments);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = lines(&task.path("mine"));
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["train", "train", "eval"]);
    for line in &lines {
        let columns = line.as_object().unwrap();
        assert_eq!((&line["run"], &line["tags"]), (&"mine".into(), &"a,b".into()));
        assert!(columns.values().all(|value| !value.is_object() && !value.is_array()), "{line}");
        let own = if line["kind"] == "eval" { "eval_loss/folders" } else { "loss/" };
        assert!(columns.keys().any(|column| column.starts_with(own)), "{line}");
    }
    let stated: Value =
        serde_json::from_str(&fs::read_to_string(task.path("mine/env.json")).unwrap()).unwrap();
    assert_eq!(
        (&stated["run_name"], stated["tags"].as_array().unwrap().len()),
        (&"mine".into(), 2)
    );
}

/// Ends with the test, however that ends.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Looks until the page has it; a follower that ended would never write it.
fn wait_until(follower: &mut Follower, page: &Path, holds: impl Fn(&str) -> bool) {
    while !fs::read_to_string(page).is_ok_and(|text| holds(&text)) {
        assert!(follower.0.try_wait().unwrap().is_none(), "it ended while the run went on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_page_follows_a_run_until_it_ends() {
    let task = task();
    let set = ["--set", "train.max_steps=3", "--set", "log.run_name=a <b>"];
    let train = [&["train", "recipe.toml", "--out", "run"][..], &set].concat();
    assert_eq!(task.run(&train).code, 0);
    let (run, page) = (task.path("run"), task.path("run/report.html"));
    // As a process that trains holds the folder.
    let held = File::open(run.join(".lock")).unwrap();
    held.lock().unwrap();
    let follow = ["report", "run", "--follow", "--every", "0.05"];
    let child = Command::new(program()).args(follow).current_dir(task.path("")).spawn().unwrap();
    let mut follower = Follower(child);
    wait_until(&mut follower, &page, |text| {
        text.contains(REFRESH)
            && text.contains("running, step 3 of 3")
            && text.contains("a &lt;b&gt;")
    });

    let last = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let next = last.lines().last().unwrap().replace("\"step\":3", "\"step\":4");
    let mut metrics = File::options().append(true).open(run.join("metrics.jsonl")).unwrap();
    writeln!(metrics, "{next}").unwrap();
    wait_until(&mut follower, &page, |text| text.contains("step 4 of 3"));

    drop(held);
    assert!(follower.0.wait().unwrap().success());
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("finished") && !text.contains(REFRESH), "the last page is at rest");
}

#[test]
fn a_folder_that_is_no_run_cannot_be_followed() {
    let task = task();
    let ended = task.run(&["report", "media", "--follow"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("media is no folder of a run"), "{ended:?}");
}
