//! Names of the hub in recipes: what is fetched, from where it goes on, and that nothing half is taken for whole.
//!
//! The hub is a server on 127.0.0.1; no test needs a network.

#![cfg(feature = "video")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use xcomp_tests::{COMMIT, Ended, Faults, HubServer, Seen, Task, program};
use xcomp_train::machine::files::{entries, sha256, size_of};
use xcomp_train::run::metrics;

/// A task whose model, annotations and pictures lie on a hub.
struct Remote {
    task: Task,
    weights: PathBuf,
}

const MIXTURE: &str = "datasets:
  - json_path: hf-dataset:someone/pictures/train.json
    data_root: hf-dataset:someone/pictures/pictures
    media_type: image
";

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

impl Remote {
    fn new() -> Self {
        let task = Task::tuned();
        std::fs::create_dir(task.path("data")).unwrap();
        for name in ["train.json", "pictures"] {
            std::fs::rename(task.path(name), task.path("data").join(name)).unwrap();
        }
        task.write("mixture.yaml", MIXTURE);
        let recipe = std::fs::read_to_string(task.path("recipe.toml")).unwrap();
        let local = "init = \"random\"\nconfig = \"config.json\"\ntokenizer = \"tokenizer.json\"";
        assert!(recipe.contains(local));
        task.write("recipe.toml", &recipe.replace(local, "checkpoint = \"hf:someone/model\""));
        let weights = task.path("model/model.safetensors");
        Self { task, weights }
    }

    fn serve(&self, faults: Faults) -> HubServer {
        let (model, data) = (self.task.path("model"), self.task.path("data"));
        HubServer::start(
            &[("models/someone/model", &model), ("datasets/someone/pictures", &data)],
            faults,
        )
    }

    fn command(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        self.settle(&mut command, endpoint).args(arguments);
        command
    }

    /// The environment of every command: nothing of this machine's.
    fn settle<'a>(&self, command: &'a mut Command, endpoint: &str) -> &'a mut Command {
        for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"] {
            command.env_remove(name);
        }
        let home = self.task.path("home");
        command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).current_dir(self.task.path(""))
    }

    fn run(&self, endpoint: &str, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(endpoint, arguments))
    }

    fn blobs(&self) -> PathBuf {
        self.task.path("home/hub/models--someone--model/blobs")
    }

    /// The weights in the cache, as their content names them.
    fn blob(&self) -> PathBuf {
        self.blobs().join(sha256(&std::fs::read(&self.weights).unwrap()))
    }

    fn part(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }

    /// Training without a network needs the whole model, and says how to get it.
    fn assert_not_taken(&self) {
        let ended = self.run(NOWHERE, &["train", "recipe.toml", "--out", "none"]);
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(ended.stderr.contains("xcomp fetch recipe.toml"), "{ended:?}");
    }

    fn assert_whole(&self) {
        let (got, want) =
            (std::fs::read(self.blob()).unwrap(), std::fs::read(&self.weights).unwrap());
        assert!(got == want && !self.part().exists());
    }
}

fn losses(run: &Path) -> Vec<f64> {
    let records = metrics::read(&run.join("metrics.jsonl")).unwrap().told();
    records.values().map(|record| record.loss).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in {}", ended.stderr);
    }
    let errors = ended.stderr.lines().filter(|line| line.starts_with("error:"));
    assert_eq!(errors.count(), usize::from(code != 0), "{ended:?}");
}

