//! What a recipe leaves to the plan: keys that say "auto", and how many clips go through the tower together.

use std::fmt;

use serde::Serialize;
use xcomp_model::base::family::Place;
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::cost::Kernels;

use crate::plan::Plan;
use crate::plan::change::Key;
use crate::plan::cost::parameters::tensors;
use crate::plan::cost::running::Running;
use crate::plan::held::running;
use crate::recipe::Recipe;
use crate::recipe::tables::{HeldWord, MomentWord, RecomputeWord};
use crate::show::numbers::bytes;

/// Most frames that go through the tower together where the plan chooses: enough to fill a card.
const TOWER_FRAMES: usize = 64;
/// Most bytes of the gradients of all samples of a forward that are run side by side.
const GRADIENTS_APART: u64 = 256 << 20;

/// What became of the keys that say "auto".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// `train.memory_limit_gib`.
    pub limit_gib: f64,
    /// Those that are not as exact as they may be, as `--set` takes them.
    pub set: Vec<String>,
    /// Bytes that the worst step needs.
    pub peak: u64,
    /// The least that settings take which come before it, if there are any.
    pub refused: Option<u64>,
}

/// A key that may say "auto": as exact as it may be, or what takes less.
#[derive(Debug)]
struct Open {
    table: &'static str,
    key: &'static str,
    is_auto: fn(&Recipe) -> bool,
    exact: fn(&mut Recipe),
    less: Key,
}

/// All of them: what moves no number comes first, weights come last.
static OPEN: [Open; 4] = [
    Open {
        table: "train",
        key: "recompute",
        is_auto: |recipe| recipe.train.recompute == RecomputeWord::Auto,
        exact: |recipe| recipe.train.recompute = RecomputeWord::None,
        less: Key::Recompute,
    },
    Open {
        table: "train",
        key: "accumulate_dtype",
        is_auto: |recipe| recipe.train.accumulate_dtype == HeldWord::Auto,
        exact: |recipe| recipe.train.accumulate_dtype = HeldWord::F32,
        less: Key::Sums,
    },
    Open {
        table: "optimizer",
        key: "moments_dtype",
        is_auto: |recipe| recipe.optimizer.moments_dtype == MomentWord::Auto,
        exact: |recipe| recipe.optimizer.moments_dtype = MomentWord::F32,
        less: Key::Moments,
    },
    Open {
        table: "train",
        key: "weights_dtype",
        is_auto: |recipe| recipe.train.weights_dtype == HeldWord::Auto,
        exact: |recipe| recipe.train.weights_dtype = HeldWord::F32,
        less: Key::Weights,
    },
];

/// Keys of a recipe that the plan is to choose.
#[derive(Debug, Clone, Default)]
pub struct Left(Vec<&'static Open>);

impl Left {
    pub(super) fn of(recipe: &Recipe) -> Self {
        Self(OPEN.iter().filter(|open| (open.is_auto)(recipe)).collect())
    }

    /// Makes choice number `choice`: its bits say which keys take less, so that a key is touched only where no choice of those before it
    /// will do. Gives those that are touched.
    fn made(&self, recipe: &mut Recipe, choice: usize) -> Vec<String> {
        let mut set = vec![];
        for (at, open) in self.0.iter().enumerate() {
            recipe.decided(open.table, open.key);
            (open.exact)(recipe);
            if choice >> at & 1 == 1 {
                open.less.apply(recipe);
                set.extend(open.less.set());
            }
        }
        set
    }
}

impl Plan {
    /// Gives keys that say "auto" the first values under which the worst step fits `memory_limit_gib`, or those that take least; then the clips of the tower.
    pub(super) fn choose(&mut self) {
        let left = self.left.clone();
        let (mut refused, mut least) = (None::<u64>, (u64::MAX, 0));
        for choice in 0..1usize << left.0.len() {
            let set = left.made(&mut self.recipe, choice);
            self.settle();
            let peak = self.needs(&self.batch(self.samples.worst));
            self.choice = self.choice_of(&left, set, peak, refused);
            if self.fits() {
                break;
            }
            refused = Some(refused.map_or(peak, |before| before.min(peak)));
            least = least.min((peak, choice));
        }
        if !self.fits() {
            let set = left.made(&mut self.recipe, least.1);
            self.settle();
            self.choice = self.choice_of(&left, set, least.0, None);
        }
        self.running.clips_at_once = self.clips_at_once();
    }

    fn choice_of(
        &self,
        left: &Left,
        set: Vec<String>,
        peak: u64,
        refused: Option<u64>,
    ) -> Option<Choice> {
        let limit_gib = self.recipe.train.memory_limit_gib.filter(|_| !left.0.is_empty())?;
        Some(Choice { limit_gib, set, peak, refused })
    }

    /// Takes up what the recipe says of how a step runs; the device stays.
    fn settle(&mut self) {
        self.recompute = self.recipe.train.recompute == RecomputeWord::Layer;
        let mut now = running(&self.recipe, &self.tuning);
        now.formats.kernels = self.running.formats.kernels;
        self.running = Running { process: self.running.process, ..now };
        self.running.apart = self.apart();
    }

    /// Whether the samples of a forward are run side by side: on a processor whose tape holds the decoder, where they are not packed and
    /// a gradient of every sample costs little.
    fn apart(&self) -> bool {
        let (batch, tuning) = (self.recipe.train.per_device_batch_size, &self.tuning);
        let one_tape = self.vst.is_none() && !self.recompute && !tuning.reaches(Place::Vision);
        let moving = tensors(&self.config).into_iter().filter(|tensor| tensor.moves(tuning));
        let gradients = moving.map(|tensor| 4 * tensor.count).sum::<u64>() * batch as u64;
        self.running.process.is_some()
            && batch > 1
            && one_tape
            && self.running.arrangement == Arrangement::Padded
            && gradients <= GRADIENTS_APART
    }

    /// As many clips as the recipe says; else on a GPU as many as do not raise the peak of the worst step, and one where the tower has a tape.
    fn clips_at_once(&mut self) -> usize {
        let given = self.recipe.train.clips_at_once;
        if given > 0 {
            return given;
        }
        let moves = self.tuning.reaches(Place::Vision);
        if moves || self.running.formats.kernels != Kernels::Fused {
            return 1;
        }
        let clip = self.recipe.data.clip_frames.max(1);
        let mut peak = |clips| {
            self.running.clips_at_once = clips;
            self.memory(self.samples.worst).peak()
        };
        let one = peak(1);
        let more = std::iter::successors(Some(1), |clips| Some(2 * clips));
        let more = more.take_while(|clips| clips * clip <= TOWER_FRAMES.max(clip));
        more.take_while(|clips| peak(*clips) <= one).last().unwrap_or(1)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit_gib, set, peak, refused } = self;
        let set = if set.is_empty() { "everything exact".into() } else { set.join(", ") };
        write!(f, "auto         {set}: {} of memory_limit_gib = {limit_gib}", bytes(*peak))?;
        match refused {
            None => Ok(()),
            Some(least) => write!(f, "; what changes less takes {} at the least", bytes(*least)),
        }
    }
}
