//! Exports: what other code loads, and that a round trip touches nothing that was not tuned.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;
use xcomp_tests::Task;

type Tensors = BTreeMap<String, (Vec<usize>, safetensors::Dtype, Vec<u8>)>;

fn xcomp(run: &Task, arguments: &[&str]) {
    let ended = run.run(arguments);
    assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
}

fn tensors(folder: &Path) -> Tensors {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    read.iter()
        .map(|(name, view)| {
            (name.to_owned(), (view.shape().to_vec(), view.dtype(), view.data().to_vec()))
        })
        .collect()
}

/// Imports an export, tunes the connector alone, exports again: every other tensor keeps its bytes.
#[test]
fn a_round_trip_keeps_the_bytes_of_what_was_not_tuned() {
    for dtype in ["bf16", "f32", "f16"] {
        let run = Task::pictures();
        let dtype = format!("checkpoint.export_dtype={dtype}");
        let base = ["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"];
        xcomp(&run, &base);
        xcomp(&run, &["export", "base", "first", "--set", &dtype]);
        let again = [
            "train",
            "recipe.toml",
            "--out",
            "again",
            "--set",
            "model.init=checkpoint",
            "--set",
            "model.checkpoint=first",
            "--set",
            "tune.parts=[\"projector\"]",
        ];
        xcomp(&run, &again);
        xcomp(&run, &["export", "again", "second", "--set", &dtype]);

        let (first, second) = (tensors(&run.path("first")), tensors(&run.path("second")));
        assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
        let changed: Vec<&String> =
            first.iter().filter(|(name, it)| second[*name] != **it).map(|(name, _)| name).collect();
        let tuned: Vec<&String> =
            first.keys().filter(|name| name.starts_with("model.mm_projector.")).collect();
        assert_eq!(tuned.len(), 4);
        assert_eq!(changed, tuned, "{dtype}: what was tuned, and nothing else, has changed");
    }
}

#[test]
fn a_folder_has_what_hugging_face_code_asks_for() {
    let run = Task::pictures();
    xcomp(&run, &["train", "recipe.toml", "--out", "base", "--set", "train.max_steps=1"]);
    xcomp(&run, &["export", "base", "whole"]);
    xcomp(&run, &["export", "base", "from-run", "--llm-only"]);
    xcomp(&run, &["export", "whole", "from-export", "--llm-only"]);
    let json = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(run.path(path)).unwrap()).unwrap()
    };
    assert!(json("whole/config.json")["xcomp_compression"]["schedule"].is_string());
    assert_eq!(json("whole/config.json")["xcomp_compression"]["group_order"], "reference");
    assert_eq!(
        json("whole/generation_config.json")["eos_token_id"].as_array().map(Vec::len),
        Some(2)
    );

    let whole = tensors(&run.path("whole"));
    for folder in ["from-run", "from-export"] {
        let plain = json(&format!("{folder}/config.json"));
        assert_eq!(plain["architectures"][0], "Qwen2ForCausalLM");
        assert!(plain.get("mm_hidden_size").is_none() && plain.get("vision_config").is_none());
        assert!(run.path(folder).join("tokenizer.json").is_file());
        let llm = tensors(&run.path(folder));
        assert_eq!(llm.len(), 2 + 9 * 12, "embeddings, norm, 12 tensors of each of 9 layers");
        assert!(llm.iter().all(|(name, tensor)| whole[name] == *tensor), "copied byte for byte");
    }
    let left: Vec<_> = std::fs::read_dir(run.path("")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| !entry.file_name().to_string_lossy().contains("whole-")));
}

/// A checkpoint that is named is looked at like the newest: a flipped bit is not exported.
#[test]
fn a_damaged_checkpoint_is_not_exported() {
    let run = Task::pictures();
    xcomp(&run, &["train", "recipe.toml", "--out", "run", "--set", "train.max_steps=1"]);
    let weights = run.path("run/checkpoint-1/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    for named in [&["--step", "1"][..], &[]] {
        let ended = run.run(&[&["export", "run", "out"], named].concat());
        assert_ne!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains("checkpoint"), "{ended:?}");
        assert!(!run.path("out").exists(), "{named:?}");
    }
}
