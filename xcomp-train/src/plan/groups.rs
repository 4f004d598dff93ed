//! Tuned tensors that are stepped alike: their learning rate and decay.

use std::fmt;

use serde::Serialize;
use xcomp_model::base::family::Place;

use crate::plan::Plan;
use crate::plan::cost::parameters::tensors;
use crate::plan::lr::Rate;
use crate::recipe::tables::{DecayRule, OptimizerTable};
use crate::show::numbers::grouped;

/// Tensors with one learning rate and decay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// `llm`, `projector` or `vision`.
    pub part: &'static str,
    /// Tensors.
    pub tensors: usize,
    /// Values in them.
    pub parameters: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// The groups of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Groups(pub Vec<Group>);

impl Groups {
    /// All tuned tensors of a plan by part and decay, in the order of the model.
    pub fn of(plan: &Plan) -> Self {
        let mut groups: Vec<Group> = vec![];
        for tensor in tensors(&plan.config) {
            if !tensor.moves(&plan.tuning) {
                continue;
            }
            let rate = plan.peak_rate(tensor.place, &tensor.name);
            let one = Group {
                part: tensor.place.tuned_with().word(),
                tensors: 1,
                parameters: tensor.count,
                learning_rate: rate.lr,
                weight_decay: rate.weight_decay,
            };
            match groups.iter_mut().find(|group| group.is_like(&one)) {
                Some(group) => {
                    group.tensors += one.tensors;
                    group.parameters += one.parameters;
                }
                None => groups.push(one),
            }
        }
        Self(groups)
    }
}

impl Group {
    fn is_like(&self, other: &Self) -> bool {
        // Both come from the same table: equal rates have equal bits.
        let rates = |group: &Self| [group.learning_rate, group.weight_decay].map(f64::to_bits);
        self.part == other.part && rates(self) == rates(other)
    }
}

impl Plan {
    /// Peak learning rate, and decay, of the tensor called `name` at `place`.
    pub fn peak_rate(&self, place: Place, name: &str) -> Rate {
        let layers = self.config.llm.num_hidden_layers;
        // Layers that stand above it, and the head (BEiT `optim_factory.py`, `LayerDecayValueAssigner`).
        let above = match place {
            Place::Layer(layer) => layers - layer,
            Place::Embed => layers + 1,
            _ => 0,
        };
        let optimizer = &self.recipe.optimizer;
        let rate = rate_of_part(optimizer, place, name);
        Rate { lr: rate.lr * optimizer.layer_decay.powi(above as i32), ..rate }
    }
}

/// The same in the last place of a part.
fn rate_of_part(optimizer: &OptimizerTable, place: Place, name: &str) -> Rate {
    let own = match place {
        Place::Connector => optimizer.mm_projector_lr,
        Place::Vision => optimizer.mm_vision_tower_lr,
        _ => None,
    };
    let decays = match optimizer.decay_on {
        DecayRule::All => true,
        // The tower's norms are `LayerNorm`s, the decoder's are not: those decay there as well.
        DecayRule::HuggingFace => {
            !(name.ends_with("bias") || place == Place::Vision && name.contains("norm"))
        }
    };
    Rate {
        lr: own.unwrap_or(optimizer.learning_rate),
        weight_decay: if decays { optimizer.weight_decay } else { 0.0 },
    }
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "groups       {:<12}{:>16}{:>16}{:>10}{:>10}",
            "part", "tensors", "parameters", "peak lr", "decay"
        )?;
        for group in &self.0 {
            let (parameters, lr) = (grouped(group.parameters), group.learning_rate);
            let (part, tensors, decay) = (group.part, group.tensors, group.weight_decay);
            write!(
                f,
                "\n             {part:<12}{tensors:>16}{parameters:>16}{lr:>10.1e}{decay:>10}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::recipe::Recipe;

    fn groups(set: &[&str]) -> Vec<(&'static str, usize, f64, f64)> {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let recipe = Recipe::load(Path::new("../recipes/xcomp-2b-released.toml"), &set).unwrap();
        let groups = Groups::of(&Plan::new(recipe, None).unwrap()).0;
        groups.iter().map(|g| (g.part, g.tensors, g.learning_rate, g.weight_decay)).collect()
    }

    #[test]
    fn the_reference_has_one_flat_group_per_part() {
        assert_eq!(groups(&[]), [("llm", 338, 1e-5, 0.0), ("projector", 4, 1e-5, 0.0)]);
    }

    #[test]
    fn layers_below_have_lower_rates() {
        let decayed = groups(&["optimizer.layer_decay=0.5"]);
        let want = |above: i32| 1e-5 * 0.5_f64.powi(above);
        // The embeddings, 28 layers of 12 tensors from the first on, and the norm.
        let mut rates = vec![("llm", 1, want(29), 0.0)];
        rates.extend((1..=28).rev().map(|above| ("llm", 12, want(above), 0.0)));
        rates.extend([("llm", 1, 1e-5, 0.0), ("projector", 4, 1e-5, 0.0)]);
        assert_eq!(decayed, rates);
    }

    #[test]
    fn rates_and_decay_split_groups() {
        let set = ["optimizer.mm_projector_lr=1e-4", "optimizer.weight_decay=0.1"];
        assert_eq!(groups(&set), [("llm", 338, 1e-5, 0.1), ("projector", 4, 1e-4, 0.1)]);
        let set = ["optimizer.decay_on=huggingface", "optimizer.weight_decay=0.1"];
        let want = [
            ("llm", 254, 1e-5, 0.1),
            ("llm", 84, 1e-5, 0.0), // biases of queries, keys and values of 28 layers
            ("projector", 2, 1e-5, 0.1),
            ("projector", 2, 1e-5, 0.0),
        ];
        assert_eq!(groups(&set), want);
    }
}
