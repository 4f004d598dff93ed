//! What moves in a run: whole tensors by part, or adapters beside linear maps and a few whole tensors.

use std::fmt;

use burn::tensor::Device;
use serde::Serialize;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::family::Place;
use xcomp_model::base::lora::{AdaptedMap, LoraConfig, adapted};
use xcomp_model::vlm::Vlm;

use crate::recipe::tables::TuneTable;
use crate::recipe::tune::{Part, tuned};
use crate::show::numbers::grouped;

/// The target that stands for every map of the decoder layers, as in PEFT.
const ALL_LINEAR: &str = "all-linear";

/// The parts that are tuned, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// Parts of the recipe.
    pub parts: Vec<Part>,
    /// Adapters, if these are tuned in the place of maps.
    pub lora: Option<LoraConfig>,
}

impl Tuning {
    /// Whole tensors of these parts.
    pub fn whole(parts: &[Part]) -> Self {
        Self { parts: parts.into(), lora: None }
    }

    /// What a recipe's table tunes of a model, of `parts` alone.
    pub fn of(table: &TuneTable, parts: &[Part], config: &ModelConfig) -> Self {
        if table.lora_rank == 0 {
            return Self::whole(parts);
        }
        let mut model = Vlm::new(&ModelConfig { lora: None, ..config.clone() }, &Device::default());
        let chosen = |name: &str, place| {
            tuned(parts, place) && table.lora_targets.iter().any(|target| hits(target, name, place))
        };
        let maps = model.maps().into_iter().filter(|map| chosen(&map.name, map.place));
        let maps = maps.map(|map| {
            let (inputs, outputs) = map.sizes();
            (map.name, AdaptedMap { place: map.place, inputs, outputs })
        });
        let lora = LoraConfig {
            rank: table.lora_rank,
            alpha: table.lora_alpha,
            rank_stabilised: table.lora_rslora,
            maps: maps.collect(),
        };
        Self { parts: parts.into(), lora: Some(lora) }
    }

    /// Whether the tensor called `name` at `place` moves.
    pub fn moves(&self, name: &str, place: Place) -> bool {
        let Some(lora) = &self.lora else { return tuned(&self.parts, place) };
        if let Some(map) = adapted(name) {
            return lora.maps.contains_key(map);
        }
        let map = name.rsplit_once('.').map_or(name, |(map, _)| map);
        !lora.maps.contains_key(map) && self.moves_whole(place)
    }

    /// Whether whole tensors at `place` move, those of maps without adapters.
    pub fn moves_whole(&self, place: Place) -> bool {
        let whole = |part: &&Part| self.lora.is_none() || !part.is_adapted();
        self.parts.iter().filter(whole).any(|part| part.contains(place))
    }

    /// Whether anything at `place` moves.
    pub fn reaches(&self, place: Place) -> bool {
        let adapted = |lora: &LoraConfig| lora.maps.values().any(|map| map.place == place);
        self.moves_whole(place) || self.lora.as_ref().is_some_and(adapted)
    }
}

/// Adapters as a plan tells of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Adapters {
    /// Inner width.
    pub rank: usize,
    /// What the product of both factors is multiplied by.
    pub scale: f64,
    /// Maps that have one.
    pub maps: usize,
    /// Parameters of all of them.
    pub parameters: usize,
    /// Bytes in which a number of the language model's frozen matrices is held.
    pub frozen_bytes: u64,
}

impl Tuning {
    /// What a plan tells of its adapters.
    pub fn adapters(&self, frozen_bytes: u64) -> Option<Adapters> {
        let lora = self.lora.as_ref()?;
        let (rank, scale, maps) = (lora.rank, lora.scale(), lora.maps.len());
        let parameters = lora.numbers(|_| true);
        Some(Adapters { rank, scale, maps, parameters, frozen_bytes })
    }
}

impl fmt::Display for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "adapters     rank {}, scale {}, {} parameters beside {} maps; frozen matrices of the language model are held in {}",
            self.rank,
            self.scale,
            grouped(self.parameters as u64),
            self.maps,
            if self.frozen_bytes == 2 { "bf16" } else { "f32" }
        )
    }
}

/// Whether a target names a map: by its whole name or by its end, as PEFT's `target_modules`.
fn hits(target: &str, name: &str, place: Place) -> bool {
    if target == ALL_LINEAR {
        return matches!(place, Place::Layer(_) | Place::Vst);
    }
    name.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cost::released;

    fn tuning(parts: &[&str], targets: &[&str]) -> Tuning {
        let parts: Vec<Part> = parts.iter().map(|part| part.parse().unwrap()).collect();
        let lora_targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let table = TuneTable { lora_rank: 8, lora_targets, ..TuneTable::default() };
        Tuning::of(&table, &parts, &released::config())
    }

    fn count(parts: &[&str], targets: &[&str]) -> usize {
        tuning(parts, targets).lora.unwrap().maps.len()
    }

    #[test]
    fn targets_are_ends_of_names_within_the_parts() {
        assert_eq!(count(&["llm"], &["all-linear"]), 28 * 7);
        assert_eq!(count(&["llm", "projector"], &["all-linear"]), 28 * 7);
        assert_eq!(count(&["layers.0-3"], &["q_proj", "self_attn.v_proj"]), 4 * 2);
        assert_eq!(count(&["llm", "projector"], &["mlp.0", "mlp.2"]), 2);
        assert_eq!(count(&["projector"], &["q_proj"]), 0);
        assert_eq!(count(&["llm"], &["proj"]), 0, "no part of a word");
        assert_eq!(count(&["llm"], &["model.layers.7.mlp.up_proj"]), 1);
    }

    #[test]
    fn maps_with_adapters_stay_and_parts_that_are_named_beside_them_move() {
        let tuning = tuning(&["llm", "norm", "projector"], &["q_proj", "mlp.2"]);
        let map = "model.layers.3.self_attn.q_proj";
        let check = |name: &str, place, want| assert_eq!(tuning.moves(name, place), want, "{name}");
        check(&format!("{map}.lora.a"), Place::Layer(3), true);
        check(&format!("{map}.weight"), Place::Layer(3), false);
        check(&format!("{map}.bias"), Place::Layer(3), false);
        check("model.embed_tokens.weight", Place::Embed, false);
        check("model.norm.weight", Place::Norm, true);
        check("model.mm_projector.mlp.0.weight", Place::Connector, true);
        check("model.mm_projector.mlp.2.weight", Place::Connector, false);
        check("model.mm_projector.mlp.2.bias", Place::Connector, false);
        assert!(tuning.reaches(Place::Layer(3)) && !tuning.moves_whole(Place::Layer(3)));
        assert!(!tuning.reaches(Place::Embed) && !tuning.reaches(Place::Vision));
    }

    #[test]
    fn without_adapters_parts_move_as_a_whole() {
        let tuning = Tuning::whole(&[Part::Llm]);
        assert!(tuning.moves("model.layers.3.mlp.up_proj.weight", Place::Layer(3)));
        assert!(tuning.reaches(Place::Embed) && !tuning.reaches(Place::Vision));
    }
}
