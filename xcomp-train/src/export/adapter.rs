//! The adapter of a run in PEFT's layout: what was tuned, without the base.
//!
//! Names and keys are those of PEFT 0.14 (`utils/save_and_load.py`, `tuners/lora/config.py`), which loads them.

use std::collections::BTreeSet;
use std::path::Path;

use burn::tensor::Device;
use serde_json::json;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::lora::{A, LoraConfig, adapted};
use xcomp_model::vlm::Vlm;
use xcomp_model::weights::{StoredWeights, copy_to_file};

use super::llm_only::llm_path;
use crate::error::Error;
use crate::machine::files::{create_folder, write_atomically};
use crate::plan::Plan;
use crate::train::checkpoint::{MODEL, Saved};

/// Its weights.
pub const ADAPTER_MODEL: &str = "adapter_model.safetensors";
/// Its sizes.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// Of which base the names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The whole model.
    Whole,
    /// Its language model as a plain Qwen2 or `LLaMA` folder; what is tuned besides is left out.
    Llm,
}

/// Writes the adapter of a checkpoint.
///
/// # Errors
/// If the run tunes none, or tunes what PEFT has no place for, or something cannot be read or written.
pub fn export_adapter(plan: &Plan, saved: &Saved, folder: &Path, base: Base) -> Result<(), Error> {
    let Some(lora) = &plan.config.lora else {
        let message =
            "this run tunes whole weights ([tune] lora_rank = 0); export it without --adapter";
        return Err(Error::Argument(message.into()));
    };
    let names = Names { plan, base };
    let tuned = StoredWeights::in_file(&saved.folder.join(MODEL))?;
    let whole = names.whole_modules(&tuned)?;
    create_folder(folder)?;
    copy_to_file(&tuned.renamed(|name| names.tensor(name)), &folder.join(ADAPTER_MODEL))?;
    let config = config(plan, lora, &names.targets(lora), &whole);
    let text = serde_json::to_vec_pretty(&config).expect("JSON stays JSON");
    write_atomically(&folder.join(ADAPTER_CONFIG), &text)
}

/// How PEFT calls what a run tunes.
struct Names<'a> {
    plan: &'a Plan,
    base: Base,
}

impl Names<'_> {
    /// A module of the base by that of the model; `None` if the base has none such.
    fn module(&self, module: &str) -> Option<String> {
        match self.base {
            Base::Whole => Some(module.to_owned()),
            Base::Llm => {
                let path = llm_path(self.plan.config.family, &format!("{module}.weight"))?;
                path.strip_suffix(".weight").map(str::to_owned)
            }
        }
    }

    /// A tensor of the adapter's file.
    fn tensor(&self, name: &str) -> Option<String> {
        if let Some(map) = adapted(name) {
            let factor = if name.ends_with(A) { "lora_A" } else { "lora_B" };
            return Some(format!("{PREFIX}{}.{factor}.weight", self.module(map)?));
        }
        let (module, field) = name.rsplit_once('.')?;
        Some(format!("{PREFIX}{}.{field}", self.module(module)?))
    }

    /// Modules that are tuned as a whole.
    fn whole_modules(&self, tuned: &StoredWeights) -> Result<Vec<String>, Error> {
        let mut modules = BTreeSet::new();
        for name in tuned.names().filter(|name| adapted(name).is_none()) {
            let Some((module, "weight" | "bias")) = name.rsplit_once('.') else {
                return Err(Error::Argument(format!(
                    "`{name}` is tuned, and is no weight or bias of a module of its own: PEFT has no place for it; export without --adapter"
                )));
            };
            modules.extend(self.module(module));
        }
        Ok(modules.into_iter().collect())
    }

    /// PEFT's `target_modules`: the last words of the maps' names where these name no other map, else whole names.
    fn targets(&self, lora: &LoraConfig) -> Vec<String> {
        let plain = ModelConfig { lora: None, ..self.plan.config.clone() };
        let mut model = Vlm::new(&plain, &Device::default());
        let all: BTreeSet<String> =
            model.maps().into_iter().filter_map(|map| self.module(&map.name)).collect();
        let own: BTreeSet<String> = lora.maps.keys().filter_map(|map| self.module(map)).collect();
        let ends: BTreeSet<String> = own.iter().map(|map| last_word(map).to_owned()).collect();
        let hit = all.into_iter().filter(|map| ends.contains(last_word(map)));
        let ends = if hit.collect::<BTreeSet<_>>() == own { ends } else { own };
        ends.into_iter().collect()
    }
}

/// The end of a module's name from its last word on: `q_proj`, `mlp.0`.
fn last_word(module: &str) -> &str {
    let word = |part: &str| part.parse::<usize>().is_err();
    let start = module
        .rmatch_indices('.')
        .map(|(at, _)| at + 1)
        .find(|at| word(module[*at..].split('.').next().unwrap_or_default()));
    &module[start.unwrap_or(0)..]
}

fn config(
    plan: &Plan,
    lora: &LoraConfig,
    targets: &[String],
    whole: &[String],
) -> serde_json::Value {
    let (table, base) = (&plan.recipe.tune, &plan.recipe.model.checkpoint);
    // PEFT takes a whole number where there is one.
    let alpha = match lora.alpha {
        alpha if alpha.fract() == 0.0 => json!(alpha as u64),
        alpha => json!(alpha),
    };
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": (!base.is_empty()).then_some(base),
        "r": lora.rank,
        "lora_alpha": alpha,
        "lora_dropout": table.lora_dropout,
        "use_rslora": lora.rank_stabilised,
        "target_modules": targets,
        "modules_to_save": (!whole.is_empty()).then_some(whole),
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "inference_mode": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_with_its_last_word() {
        assert_eq!(last_word("model.layers.3.self_attn.q_proj"), "q_proj");
        assert_eq!(last_word("model.mm_projector.mlp.0"), "mlp.0");
        assert_eq!(last_word("lm_head"), "lm_head");
    }
}
