//! What of a recipe fits a card: settings beside its own, what each takes, and what it changes.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::plan::change::{Change, Key};
use crate::plan::cost::SampleSize;
use crate::plan::{Plan, Samples};
use crate::recipe::tables::{FloatWord, HeldWord, MomentWord};
use crate::recipe::tune::Part;
use crate::show::numbers::{GIB, bytes};
use crate::show::table::Table;

/// A recipe on a card, setting by setting, from its own to those that change more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// What the card has, in GiB.
    pub limit_gib: f64,
    /// Every setting that was planned.
    pub rows: Vec<Setting>,
}

/// A recipe with other keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The keys, as `--set` takes them; none for the recipe as it is.
    pub set: Vec<String>,
    /// Bytes on the device at the peak of the worst step.
    pub peak: u64,
    /// Whether the card holds it.
    pub fits: bool,
    /// Seconds of the run at 40 % of `log.peak_tflops`, what is done again included; none without it.
    pub run_s: Option<f64>,
    /// FLOPs of the run on the device, over those of the recipe as it is.
    pub work: f64,
    /// What becomes other than under the recipe as it is.
    pub price: &'static str,
}

/// What other orders of the same additions change.
const AGAIN: &str = "the same to rounding";
const ROUNDED: &str = "activations in bf16";
const FEWER: &str = "fewer frames of long videos";
const UPPER: &str = "layers below, embeddings and norm stay as they are";
const SUMS: &str = "gradients summed in bf16";
const MOMENTS: &str = "moments in 8 bits";
const WEIGHTS: &str = "weights in bf16 alone, rounded by chance at every step";
const ADAPTERS: &str = "adapters move, whole weights stay";

impl Fit {
    /// Plans a recipe's settings for a card of so many GiB: recomputing, bf16, smaller forwards; where none of these fits, gradients,
    /// moments and weights in fewer bits, one after the other, adapters, and fewer frames and fewer layers, of which each time the
    /// most that fits is named.
    ///
    /// # Errors
    /// If a setting cannot be planned.
    pub fn new(plan: &Plan, limit_gib: f64) -> Result<Self, Error> {
        let mut search = Search { base: plan, limit_gib, rows: vec![] };
        search.add(plan, vec![], "");
        let mut change = Change::default();
        let table = &plan.recipe.train;
        if !plan.recompute && plan.may_recompute() {
            change = change.with(Key::Recompute);
            search.add(&search.planned(&change)?, change.set(), AGAIN);
        }
        if table.dtype == FloatWord::F32 {
            let kept = Change::default().with(Key::Activations);
            search.add(&search.planned(&kept)?, kept.set(), ROUNDED);
            let again = !change.is_none();
            change = change.with(Key::Activations);
            if again {
                search.add(&search.planned(&change)?, change.set(), ROUNDED);
            }
        }
        if table.per_device_batch_size > 1 {
            let steps = table.per_device_batch_size * table.gradient_accumulation_steps;
            change = change.with(Key::Accumulation(steps));
            search.add(&search.planned(&change)?, change.set(), AGAIN);
        }
        if !search.rows.iter().any(|row| row.fits) {
            let lightest = search.fewer_bits(&change)?;
            let narrow_fits = search.fits(&search.planned(&lightest)?);
            if !search.fewer_frames(&change)? && !narrow_fits {
                search.fewer_frames(&lightest)?;
            }
            if !search.upper_layers(&change)? && !narrow_fits {
                search.upper_layers(&lightest)?;
            }
        }
        Ok(Self { limit_gib, rows: search.rows })
    }
}

struct Search<'a> {
    base: &'a Plan,
    limit_gib: f64,
    rows: Vec<Setting>,
}

