//! Adapters beside the linear maps of a model, as data (`LoRA`, Hu et al. 2021).

use std::collections::BTreeMap;

use crate::base::place::Place;

/// Ends the name of an adapter's first factor, behind that of its map.
pub const A: &str = ".lora.a";
/// Ends the name of its second factor.
pub const B: &str = ".lora.b";

/// Low-rank adapters of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Inner width.
    pub rank: usize,
    /// Strength.
    pub alpha: f64,
    /// Whether the strength is over the root of the rank and not over the rank (rsLoRA, Kalajdzievski 2023).
    pub rank_stabilised: bool,
    /// The maps that have one, by their names in a checkpoint, without `.weight`.
    pub maps: BTreeMap<String, AdaptedMap>,
}

/// A linear map that has an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptedMap {
    /// Where it stands.
    pub place: Place,
    /// Its inputs.
    pub inputs: usize,
    /// Its outputs.
    pub outputs: usize,
}

impl LoraConfig {
    /// What the product of both factors is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }

    /// The first factor is drawn from `-bound..bound`, as by PEFT: `kaiming_uniform_` with `a = sqrt(5)`.
    pub fn bound(inputs: usize) -> f64 {
        1.0 / (inputs as f64).sqrt()
    }

    /// Numbers in the adapters of the maps at these places.
    pub fn numbers(&self, at: impl Fn(Place) -> bool) -> usize {
        let of = |map: &&AdaptedMap| at(map.place);
        self.maps.values().filter(of).map(|map| self.rank * (map.inputs + map.outputs)).sum()
    }
}

/// The map beside which the tensor called `name` stands, if it is of an adapter.
pub fn adapted(name: &str) -> Option<&str> {
    name.strip_suffix(A).or_else(|| name.strip_suffix(B))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_those_of_the_papers() {
        let scale = |rank, alpha, rank_stabilised| {
            LoraConfig { rank, alpha, rank_stabilised, maps: BTreeMap::new() }.scale()
        };
        assert!((scale(16, 32.0, false) - 2.0).abs() < 1e-12);
        assert!((scale(16, 32.0, true) - 8.0).abs() < 1e-12);
    }

    #[test]
    fn an_adapter_is_told_by_its_name() {
        assert_eq!(
            adapted("model.layers.0.mlp.up_proj.lora.a"),
            Some("model.layers.0.mlp.up_proj")
        );
        assert_eq!(adapted("lm_head.lora.b"), Some("lm_head"));
        assert_eq!(adapted("model.layers.0.mlp.up_proj.weight"), None);
    }
}
