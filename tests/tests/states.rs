//! Runs whose weights, moments and gradients are held in fewer bits: exact resumes, sizes, and what is in a checkpoint.

#![cfg(feature = "video")]

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use xcomp_tests::{Task, varied};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::files::size_and_sha256;
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::run::launch::train_recipe;

const WEIGHTS: [&str; 2] = ["train.weights_dtype=f32", "train.weights_dtype=bf16"];
const MOMENTS: [&str; 3] =
    ["optimizer.moments_dtype=f32", "optimizer.moments_dtype=bf16", "optimizer.moments_dtype=int8"];

/// Trains, and gives the bits of every loss.
fn train(task: &Task, name: &str, set: &[&str]) -> Vec<u64> {
    let out = task.path(name);
    train_recipe(task.recipe(set), &out, Choice::Cpu, Stop::never()).unwrap();
    let read = xcomp_train::run::metrics::read(&out.join("metrics.jsonl")).unwrap();
    read.records.into_values().map(|record| record.loss.to_bits()).collect()
}

/// Hashes of everything that decides what comes next.
fn fingerprint(run: &Path) -> BTreeMap<&'static str, String> {
    ["model.safetensors", "optimizer.safetensors", "train_state.json"]
        .map(|name| (name, size_and_sha256(&run.join("last").join(name)).unwrap().1))
        .into()
}

/// Dtype and bytes of every tensor of a checkpoint.
fn tensors(run: &Path) -> BTreeMap<String, (Dtype, usize)> {
    let mut found = BTreeMap::new();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = std::fs::read(run.join("last").join(file)).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let own =
            read.iter().map(|(name, view)| (name.to_owned(), (view.dtype(), view.data().len())));
        found.extend(own);
    }
    found
}

/// All six: a run that goes on from its middle ends with the bits of one that does not, and takes the room that was planned.
#[test]
fn every_combination_goes_on_exactly_and_takes_what_was_planned() {
    let task = Task::folders();
    let mut sizes = vec![];
    for weights in WEIGHTS {
        for moments in MOMENTS {
            let set = [weights, moments];
            let [whole, parts] =
                ["whole", "parts"].map(|name| format!("{name}-{weights}-{moments}"));
            train(&task, &whole, &set);
            train(&task, &parts, &set);
            let (whole, out) = (task.path(&whole), task.path(&parts));
            std::fs::remove_dir_all(out.join("checkpoint-6")).unwrap();
            train(&task, &parts, &set);
            assert_eq!(fingerprint(&whole), fingerprint(&out), "{set:?}");

            let plan = Plan::new(task.recipe(&set), Some(12)).unwrap();
            let held: usize = tensors(&whole).values().map(|(_, bytes)| bytes).sum();
            assert_eq!(held as u64, plan.report().checkpoint_bytes, "{set:?}");
            let memory = plan.report().memory;
            assert_eq!(memory.tuned_weights + memory.moments, held as u64, "{set:?}");
            sizes.push(held);
        }
    }
    // Most tensors of so small a model are too small to be quantised.
    let lighter = |sizes: &[usize]| sizes[1..].iter().all(|narrow| *narrow < sizes[0]);
    assert!(lighter(&sizes[..3]) && lighter(&sizes[3..]), "{sizes:?}");
    assert!(sizes[..3].iter().zip(&sizes[3..]).all(|(wide, narrow)| wide > narrow), "{sizes:?}");
}

/// Matrices in bf16 and vectors in f32; moments of large tensors as bytes, with a scale for each 256.
#[test]
fn a_checkpoint_holds_what_was_in_memory() {
    let task = Task::folders();
    train(&task, "run", &["train.max_steps=2", WEIGHTS[1], MOMENTS[2]]);
    let found = tensors(&task.path("run"));
    let dtype = |name: &str| found[name].0;
    let (table, norm) = ("model.embed_tokens.weight", "model.norm.weight");
    assert_eq!((dtype(table), dtype(norm)), (Dtype::BF16, Dtype::F32));
    for moment in ["exp_avg", "exp_avg_sq"] {
        let name = format!("{moment}.{table}");
        assert_eq!(found[&name], (Dtype::U8, 512 * 16));
        assert_eq!(found[&format!("{name}.scales")], (Dtype::F32, 4 * 512 * 16 / 256));
        assert_eq!(dtype(&format!("{moment}.{norm}")), Dtype::F32);
    }
}