impl Search<'_> {
    /// The plan of the changed recipe, for the samples of the base's.
    fn planned(&self, change: &Change) -> Result<Plan, Error> {
        let recipe = change.of(&self.base.recipe);
        let Samples { count, counted, mean, worst, .. } = self.base.samples;
        let mut plan = Plan::new(recipe, counted.then_some(count))?;
        let most = plan.recipe.data.max_frames;
        let at_most = |size: SampleSize| SampleSize { frames: size.frames.min(most), ..size };
        plan.samples = Samples { mean: at_most(mean), worst: at_most(worst), ..self.base.samples };
        Ok(plan)
    }

    fn fits(&self, plan: &Plan) -> bool {
        plan.memory(plan.samples.worst).peak() as f64 <= self.limit_gib * GIB
    }

    fn add(&mut self, plan: &Plan, set: Vec<String>, price: &'static str) {
        let flops = |plan: &Plan| {
            let used = (plan.steps * plan.samples_per_step()) as f64;
            used * plan.flops(plan.samples.mean).hardware()
        };
        let peak_flops = plan.recipe.log.peak_tflops * 1e12;
        self.rows.push(Setting {
            set,
            peak: plan.memory(plan.samples.worst).peak(),
            fits: self.fits(plan),
            run_s: (peak_flops > 0.0).then(|| flops(plan) / (0.4 * peak_flops)),
            work: flops(plan) / flops(self.base),
            price,
        });
    }

    /// Gradients, moments and weights in fewer bits, each beside those before it, and adapters; gives the lightest of whole weights.
    fn fewer_bits(&mut self, change: &Change) -> Result<Change, Error> {
        let recipe = &self.base.recipe;
        let mut lightest = change.clone();
        let steps = [
            (recipe.train.accumulate_dtype == HeldWord::F32, Key::Sums, SUMS),
            (recipe.optimizer.moments_dtype != MomentWord::Int8, Key::Moments, MOMENTS),
            (recipe.train.weights_dtype == HeldWord::F32, Key::Weights, WEIGHTS),
        ];
        for (_, key, price) in steps.into_iter().filter(|(is_wide, ..)| *is_wide) {
            lightest = lightest.with(key);
            self.add(&self.planned(&lightest)?, lightest.set(), price);
        }
        let adapts = |part: &String| part.parse().is_ok_and(|part: Part| part.is_adapted());
        if recipe.tune.lora_rank == 0 && recipe.tune.parts.iter().any(adapts) {
            let adapters = change.with(Key::Adapters);
            self.add(&self.planned(&adapters)?, adapters.set(), ADAPTERS);
        }
        Ok(lightest)
    }

    /// The most frames that fit, if any do.
    fn fewer_frames(&mut self, change: &Change) -> Result<bool, Error> {
        let data = &self.base.recipe.data;
        let (clip, least) = (data.clip_frames, data.min_frames);
        let most = self.base.samples.worst.frames;
        let with = |clips: usize| change.with(Key::Frames(clips * clip));
        // Memory grows with frames: halve the range between what is allowed and what does not fit.
        let (mut low, mut high) = (least / clip, most / clip);
        if low >= high || !self.fits(&self.planned(&with(low))?) {
            return Ok(false);
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            let fits = self.fits(&self.planned(&with(middle))?);
            if fits { low = middle } else { high = middle }
        }
        let change = with(low);
        self.add(&self.planned(&change)?, change.set(), FEWER);
        Ok(true)
    }

    /// The most decoder layers, from the top, that fit in the place of the whole language model.
    fn upper_layers(&mut self, change: &Change) -> Result<bool, Error> {
        let parts = &self.base.recipe.tune.parts;
        let whole = |part: &String| matches!(part.parse(), Ok(Part::Llm | Part::AllLayers));
        if !parts.iter().any(whole) {
            return Ok(false);
        }
        let last = self.base.config.llm.num_hidden_layers - 1;
        for first in 0..=last {
            let upper = format!("layers.{first}-{last}");
            let rest = parts.iter().filter(|part| !whole(part)).cloned();
            let parts = std::iter::once(upper).chain(rest).collect();
            let change = change.with(Key::Parts(parts));
            let plan = self.planned(&change)?;
            if self.fits(&plan) {
                self.add(&plan, change.set(), UPPER);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |row: &Setting| {
            let set = row.set.iter().map(|set| format!("--set '{set}'")).collect::<Vec<_>>();
            [
                if set.is_empty() { "the recipe as it is".into() } else { set.join(" ") },
                bytes(row.peak),
                if row.fits { "yes" } else { "no" }.into(),
                row.run_s.map_or("?".into(), |seconds| format!("{:.1}", seconds / 3600.0)),
                format!("{:.2}", row.work),
                row.price.into(),
            ]
        };
        let head = ["setting", "peak", "fits", "hours", "work", "what becomes other"];
        write!(f, "{}", Table::new(head, self.rows.iter().map(row)).text())?;
        let limit = self.limit_gib;
        match self.rows.iter().find(|row| row.fits) {
            Some(first) if first.set.is_empty() => {
                writeln!(f, "{limit} GiB hold the recipe as it is")
            }
            Some(first) => writeln!(f, "{limit} GiB hold it with {}", first.set.join(", ")),
            None => writeln!(f, "{limit} GiB hold none of these; tune fewer parts ([tune] parts)"),
        }
    }
}
