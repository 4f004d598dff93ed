//! Settings beside a recipe's own: what may make it fit a card.

use crate::recipe::Recipe;
use crate::recipe::tables::{FloatWord, HeldWord, MomentWord, RecomputeWord};

/// Inner width of the adapters that are offered.
const RANK: usize = 16;

/// Keys beside a recipe's own.
#[derive(Debug, Clone, Default)]
pub(super) struct Change(Vec<Key>);

/// One of them, with its value.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Recompute,
    Activations,
    /// With one sample a forward.
    Accumulation(usize),
    Sums,
    Moments,
    Weights,
    Adapters,
    Frames(usize),
    Parts(Vec<String>),
}

impl Change {
    pub(super) fn with(&self, key: Key) -> Self {
        Self(self.0.iter().cloned().chain([key]).collect())
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// As `--set` takes them.
    pub(super) fn set(&self) -> Vec<String> {
        self.0.iter().flat_map(Key::set).collect()
    }

    /// The recipe with them.
    pub(super) fn of(&self, recipe: &Recipe) -> Recipe {
        let mut changed = recipe.clone();
        self.0.iter().for_each(|key| key.apply(&mut changed));
        changed
    }
}

impl Key {
    /// As `--set` takes it.
    pub(super) fn set(&self) -> Vec<String> {
        match self {
            Self::Recompute => vec!["train.recompute=layer".into()],
            Self::Activations => vec!["train.dtype=bf16".into()],
            Self::Accumulation(steps) => vec![
                "train.per_device_batch_size=1".into(),
                format!("train.gradient_accumulation_steps={steps}"),
            ],
            Self::Sums => vec!["train.accumulate_dtype=bf16".into()],
            Self::Moments => vec!["optimizer.moments_dtype=int8".into()],
            Self::Weights => vec!["train.weights_dtype=bf16".into()],
            Self::Adapters => vec![format!("tune.lora_rank={RANK}")],
            Self::Frames(frames) => vec![format!("data.max_frames={frames}")],
            Self::Parts(parts) => vec![format!("tune.parts={parts:?}")],
        }
    }

    pub(super) fn apply(&self, recipe: &mut Recipe) {
        let (train, tune) = (&mut recipe.train, &mut recipe.tune);
        match self {
            Self::Recompute => train.recompute = RecomputeWord::Layer,
            Self::Activations => train.dtype = FloatWord::Bf16,
            Self::Accumulation(steps) => {
                train.per_device_batch_size = 1;
                train.gradient_accumulation_steps = *steps;
            }
            Self::Sums => train.accumulate_dtype = HeldWord::Bf16,
            Self::Moments => recipe.optimizer.moments_dtype = MomentWord::Int8,
            Self::Weights => train.weights_dtype = HeldWord::Bf16,
            Self::Adapters => tune.lora_rank = RANK,
            Self::Frames(frames) => recipe.data.max_frames = *frames,
            Self::Parts(parts) => tune.parts.clone_from(parts),
        }
    }
}