#[test]
fn what_is_fetched_once_trains_and_answers_without_a_network() {
    let remote = Remote::new();
    remote.assert_not_taken();
    let server = remote.serve(Faults::default());
    let weights = size_of(&remote.weights);
    let dry = remote.run(&server.endpoint(), &["fetch", "recipe.toml", "--dry-run"]);
    check(&dry, 0, &["hf:someone/model at 0123456789ab: ", "to fetch"]);
    assert!(!remote.blob().exists());
    let ended = remote.run(&server.endpoint(), &["fetch", "recipe.toml", "--format", "json"]);
    check(&ended, 0, &["hf-dataset:someone/pictures/train.json at 0123456789ab: 1 files, "]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let names = report["names"].as_array().unwrap();
    let model = names.iter().find(|name| name["name"] == "hf:someone/model").unwrap();
    assert!(model["new_bytes"].as_u64().unwrap() > weights && model["commit"] == COMMIT);
    remote.assert_whole();
    let again = remote.run(&server.endpoint(), &["fetch", "recipe.toml"]);
    check(&again, 0, &["of which 0 B to fetch"]);
    assert_eq!(server.seen(), [Seen { from: None }], "what is there is not asked for again");
    drop(server);

    check(&remote.run(NOWHERE, &["train", "recipe.toml", "--out", "run"]), 0, &[]);
    let run = remote.task.path("run");
    let pinned = format!("hf:someone/model@{COMMIT}");
    assert_eq!(json(&run.join("env.json"))["hub"]["model.checkpoint"], pinned.as_str());
    let lock = std::fs::read_to_string(run.join("recipe.lock.toml")).unwrap();
    assert!(lock.contains(&format!("checkpoint = \"{pinned}\"")), "{lock}");

    // The same files by their paths: a name moves no number.
    remote.task.write("mixture.yaml", &MIXTURE.replace("hf-dataset:someone/pictures", "data"));
    let local = ["train", "recipe.toml", "--out", "local", "--set", "model.checkpoint=model"];
    check(&remote.run(NOWHERE, &local), 0, &[]);
    assert_eq!(losses(&run), losses(&remote.task.path("local")));

    let ask = ["ask", "hf:someone/model", "data/pictures/0.png", "Which colour is it?"];
    check(&remote.run(NOWHERE, &ask), 0, &[]);
    check(&remote.run(NOWHERE, &["plan", "run/recipe.lock.toml"]), 0, &[]);
}

#[test]
fn sizes_alone_are_enough_for_a_plan_and_not_for_a_run() {
    let remote = Remote::new();
    let server = remote.serve(Faults::default());
    let plan = ["plan", "recipe.toml", "--set", "data.expected_samples=8"];
    check(
        &remote.run(NOWHERE, &plan),
        2,
        &["xcomp fetch recipe.toml --set data.expected_samples=8"],
    );
    let fetch = ["fetch", "recipe.toml", "--only", "model.config"];
    check(&remote.run(&server.endpoint(), &fetch), 0, &["1 files"]);
    check(&remote.run(NOWHERE, &plan), 0, &[]);
    assert!(!remote.blob().exists());
    remote.assert_not_taken();
    let ask = ["ask", "hf:someone/model", "data/pictures/0.png", "Which?"];
    let missing = ["whole (no model.safetensors)", "xcomp fetch hf:someone/model"];
    check(&remote.run(NOWHERE, &ask), 2, &missing);
}

#[test]
fn a_download_that_is_cut_goes_on_from_there() {
    let remote = Remote::new();
    let half = size_of(&remote.weights) as usize / 2;
    let server = remote.serve(Faults { cut_once: Some(half), ..Faults::default() });
    check(&remote.run(&server.endpoint(), &["fetch", "hf:someone/model"]), 0, &[]);
    assert_eq!(server.seen(), [Seen { from: None }, Seen { from: Some(half) }]);
    remote.assert_whole();
}

#[test]
fn what_a_dead_fetch_left_is_gone_on_with() {
    let remote = Remote::new();
    let third = size_of(&remote.weights) as usize / 3;
    let server = remote.serve(Faults { cut_always: true, ..Faults::default() });
    let fetch = ["fetch", "hf:someone/model"];
    check(&remote.run(&server.endpoint(), &fetch), 1, &["ends after 0 of", "goes on from there"]);
    drop(server);
    std::fs::write(remote.part(), &std::fs::read(&remote.weights).unwrap()[..third]).unwrap();
    remote.assert_not_taken();

    let server = remote.serve(Faults::default());
    check(&remote.run(&server.endpoint(), &fetch), 0, &[]);
    assert_eq!(server.seen(), [Seen { from: Some(third) }]);
    remote.assert_whole();
}

#[test]
fn a_server_without_ranges_starts_again() {
    let remote = Remote::new();
    std::fs::create_dir_all(remote.blobs()).unwrap();
    std::fs::write(remote.part(), "what another file left").unwrap();
    let server = remote.serve(Faults { without_ranges: true, ..Faults::default() });
    check(&remote.run(&server.endpoint(), &["fetch", "hf:someone/model"]), 0, &[]);
    remote.assert_whole();
}

#[test]
fn bytes_with_another_checksum_are_never_taken() {
    let remote = Remote::new();
    let server = remote.serve(Faults { damaged: true, ..Faults::default() });
    let ended = remote.run(&server.endpoint(), &["fetch", "recipe.toml"]);
    let stated = remote.blob().file_name().unwrap().to_string_lossy().into_owned();
    check(&ended, 1, &["hf:someone/model", "model.safetensors", "checksum", &stated, "removed"]);
    assert!(!remote.blob().exists() && !remote.part().exists());
    remote.assert_not_taken();
    drop(server);

    // A half file of other bytes is found out, too, and the next fetch starts again.
    std::fs::write(remote.part(), "other bytes").unwrap();
    let server = remote.serve(Faults::default());
    check(&remote.run(&server.endpoint(), &["fetch", "recipe.toml"]), 1, &["checksum"]);
    check(&remote.run(&server.endpoint(), &["fetch", "recipe.toml"]), 0, &[]);
    remote.assert_whole();
}

#[test]
fn what_the_hub_does_not_have_or_show_is_named() {
    let remote = Remote::new();
    let server = remote.serve(Faults::default());
    let endpoint = server.endpoint();
    let fetch = |name: &str| remote.run(&endpoint, &["fetch", name]);
    check(&fetch("hf:someone/else"), 2, &["has no hf:someone/else (404)"]);
    let near = ["tokeniser.json", COMMIT, "the nearest is tokenizer.json"];
    check(&fetch("hf:someone/model/tokeniser.json"), 2, &near);
    check(&fetch("hf:model"), 2, &["`hf:model` is no name of the hub"]);
    let set = ["fetch", "recipe.toml", "--set", "model.checkpoint=hf:../x"];
    check(&remote.run(&endpoint, &set), 2, &["[model] checkpoint: `hf:../x` is no name"]);
    drop(server);

    let server = remote.serve(Faults { token: Some("secret".into()), ..Faults::default() });
    let denied = remote.run(&server.endpoint(), &["fetch", "recipe.toml"]);
    check(&denied, 2, &["hf:someone/model", "(401)", "set HF_TOKEN"]);
    let with = |token: &str| {
        let mut command = remote.command(&server.endpoint(), &["fetch", "recipe.toml"]);
        Ended::of(command.env("HF_TOKEN", token))
    };
    let denied = with("guess");
    check(&denied, 2, &["the token in HF_TOKEN"]);
    assert!(!denied.stderr.contains("guess"), "a token is never shown");
    check(&with("secret"), 0, &[]);
    remote.assert_whole();
}

#[test]
fn a_disk_that_refuses_leaves_no_whole_file() {
    let remote = Remote::new();
    let kib = size_of(&remote.weights) / 2048;
    let server = remote.serve(Faults::default());
    let mut command = Command::new("bash");
    let script = format!("ulimit -f {kib}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(program()).args(["fetch", "hf:someone/model"]);
    let ended = Ended::of(remote.settle(&mut command, &server.endpoint()));
    check(&ended, 1, &["cannot write", "incomplete", "File too large"]);
    assert!(!remote.blob().exists());
    remote.assert_not_taken();
    check(&remote.run(&server.endpoint(), &["fetch", "recipe.toml"]), 0, &[]);
    remote.assert_whole();
}

#[test]
fn no_network_is_one_line_and_offline_is_obeyed() {
    let remote = Remote::new();
    let fetch = ["fetch", "hf:someone/model"];
    check(&remote.run(NOWHERE, &fetch), 1, &["cannot reach http://127.0.0.1:9", "HF_ENDPOINT"]);
    let server = remote.serve(Faults::default());
    let offline = || {
        let mut command = remote.command(&server.endpoint(), &fetch);
        Ended::of(command.env("HF_HUB_OFFLINE", "1"))
    };
    check(&offline(), 2, &["HF_HUB_OFFLINE is set"]);
    assert!(server.seen().is_empty());
    check(&remote.run(&server.endpoint(), &fetch), 0, &[]);
    check(&offline(), 0, &[]);
}

#[test]
fn the_cache_has_the_layout_of_hugging_face() {
    let remote = Remote::new();
    let server = remote.serve(Faults::default());
    check(&remote.run(&server.endpoint(), &["fetch", "hf:someone/model@v1"]), 0, &[]);
    let repository = remote.task.path("home/hub/models--someone--model");
    assert_eq!(std::fs::read_to_string(repository.join("refs/v1")).unwrap(), COMMIT);
    let link = repository.join("snapshots").join(COMMIT).join("model.safetensors");
    let name = remote.blob().file_name().unwrap().to_owned();
    assert_eq!(std::fs::read_link(link).unwrap(), Path::new("../../blobs").join(name));
    let rest = entries(&repository).unwrap();
    let rest: Vec<_> = rest.iter().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(rest, ["blobs", "refs", "snapshots"]);
}
