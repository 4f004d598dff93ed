//! The loop on real clips.

use std::path::Path;

use burn::tensor::Device;
use xcomp_data::load_example;
use xcomp_model::loss::LossNorm;
use xcomp_model::vision::frames::Encoding;
use xcomp_model::vlm::Vlm;
use xcomp_tests::media_root;
use xcomp_train::data::Data;
use xcomp_train::data::collate::{VisualInput, collate};
use xcomp_train::export::{find_checkpoint, tuned_model};
use xcomp_train::machine::device::Choice;
use xcomp_train::machine::stop::Stop;
use xcomp_train::plan::Plan;
use xcomp_train::plan::survey::count;
use xcomp_train::recipe::Recipe;
use xcomp_train::run::launch::train_recipe;
use xcomp_train::train::meter::Record;

/// Two steps of `recipes/real-clips.toml`: 448 pixels, 8-frame clips, 28 layers, the real tokenizer, real video.
#[test]
fn two_steps_on_real_clips() {
    let Some(media) = media_root("two_steps_on_real_clips") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let set = [
        format!("data.mixture={}", media.join("mixture.yaml").display()),
        format!("model.tokenizer={}", media.join("tokenizer/tokenizer.json").display()),
        "train.max_steps=2".to_owned(),
        "data.max_frames=16".to_owned(),
    ];
    let records = run(&root.join("recipes/real-clips.toml"), &set);
    assert_eq!(records.len(), 2);
    for record in &records {
        // A model that knows nothing is as good as chance over its vocabulary.
        assert!((record.loss - 151_936_f64.ln()).abs() < 1.0, "loss {}", record.loss);
        assert!(record.grad_norm > 0.0);
        assert_eq!((record.samples, record.frames), (2, 32));
    }
    assert!(records[0].lr_used.abs() < f64::EPSILON, "the first step of a warm-up has rate 0");
}

fn run(recipe: &Path, set: &[String]) -> Vec<Record> {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe::load(recipe, set).unwrap();
    let plan = Plan::new(recipe.clone(), count(&recipe).unwrap()).unwrap();
    let summary = train_recipe(recipe, folder.path(), Choice::Cpu, Stop::never()).unwrap();
    assert_eq!(summary.step, 2);
    for name in ["recipe.toml", "recipe.lock.toml", "plan.json", "env.json", "trainer_state.json"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    for name in ["checkpoint-2/MANIFEST", "last/optimizer.safetensors", "export/config.json"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    the_export_reloads_to_the_same_loss(&plan, folder.path());
    let records =
        xcomp_train::run::metrics::read(&folder.path().join("metrics.jsonl")).unwrap().records;
    records.into_values().collect()
}

/// The weights in memory and those of the f32 export give the same loss to the last bit.
fn the_export_reloads_to_the_same_loss(plan: &Plan, run: &Path) {
    let device = Device::flex();
    let saved = find_checkpoint(run, None).unwrap();
    let tuned = tuned_model(plan, &saved, &device).unwrap();
    let mut reloaded = Vlm::new(&plan.config, &device);
    reloaded.load_weights(&run.join("export")).unwrap();

    let data = Data::open(&plan.recipe, &plan.config, None).unwrap();
    let example = load_example(&data.mixture.records()[0], 0, data.load_options()).unwrap();
    let (prompt, visuals) = collate(example, plan.recipe.data.clip_frames).unwrap();
    let [VisualInput::Clips(clips, _)] = visuals.as_slice() else { panic!("no cache was asked") };
    let loss = |model: &Vlm| {
        let merged = vec![vec![model.encode(clips, &device, Encoding::default())]];
        let (loss, weight) =
            model.loss(std::slice::from_ref(&prompt), merged, &plan.compression, LossNorm::Token);
        loss.into_scalar::<f32>() / weight as f32
    };
    let (want, got) = (loss(&tuned), loss(&reloaded));
    assert!(want.is_finite() && got.to_bits() == want.to_bits(), "{got} {want}");
}
