//! The loop on real clips, and the identities that every run relies on.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use xcomp_data::Position;
use xcomp_tests::media_root;
use xcomp_train::meter::StepRecord;
use xcomp_train::optim::AdamWState;
use xcomp_train::plan::Plan;
use xcomp_train::recipe::Recipe;
use xcomp_train::trainer::{Event, TrainState, train};
use xcomp_train::{source, start};

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
    assert!(
        records[0].learning_rate_used.abs() < f64::EPSILON,
        "the first step of a warm-up has rate 0"
    );
}

fn run(recipe: &Path, set: &[String]) -> Vec<StepRecord> {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe::load(recipe, set).unwrap();
    let mixture = Arc::new(source::mixture(&recipe).unwrap());
    let plan = Plan::new(recipe, Some(mixture.len())).unwrap();
    let device = Device::flex();
    let model = start::starting_model(&plan, &device).unwrap();
    let mut state =
        TrainState { model, optim: AdamWState::default(), step: 0, position: Position::start() };
    let mut examples = source::samples(&plan, mixture, folder.path(), Position::start()).unwrap();
    let mut records = vec![];
    let mut save = |_: &TrainState| Ok(folder.path().to_owned());
    let mut report = |event: Event| {
        if let Event::Step(record) = event {
            records.push(record.clone());
        }
    };
    train(&plan, &mut state, &mut examples, &device, &mut save, &mut report).unwrap();
    assert_eq!((state.step, state.optim.step), (2, 2));
    assert_eq!(state.position.samples, 4);
    records
}
