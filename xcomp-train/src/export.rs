//! From a run to a folder that other code loads: the released names, every weight, configuration and tokenizer.

pub mod adapter;
pub mod llm_only;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use xcomp_data::Tokenizer;
use xcomp_model::base::lora::LoraConfig;
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::{SaveOptions, StoredWeights, WeightDtype};

use crate::error::Error;
use crate::machine::files::{at, create_folder, read_text, write_atomically};
use crate::plan::Plan;
use crate::plan::disk::EXPORT_FILE_BYTES;
use crate::plan::survey::recipe_template;
use crate::recipe::tables::FloatWord;
use crate::recipe::{COMPRESSION_BLOCK, PROMPT_BLOCK};
use crate::show::progress::Progress;
use crate::train::checkpoint::manifest::damage;
use crate::train::checkpoint::{Checkpoints, MODEL, Saved};
use crate::train::state::model_and_weights;

/// Files of a tokenizer that are copied if they are there.
const TOKENIZER_FILES: &[&str] = &[
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
];

/// The model of a run as a checkpoint has it, without a tape.
///
/// # Errors
/// If base weights or checkpoint cannot be read.
pub fn tuned_model(plan: &Plan, saved: &Saved, device: &Device) -> Result<Vlm, Error> {
    let (mut model, stored) = unfilled_model(plan, saved, device)?;
    model.take_weights(&stored, WeightDtype::F32)?;
    Ok(model)
}

/// That model before it is filled, and the weights that fill it.
fn unfilled_model(
    plan: &Plan,
    saved: &Saved,
    device: &Device,
) -> Result<(Vlm, StoredWeights), Error> {
    let tuned = StoredWeights::in_file(&saved.folder.join(MODEL))?;
    model_and_weights(plan, tuned, &device.clone().inner())
}

/// The newest complete checkpoint of a run, or the one that `step` names.
///
/// # Errors
/// If there is none, or a file of the named one is not what was saved.
pub fn find_checkpoint(run: &Path, step: Option<usize>) -> Result<Saved, Error> {
    let checkpoints = Checkpoints::open(run);
    let found = match step {
        None => checkpoints.latest()?.0,
        Some(step) => checkpoints.folders()?.into_iter().find(|saved| saved.step == step),
    };
    let none = || Error::Checkpoint {
        path: run.into(),
        message: "holds no complete checkpoint; is it the folder of a run?".into(),
    };
    let found = found.ok_or_else(none)?;
    match damage(&found.folder) {
        None => Ok(found),
        Some(message) => Err(Error::Checkpoint { path: found.folder, message }),
    }
}

/// Writes the export of a checkpoint, adapters merged into their maps: what is on disk goes from file to file, and no model is loaded.
///
/// # Errors
/// If something cannot be read or written.
pub fn export(plan: &Plan, saved: &Saved, folder: &Path, device: &Device) -> Result<(), Error> {
    let _shown = Progress::new("writing the export", None);
    create_folder(folder)?;
    let (model, stored) = unfilled_model(plan, saved, device)?;
    let dtype = match plan.recipe.checkpoint.export_dtype {
        FloatWord::F32 => WeightDtype::F32,
        FloatWord::Bf16 => WeightDtype::Bf16,
        FloatWord::F16 => WeightDtype::F16,
    };
    let merge = plan.config.lora.as_ref().map(LoraConfig::scale);
    let options = SaveOptions { dtype, max_file_bytes: Some(EXPORT_FILE_BYTES), merge };
    model.save_weights(folder, &stored, options)?;
    write_config(plan, folder, dtype)?;
    copy_tokenizer(Path::new(&plan.recipe.model.tokenizer), folder)?;
    write_generation_config(plan, folder)
}

/// States what ends an answer, where the base model's own file does not.
fn write_generation_config(plan: &Plan, folder: &Path) -> Result<(), Error> {
    let (path, tokenizer) = (folder.join("generation_config.json"), folder.join("tokenizer.json"));
    if path.is_file() || !tokenizer.is_file() {
        return Ok(());
    }
    let template = recipe_template(&plan.recipe.model, plan.config.family);
    let tokenizer = Tokenizer::open(&tokenizer, &template)?;
    let config = serde_json::json!({
        "do_sample": false,
        "eos_token_id": tokenizer.ends(),
        "pad_token_id": tokenizer.ends().last(),
    });
    let text = serde_json::to_vec_pretty(&config).expect("JSON stays JSON");
    write_atomically(&path, &text)
}

/// The base model's `config.json`, with the dtype of the weights and the compression that the layers were tuned to.
fn write_config(plan: &Plan, folder: &Path, dtype: WeightDtype) -> Result<(), Error> {
    let path = PathBuf::from(&plan.recipe.model.config);
    let mut config: serde_json::Value = serde_json::from_str(&read_text(&path)?)
        .map_err(|error| at("cannot read", &path)(error.into()))?;
    config["torch_dtype"] = match dtype {
        WeightDtype::F32 => "float32",
        WeightDtype::Bf16 => "bfloat16",
        WeightDtype::F16 => "float16",
    }
    .into();
    let compression = serde_json::to_value(&plan.recipe.compression);
    config[COMPRESSION_BLOCK] = compression.expect("a table of plain values is JSON");
    if let (Some(windows), Some(own)) = (&plan.vst, &plan.config.llm.vst) {
        windows.tuned(own).state(&mut config);
    }
    if let Some(ends) = plan.recipe.vst.answer_ends(&plan.config) {
        ends.write(&mut config);
    }
    let model = &plan.recipe.model;
    if model.template.is_some() || model.system_prompt.is_some() {
        let template = recipe_template(model, plan.config.family);
        config[PROMPT_BLOCK] =
            serde_json::json!({ "template": template.name, "system": template.system });
    }
    let text = serde_json::to_vec_pretty(&config).expect("JSON stays JSON");
    write_atomically(&folder.join("config.json"), &text)
}

fn copy_tokenizer(tokenizer: &Path, folder: &Path) -> Result<(), Error> {
    if !tokenizer.is_file() {
        return Ok(());
    }
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from, folder.join(name)).map(|_| ()).map_err(at("cannot copy", from))
    };
    copy(tokenizer, "tokenizer.json")?;
    let beside = tokenizer.parent().unwrap_or(Path::new(""));
    for name in TOKENIZER_FILES {
        let from = beside.join(name);
        if from.is_file() {
            copy(&from, name)?;
        }
    }
    Ok(())
}
