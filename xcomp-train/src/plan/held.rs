//! How a run holds its numbers: formats of weights, gradients and moments, and what is drawn where they are rounded or dropped.

use xcomp_model::base::family::Region;
use xcomp_model::cost::{Formats, Kernels};
use xcomp_model::ops::{Dropout, Key, MomentFormat};
use xcomp_model::weights::WeightDtype;

use crate::plan::Plan;
use crate::plan::cost::running::{Held, Process, Running};
use crate::plan::padding;
use crate::plan::tuning::Tuning;
use crate::recipe::Recipe;
use crate::recipe::tables::{FloatWord, HeldWord, MomentWord};

impl Plan {
    /// The format in which the matrix of this name is held in memory; vectors are f32.
    pub fn held_as(&self, name: &str) -> WeightDtype {
        let of_llm = self.config.family.place(name).is_some_and(|it| it.region() == Region::Llm);
        let narrow = if self.tunes(name) {
            self.recipe.train.weights_dtype == HeldWord::Bf16
        } else {
            of_llm && frozen_dtype(&self.recipe, &self.tuning) == FloatWord::Bf16
        };
        if narrow { WeightDtype::Bf16 } else { WeightDtype::F32 }
    }

    /// How the moments of the optimizer are held.
    pub fn moment_format(&self) -> MomentFormat {
        moment_format(&self.recipe)
    }

    /// What adapters drop of the micro-batch whose first sample has this number, so that it is the same however often it is run.
    pub fn dropout(&self, number: u64, map: &str) -> Option<Dropout> {
        let share = self.recipe.tune.lora_dropout;
        let key = Key::new(self.recipe.train.seed, number, map);
        (share > 0.0).then_some(Dropout { share, key })
    }
}

/// How a step of a recipe runs, until its device is known.
pub(super) fn running(recipe: &Recipe, tuning: &Tuning) -> Running {
    let bytes = |dtype| if dtype == FloatWord::F32 { 4 } else { 2 };
    let held = |word| if word == HeldWord::Bf16 { 2 } else { 4 };
    // Until a device is named: who trains in f32 trains on a CPU.
    let cpu = recipe.train.dtype == FloatWord::F32;
    let (tuned, frozen) = (held(recipe.train.weights_dtype), bytes(frozen_dtype(recipe, tuning)));
    let weight = if tuning.lora.is_some() { frozen } else { tuned };
    let kernels = if cpu { Kernels::Loops } else { Kernels::Fused };
    Running {
        formats: Formats { activation: bytes(recipe.train.dtype), weight, kernels },
        process: cpu.then(|| process(recipe)),
        sums: u64::from(recipe.train.gradient_accumulation_steps > 1),
        held: Held {
            tuned,
            frozen,
            gradient: held(recipe.train.accumulate_dtype),
            moments: moment_format(recipe),
        },
        drops: tuning.lora.is_some() && recipe.tune.lora_dropout > 0.0,
        arrangement: padding::arrangement(recipe),
        apart: false,
        clips_at_once: recipe.train.clips_at_once.max(1),
    }
}

/// The format of the language model's matrices that stay: where bytes are saved at all they are held as they are computed with.
fn frozen_dtype(recipe: &Recipe, tuning: &Tuning) -> FloatWord {
    let saves = tuning.lora.is_some() || recipe.train.weights_dtype == HeldWord::Bf16;
    if saves { recipe.train.dtype } else { FloatWord::F32 }
}

fn moment_format(recipe: &Recipe) -> MomentFormat {
    match recipe.optimizer.moments_dtype {
        MomentWord::F32 | MomentWord::Auto => MomentFormat::F32,
        MomentWord::Bf16 => MomentFormat::Bf16,
        MomentWord::Int8 => MomentFormat::Int8,
    }
}

pub(super) fn process(recipe: &Recipe) -> Process {
    let computing_threads = std::thread::available_parallelism().map_or(1, usize::from);
    Process { computing_threads, decoding_threads: recipe.data.workers }
}
