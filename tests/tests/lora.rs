//! Runs that tune adapters: what moves, what is exported, and that dropping inputs is repeatable.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use serde_json::Value;
use xcomp_model::loss::LossNorm;
use xcomp_model::vision::frames::Encoding;
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::{Look, Named};
use xcomp_tests::{HostTensor, Task, read_tensors};
use xcomp_train::data::Data;
use xcomp_train::data::collate::{VisualInput, collate};
use xcomp_train::export::adapter::{Base, export_adapter};
use xcomp_train::export::{find_checkpoint, tuned_model};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::run::launch::train_recipe;
use xcomp_train::train::meter::Record;
use xcomp_train::train::state::TrainState;

const ADAPTERS: &[&str] =
    &["tune.lora_rank=4", "tune.lora_alpha=8", "tune.lora_targets=[\"all-linear\", \"mlp.2\"]"];
const DROPPING: &[&str] = &[ADAPTERS[0], ADAPTERS[1], ADAPTERS[2], "tune.lora_dropout=0.25"];

/// Trains, and gives the records of the steps.
fn train(task: &Task, name: &str, set: &[&str]) -> Vec<Record> {
    let out = task.path(name);
    train_recipe(task.recipe(set), &out, Choice::Cpu, Stop::never()).unwrap();
    let read = xcomp_train::run::metrics::read(&out.join("metrics.jsonl")).unwrap();
    read.records.into_values().collect()
}

fn plan(task: &Task, set: &[&str]) -> Plan {
    Plan::new(task.recipe(set), Some(12)).unwrap()
}

fn exported(run: &Path) -> BTreeMap<String, HostTensor> {
    read_tensors(&run.join("export/model.safetensors"))
}

/// The mean loss of a sample under a model.
fn loss(model: &Vlm, plan: &Plan) -> f32 {
    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let record = &data.mixture.records()[0];
    let example = xcomp_data::load_example(record, 0, data.load_options()).unwrap();
    let (prompt, visuals) = collate(example, plan.recipe.data.clip_frames).unwrap();
    let [VisualInput::Clips(clips, _)] = visuals.as_slice() else { panic!("no cache was asked") };
    let merged = vec![vec![model.encode(clips, &Device::flex(), Encoding::default())]];
    let (loss, weight) = model.loss(&[prompt], merged, &plan.compression, LossNorm::Token);
    loss.into_scalar::<f32>() / weight as f32
}

#[test]
fn an_export_has_the_adapters_in_its_maps() {
    let task = Task::folders();
    let plan = plan(&task, DROPPING);
    train(&task, "run", DROPPING);
    let (device, run) = (Device::flex(), task.path("run"));
    let tuned = tuned_model(&plan, &find_checkpoint(&run, None).unwrap(), &device).unwrap();
    let mut merged = Vlm::new(&plan.config, &device);
    merged.maps().into_iter().for_each(|map| map.linear.lora = None);
    merged.load_weights(&run.join("export")).unwrap();
    let (apart, together) = (loss(&tuned, &plan), loss(&merged, &plan));
    assert!((apart - together).abs() < 1e-5 * apart, "{apart} {together}");

    // The adapters are not idle: without them the loss is another.
    let mut bare = tuned.clone();
    bare.maps().into_iter().for_each(|map| map.linear.lora = None);
    let without = loss(&bare, &plan);
    assert!((without - apart).abs() > 1e-2 * apart, "{without} {apart}");
}

