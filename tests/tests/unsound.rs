//! A step whose numbers are not finite, in the middle of a run that reads the device every few steps only.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use xcomp_tests::{HostData, HostTensor, Task, read_tensors, write_tensors};
use xcomp_train::data::Data;
use xcomp_train::error::Error;
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::machine::stop::Stop;
use xcomp_train::run::launch::{planned, train_recipe};
use xcomp_train::train::Summary;
use xcomp_train::train::state::step_of;

/// A character that stands in one sample only.
const RARE: &str = "~";
/// The first sample of step 3: two samples a step, in the order of the mixture.
const SPOILED: usize = 4;
const EMBEDDINGS: &str = "model.embed_tokens.weight";

const FROM_BASE: [&str; 4] = [
    "model.init=checkpoint",
    "model.checkpoint=base",
    "data.order=sequential",
    "schedule.warmup_ratio=0",
];

/// A task whose fifth sample meets an embedding that is not a number; nothing else does.
fn spoiled_task() -> Task {
    let tiny = Task::folders();
    let json = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(tiny.path(name)).unwrap()).unwrap()
    };
    let mut config = json("config.json");
    config["tie_word_embeddings"] = false.into(); // the head would bring it into every sample
    tiny.write("config.json", &config.to_string());
    let plan = planned(tiny.recipe(&[])).unwrap();
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let spoiled = &data.mixture.records()[SPOILED].id;
    for list in ["pictures.json", "folders.json"] {
        let mut records = json(list);
        for record in records.as_array_mut().unwrap().iter_mut().filter(|r| r["id"] == **spoiled) {
            let question = &mut record["conversations"][0]["value"];
            *question = format!("{}{RARE}", question.as_str().unwrap()).into();
        }
        tiny.write(list, &records.to_string());
    }

    train(&tiny, &tiny.path("first"), &["train.max_steps=1"]).unwrap();
    std::fs::rename(tiny.path("first/export"), tiny.path("base")).unwrap();
    let file = tiny.path("base/model.safetensors");
    let mut weights = read_tensors(&file);
    let token = json("tokenizer.json")["model"]["vocab"][RARE].as_u64().unwrap() as usize;
    let embeddings = weights.get_mut(EMBEDDINGS).unwrap();
    let row = embeddings.shape[1];
    let HostData::F32(numbers) = &mut embeddings.data else { panic!("f32") };
    numbers[token * row..(token + 1) * row].fill(f32::NAN);
    write_tensors(&file, &weights);
    tiny
}

fn train(tiny: &Task, out: &Path, set: &[&str]) -> Result<Summary, Error> {
    train_recipe(tiny.recipe(set), out, Choice::Cpu, Stop::never())
}

/// Hashes of a checkpoint's weights, moments and everything else.
fn fingerprint(folder: &Path) -> BTreeMap<&'static str, String> {
    ["model.safetensors", "optimizer.safetensors", "train_state.json"]
        .map(|name| (name, size_and_sha256(&folder.join(name)).unwrap().1))
        .into()
}

/// Numbers that are not finite.
fn spoiled_values(tensors: &BTreeMap<String, HostTensor>) -> usize {
    tensors.values().flat_map(HostTensor::f32).filter(|value| !value.is_finite()).count()
}

const READINGS: [[&str; 2]; 3] = [
    ["log.logging_steps=1", "checkpoint.save_steps=0"],
    ["log.logging_steps=5", "checkpoint.save_steps=0"],
    ["log.logging_steps=5", "checkpoint.save_steps=2"],
];

#[test]
fn a_run_stops_at_the_step_however_rarely_it_is_read() {
    let tiny = spoiled_task();
    let states: Vec<_> = READINGS
        .iter()
        .map(|reading| {
            let out = tiny.path(&reading.concat());
            let set = [&FROM_BASE[..], reading].concat();
            let error = train(&tiny, &out, &set).unwrap_err();
            assert!(matches!(error, Error::NonFinite { step: 3, .. }), "{error}");
            let records =
                xcomp_train::run::metrics::read(&out.join("metrics.jsonl")).unwrap().records;
            let (step, last) = records.last_key_value().unwrap();
            assert!(*step == 3 && !last.loss.is_finite() && !last.grad_norm.is_finite());
            fingerprint(&out.join("non_finite/checkpoint-2"))
        })
        .collect();
    for state in &states[1..] {
        assert_eq!(state["model.safetensors"], states[0]["model.safetensors"]);
        assert_eq!(state["optimizer.safetensors"], states[0]["optimizer.safetensors"]);
    }
}

#[test]
fn a_skipped_step_moves_nothing_however_rarely_it_is_read() {
    let tiny = spoiled_task();
    let ends: Vec<_> = READINGS
        .iter()
        .map(|reading| {
            let out = tiny.path(&reading.concat());
            let set = [&FROM_BASE[..], reading, &["train.on_non_finite=skip"]].concat();
            // All steps are done; only the export refuses the embedding, which was spoiled before.
            let error = train(&tiny, &out, &set).unwrap_err().to_string();
            assert!(error.contains(EMBEDDINGS) && error.contains("it is not written"), "{error}");
            assert_eq!(step_of(&out.join("last")).unwrap(), 6);
            let weights = read_tensors(&out.join("last/model.safetensors"));
            let row = weights[EMBEDDINGS].shape[1];
            assert_eq!(spoiled_values(&weights), row, "only the embedding that was spoiled before");
            let moments = read_tensors(&out.join("last/optimizer.safetensors"));
            assert_eq!(spoiled_values(&moments), 0);
            fingerprint(&out.join("last"))
        })
        .collect();
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0]["model.safetensors"], ends[2]["model.safetensors"]);
    assert_eq!(ends[0]["optimizer.safetensors"], ends[2]["optimizer.safetensors"]);
}
