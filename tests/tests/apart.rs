//! Samples of a forward that a processor runs side by side: how many threads there are moves no bit.

#![cfg(feature = "video")]

use std::process::Command;

use xcomp_tests::{Ended, Task, program};
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::run::metrics::read;
use xcomp_train::train::meter::Record;

/// Of the language model: wide enough that a clip is worth a tape of its own.
const WIDTH: usize = 256;

/// Trains with so many threads; gives the hash of the weights, and loss and gradient norm of every step.
fn trained(task: &Task, threads: usize, set: &[&str]) -> (String, Vec<[f64; 2]>) {
    let out = task.path(&format!("run-{threads}-{}", set.len()));
    let mut command = Command::new(program());
    command.arg("train").arg(task.path("recipe.toml")).arg("--out").arg(&out);
    command.args(["--device", "cpu"]).env("RAYON_NUM_THREADS", threads.to_string());
    for set in ["train.per_device_batch_size=6", "train.max_steps=3"].iter().chain(set) {
        command.args(["--set", set]);
    }
    let ended = Ended::of(&mut command);
    assert_eq!(ended.code, 0, "{ended:?}");
    let records: Vec<Record> =
        read(&out.join("metrics.jsonl")).unwrap().records.into_values().collect();
    let tokens: u64 = records.iter().map(|record| record.tokens_in).sum();
    assert!(tokens as usize * WIDTH > 3 * 2 * (24 << 10), "several tapes a step: {tokens} tokens");
    let numbers = records.iter().map(|record| [record.loss, record.grad_norm]).collect();
    (size_and_sha256(&out.join("last/model.safetensors")).unwrap().1, numbers)
}

#[test]
fn threads_move_no_bit_of_samples_side_by_side() {
    let task = Task::folders();
    let config = std::fs::read_to_string(task.path("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["hidden_size"] = WIDTH.into();
    task.write("config.json", &config.to_string());
    let adapters: &[&str] =
        &["tune.lora_rank=2", "tune.lora_targets=[\"all-linear\"]", "tune.lora_dropout=0.25"];
    for set in [&[][..], adapters] {
        let one = trained(&task, 1, set);
        assert_eq!(trained(&task, 3, set), one, "{set:?}");
    }
}