/// On a CPU a clip's features do not depend on the clips beside it: a run may change how many go through the tower together.
#[test]
fn clips_that_go_together_move_no_bit() {
    let task = varied();
    let films = ["data.mixture=folders.yaml", "data.min_frames=16"]; // two clips each
    let run = |clips: &str| {
        let set = format!("train.clips_at_once={clips}");
        let losses = train(&task, clips, &[&films[..], &[&set]].concat());
        (losses, fingerprint(&task.path(clips)))
    };
    let one = run("1");
    assert!(one.0.len() > 1);
    assert_eq!(one, run("2"));
}

/// A run whose keys are left to the plan is that of a recipe that names what was chosen.
#[test]
fn a_run_under_auto_is_that_of_what_was_chosen() {
    let task = Task::folders();
    let auto = [
        "train.recompute=auto",
        "train.accumulate_dtype=auto",
        "optimizer.moments_dtype=auto",
        "train.weights_dtype=auto",
    ];
    let chosen = |limit: &'static str| {
        let plan = Plan::new(task.recipe(&[&auto[..], &[limit]].concat()), Some(12)).unwrap();
        plan.choice.unwrap().set
    };
    let (tight, roomy) = ("train.memory_limit_gib=1e-9", "train.memory_limit_gib=64");
    assert!(chosen(tight).contains(&WEIGHTS[1].to_owned()) && chosen(roomy).is_empty());
    let plain = train(&task, "plain", &[]);
    assert_eq!(plain, train(&task, "auto", &[&auto[..], &[roomy]].concat()));
    assert_eq!(fingerprint(&task.path("plain")), fingerprint(&task.path("auto")));
}

/// The first losses are those of the same weights: what is rounded shows later.
#[test]
fn moments_round_no_weight_of_the_first_step() {
    let task = Task::folders();
    let losses = MOMENTS.map(|moments| train(&task, moments, &[moments]));
    for other in &losses[1..] {
        // Step 1 is at rate 0, so the first two losses are of the base.
        assert_eq!(losses[0][..2], other[..2]);
        assert_ne!(losses[0], *other);
    }
}

/// Gradients of layers that run again are given away layer by layer: none is lost or added twice, so the run is that which keeps all.
#[test]
fn gradients_that_are_given_away_early_add_up_to_the_same() {
    let task = Task::folders();
    for dtype in ["train.accumulate_dtype=f32", "train.accumulate_dtype=bf16"] {
        let kept = train(&task, &format!("kept {dtype}"), &[dtype]);
        let again = train(&task, &format!("again {dtype}"), &[dtype, "train.recompute=layer"]);
        for (kept, again) in kept.iter().zip(&again) {
            let (kept, again) = (f64::from_bits(*kept), f64::from_bits(*again));
            assert!((kept - again).abs() < 1e-3 * kept, "{dtype}: {kept} {again}");
        }
    }
}

/// Matrices of bf16 hold no more than bf16: an export in bf16 loses nothing of them.
#[test]
fn an_export_of_bf16_weights_has_their_bits() {
    let task = Task::folders();
    train(&task, "run", &["train.max_steps=2", WEIGHTS[1], "checkpoint.export_dtype=bf16"]);
    let read = |path: &str| {
        let bytes = std::fs::read(task.path(path)).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        let matrices = read.iter().filter(|(_, view)| view.dtype() == Dtype::BF16);
        matrices
            .map(|(name, view)| (name.to_owned(), view.data().to_vec()))
            .collect::<BTreeMap<_, _>>()
    };
    let (held, exported) =
        (read("run/last/model.safetensors"), read("run/export/model.safetensors"));
    assert!(held.len() > 60);
    assert!(held.iter().all(|(name, bits)| exported[name] == *bits));
}