#[test]
fn maps_with_adapters_and_what_is_named_beside_them_move_and_nothing_else() {
    let task = Task::folders();
    let set = [&["tune.parts=[\"llm\", \"projector\", \"norm\"]"], DROPPING].concat();
    train(&task, "run", &set);
    // The same base: random weights follow from the seed.
    train(&task, "base", &["tune.parts=[\"norm\"]", "optimizer.learning_rate=0.0"]);
    let (base, run) = (exported(&task.path("base")), exported(&task.path("run")));
    assert!(base.keys().eq(run.keys()), "an export has the names of the base");
    let map = |name: &str| name.contains("layers.") && name.ends_with("proj.weight");
    for (name, tensor) in &run {
        let moves = map(name)
            || name == "model.norm.weight"
            || name.starts_with("model.mm_projector.mlp.0.")
            || name == "model.mm_projector.mlp.2.weight";
        assert_eq!(base[name] != *tensor, moves, "{name}");
    }
    let held = read_tensors(&task.path("run/last/model.safetensors"));
    let factors = held.keys().filter(|name| name.contains(".lora.")).count();
    assert_eq!((factors, held.len()), (2 * (9 * 7 + 1), 2 * (9 * 7 + 1) + 3));
}

/// The second factor is 0 at first: an adapter adds nothing, and only it has a gradient.
#[test]
fn the_first_step_has_the_loss_of_the_base() {
    let task = Task::folders();
    let steps =
        |name: &str, set: &[&str]| train(&task, name, &[&["train.max_steps=1"], set].concat());
    let (whole, adapters) = (steps("whole", &[]), steps("adapters", ADAPTERS));
    assert_eq!(whole[0].loss.to_bits(), adapters[0].loss.to_bits());
    let moments = read_tensors(&task.path("adapters/last/optimizer.safetensors"));
    let idle = |end: &str| {
        let mut own =
            moments.iter().filter(|(name, _)| name.starts_with("exp_avg.") && name.ends_with(end));
        own.all(|(_, moment)| moment.f32().iter().all(|number| *number == 0.0))
    };
    assert!(idle(".lora.a") && !idle(".lora.b"));
}

/// Recomputed layers drop the inputs that they dropped before; another seed drops others.
#[test]
fn dropping_is_the_same_when_layers_run_again() {
    let task = Task::folders();
    let run = |name: &str, set: &[&str]| train(&task, name, &[DROPPING, set].concat());
    let kept = run("kept", &[]);
    let again = run("again", &["train.recompute=layer"]);
    for (kept, again) in kept.iter().zip(&again) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * a.abs();
        assert!(near(kept.loss, again.loss) && near(kept.grad_norm, again.grad_norm));
    }
    let all = train(&task, "all", ADAPTERS);
    assert_eq!(kept[0].loss.to_bits(), all[0].loss.to_bits(), "nothing is added yet");
    let last = |records: &[Record]| records.last().unwrap().loss;
    assert!((last(&kept) - last(&all)).abs() > 1e-4, "inputs are dropped");
}

#[test]
fn accumulation_of_four_ones_is_one_of_four_with_adapters() {
    let task = Task::folders();
    let run = |name: &str, batch: &str, steps: &str| {
        let (batch, steps) = (
            format!("train.per_device_batch_size={batch}"),
            format!("train.gradient_accumulation_steps={steps}"),
        );
        train(&task, name, &[&[&batch, &steps, "train.max_steps=2"], ADAPTERS].concat())
    };
    for (ones, four) in run("ones", "1", "4").iter().zip(&run("four", "4", "1")) {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5 * a.abs();
        assert!(near(ones.loss, four.loss) && near(ones.grad_norm, four.grad_norm));
    }
}

/// Dtypes of parameters by name.
#[derive(Default)]
struct Dtypes(BTreeMap<String, DType>);

impl Look for Dtypes {
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        self.0.insert(name.into(), param.val().dtype());
    }
}

