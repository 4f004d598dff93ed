//! What padding adds to forwards of several samples, and packing takes away.

use serde::Serialize;
use xcomp_model::compress::layout::Arrangement;

use crate::machine::random::Random;
use crate::plan::Plan;
use crate::recipe::Recipe;
use crate::recipe::tables::Order;

/// How the samples of a forward stand in it.
pub(super) fn arrangement(recipe: &Recipe) -> Arrangement {
    if recipe.data.packing { Arrangement::Packed } else { Arrangement::Padded }
}

/// Tokens of a sample before the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    /// Of text.
    pub(super) text: usize,
    /// Of text and visuals.
    pub(super) all: usize,
}

/// Tokens of forwards of several samples, counted over samples that were looked at, put together as the run draws them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Padding {
    /// Samples that were looked at.
    pub samples: usize,
    /// Tokens of them.
    pub tokens: usize,
    /// Tokens of their forwards if each sample is padded to the longest of its forward.
    pub padded: usize,
    /// Whether the recipe packs them, so that no token is padding.
    pub packed: bool,
    /// Whether the device runs them side by side, so that only short samples which share a tape are padded.
    pub apart: bool,
}

impl Padding {
    /// That of a recipe, whose mixture has samples of these lengths; `None` where a forward has one sample and nothing is packed.
    pub(super) fn of(recipe: &Recipe, lengths: impl Iterator<Item = Length>) -> Option<Self> {
        let (batch, step) = (recipe.train.per_device_batch_size, steps_samples(recipe));
        let mut lengths: Vec<Length> = lengths.collect();
        let plain = batch == 1 && !recipe.data.packing;
        if plain || lengths.len() < batch {
            return None;
        }
        if recipe.data.order != Order::Listed {
            Random::named(recipe.train.seed, "padding").shuffle(&mut lengths);
        }
        if recipe.data.order == Order::Grouped {
            let by_text =
                |block: &mut [Length]| block.sort_by_key(|one| std::cmp::Reverse(one.text));
            lengths.chunks_mut(step).for_each(by_text);
        }
        let whole = lengths.chunks_exact(batch);
        let longest = |batch: &[Length]| batch.iter().map(|one| one.all).max().unwrap_or(0);
        Some(Self {
            samples: whole.clone().map(<[Length]>::len).sum(),
            tokens: whole.clone().flatten().map(|one| one.all).sum(),
            padded: whole.map(|own| batch * longest(own)).sum(),
            packed: recipe.data.packing,
            apart: false,
        })
    }

    /// Share of the padded tokens that are padding.
    pub fn share(&self) -> f64 {
        1.0 - self.tokens as f64 / self.padded.max(1) as f64
    }
}

impl Plan {
    /// What padding adds on the plan's device.
    pub(super) fn padding(&self) -> Option<Padding> {
        self.samples.padding.map(|padding| Padding { apart: self.running.apart, ..padding })
    }
}

fn steps_samples(recipe: &Recipe) -> usize {
    recipe.train.per_device_batch_size * recipe.train.gradient_accumulation_steps
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn padding(set: &str, lengths: &[(usize, usize)]) -> Option<Padding> {
        let text = "[model]\nconfig = \"c\"\n[data]\nmixture = \"m\"\norder = \"sequential\"\n";
        let set = [set.to_owned()];
        let recipe = Recipe::parse(Path::new("a.toml"), text.into(), &set).unwrap();
        Padding::of(&recipe, lengths.iter().map(|(text, all)| Length { text: *text, all: *all }))
    }

    #[test]
    fn each_sample_is_padded_to_the_longest_of_its_forward() {
        let lengths = [(1, 10), (1, 2), (1, 4), (1, 4), (1, 9)];
        let two = padding("train.per_device_batch_size=2", &lengths).unwrap();
        // The fifth fills no forward.
        assert_eq!((two.samples, two.tokens, two.padded, two.packed), (4, 20, 28, false));
        assert!((two.share() - 8.0 / 28.0).abs() < 1e-12);
        assert_eq!(padding("train.per_device_batch_size=1", &lengths), None);
        assert_eq!(padding("train.per_device_batch_size=8", &lengths), None);
    }
}
