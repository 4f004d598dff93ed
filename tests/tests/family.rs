//! What a new family takes: data. Other names, a connector that projects, pools and ends rows with a token.

use burn::module::Module;
use burn::tensor::Device;
use serde_json::json;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::connector::{ConnectorConfig, Newline, PoolMode, Stage};
use xcomp_model::base::family::{Absent, Family, Names, Pixels, Place, Visuals};
use xcomp_model::compress::schedule::{CompressionPlan, KeepRule, Schedule};
use xcomp_model::loss::{IGNORE, LossNorm};
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::{Clips, Encoding};
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::{SaveOptions, StoredWeights, WeightDtype};
use xcomp_train::plan::cost::{SampleSize, flops, parameters};
use xcomp_train::plan::tuning::Tuning;
use xcomp_train::recipe::tune::Part;

const MADE_UP: Family = Family {
    name: "made up",
    llm: Names { prefix: "language_model.", rename: &[] },
    connector: Names {
        prefix: "multi_modal_projector.",
        rename: &[("mlp.0.", "projector_in."), ("image_newline", "row_end")],
    },
    vision: Names::prefixed("tower."),
    absent: |name| if name == "row_end" { Absent::Fresh } else { Absent::Refuse },
    spare: |name| name.starts_with("tower.post_layernorm."),
    visuals: Visuals::Any,
    template: "chatml",
    frames: "clips",
    pixels: Pixels { mean: [0.5; 3], std: [0.5; 3] },
    recognises: |config| config["model_type"] == "made_up",
    read: |config| {
        let mut read = ModelConfig::from_hf(config)?;
        let grid = read.vision.grid();
        let pool = Stage::Pool { stride: 2, mode: PoolMode::Average };
        let stages = vec![Stage::Project, pool, Stage::Newline(Newline::Row)];
        read.connector = ConnectorConfig { grid, stages, has_newline: true, ..read.connector };
        Ok(ModelConfig { family: &MADE_UP, ..read })
    },
};

#[test]
fn a_family_is_data() {
    let config = (MADE_UP.read)(&json!({
        "vocab_size": 12, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
        "tie_word_embeddings": true, "mm_hidden_size": 8, "mm_local_num_frames": 2,
        "mm_projector_type": "tome4_mlp_hd64", "vision_config": { "image_size": 48, "patch_size": 8,
            "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16 },
    }))
    .unwrap();
    let tensors = parameters::tensors(&config);
    let place = |name: &str| tensors.iter().find(|t| t.name == name).map(|tensor| tensor.place);
    assert_eq!(place("language_model.model.layers.1.mlp.up_proj.weight"), Some(Place::Layer(1)));
    assert_eq!(place("projector_in.weight"), Some(Place::Connector));
    assert_eq!(place("row_end"), Some(Place::Newline));

    let device = Device::flex().autodiff();
    let (model, folder) = (Vlm::new(&config, &device), tempfile::tempdir().unwrap());
    let options = SaveOptions { dtype: WeightDtype::F32, max_file_bytes: None, merge: None };
    model.save_weights(folder.path(), &StoredWeights::default(), options).unwrap();
    let mut model = Vlm::new(&config, &device);
    assert_eq!(model.load_weights(folder.path()).unwrap().tensors, tensors.len());
    assert_eq!(model.family.name, "made up");

    // 6 x 6 patches pool to 3 x 3, each row gets its end: 12 tokens a frame, dropped to one; two videos in one prompt.
    let plan = CompressionPlan::new(&Schedule::List(vec![12, 1]), KeepRule::Suffix, 12, 2).unwrap();
    let clips = Clips::video(vec![7; 2 * 48 * 48 * 3], 2, 48, 2).unwrap();
    let seen = model.valid().encode(&clips, &Device::flex(), Encoding::default());
    let labels = vec![IGNORE, IGNORE, IGNORE, 5];
    let prompt = Prompt { ids: vec![1, 0, 0, 5], labels, visual_at: vec![1, 2] };
    let (loss, _) = model.loss(&[prompt], vec![vec![seen.clone(), seen]], &plan, LossNorm::Token);
    assert!(loss.into_scalar::<f32>().is_finite());

    let parts = [Part::Projector];
    let work = flops::Work {
        config: &config,
        compression: &plan,
        tuning: &Tuning::whole(&parts),
        recompute: false,
    };
    let size = SampleSize { frames: 4, text_tokens: 2, supervised_tokens: 1 };
    assert!(flops::of_sample(&work, size).projector > 0.0);
}