#[test]
fn frozen_matrices_of_the_language_model_are_held_as_they_are_computed_with() {
    let task = Task::folders();
    let check = |dtype: &str, matrix: DType| {
        let dtype = format!("train.dtype={dtype}");
        let plan = plan(&task, &[&[dtype.as_str()], ADAPTERS].concat());
        let state = TrainState::start(&plan, BTreeMap::new(), &Device::flex()).unwrap();
        let mut found = Dtypes::default();
        state.model.look_at_each(&mut found);
        for (name, want) in [
            ("model.layers.0.mlp.up_proj.weight", matrix),
            ("model.embed_tokens.weight", matrix),
            ("model.layers.0.self_attn.q_proj.bias", DType::F32),
            ("model.layers.0.mlp.up_proj.lora.a", DType::F32),
            ("model.mm_projector.mlp.0.weight", DType::F32),
            ("model.vision_tower.vision_tower.encoder.blocks.0.mlp.fc1.weight", DType::F32),
        ] {
            assert_eq!(found.0[name], want, "{dtype} {name}");
        }
        plan.report()
    };
    let (f32, bf16) = (check("f32", DType::F32), check("bf16", DType::BF16));
    assert!(bf16.memory.frozen_weights < f32.memory.frozen_weights);
    assert!(bf16.to_string().contains("language model are held in bf16"), "{bf16}");
    let set = [&["train.dtype=bf16", "train.max_steps=2"], DROPPING].concat();
    assert!(train(&task, "run", &set).iter().all(|record| record.loss.is_finite()));
}

#[test]
fn an_adapter_has_the_names_and_keys_of_peft() {
    let task = Task::folders();
    let set = [&["train.max_steps=1"], ADAPTERS].concat();
    train(&task, "run", &set);
    let saved = find_checkpoint(&task.path("run"), None).unwrap();
    let write = |name: &str, base| {
        let folder = task.path(name);
        export_adapter(&plan(&task, &set), &saved, &folder, base).unwrap();
        let text = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        (read_tensors(&folder.join("adapter_model.safetensors")), config)
    };
    let (tensors, config) = write("whole", Base::Whole);
    let at = "base_model.model.model.layers.3.mlp.down_proj";
    assert_eq!(tensors[&format!("{at}.lora_A.weight")].shape, [4, 32]);
    assert_eq!(tensors[&format!("{at}.lora_B.weight")].shape, [16, 4]);
    // One map of the projector has an adapter, the other moves as a whole.
    assert!(tensors.contains_key("base_model.model.model.mm_projector.mlp.2.lora_A.weight"));
    assert!(tensors.contains_key("base_model.model.model.mm_projector.mlp.0.weight"));
    assert_eq!(config["modules_to_save"], serde_json::json!(["model.mm_projector.mlp.0"]));
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_u64()), (Some(4), Some(8)));
    assert_eq!((&config["peft_type"], &config["bias"]), (&"LORA".into(), &"none".into()));
    let words =
        ["down_proj", "gate_proj", "k_proj", "mlp.2", "o_proj", "q_proj", "up_proj", "v_proj"];
    assert_eq!(config["target_modules"], serde_json::json!(words));

    let (llm, config) = write("llm", Base::Llm);
    assert_eq!(llm.len(), 2 * 9 * 7);
    assert!(config["modules_to_save"].is_null());
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    let task = Task::folders();
    let refused = |set: &[&str], want: &[&str]| {
        let set = set.iter().flat_map(|set| ["--set", set]);
        let ended = task.run(&["plan", "recipe.toml"].into_iter().chain(set).collect::<Vec<_>>());
        assert_eq!(ended.code, 2, "{ended:?}");
        assert!(want.iter().all(|want| ended.stderr.contains(want)), "{}", ended.stderr);
    };
    refused(&["tune.lora_alpha=32"], &["lora_alpha", "there are no adapters; give lora_rank"]);
    refused(&["tune.lora_rank=4", "tune.lora_dropout=1.0"], &["1 must be in 0..1, 1 excluded"]);
    refused(&["tune.lora_rank=4", "tune.lora_alpha=0.0"], &["0 must be above 0"]);
    refused(&["tune.lora_rank=4", "tune.lora_targets=[]"], &["name at least one map"]);
    refused(
        &["tune.lora_rank=4", "tune.lora_targets=[\"q_proj\", \"qkv\"]"],
        &["[tune] lora_targets: `qkv` ends the name of no linear map of the tuned parts"],
    );
    task.run(&["train", "recipe.toml", "--out", "run", "--set", "train.max_steps=1"]);
    let ended = task.run(&["export", "run", "--adapter", "--out", "adapter"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("tunes whole weights"), "{}", ended.stderr);
    assert!(!task.path("adapter").exists());
}
