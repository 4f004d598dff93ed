//! What of a recipe fits a card: settings beside its own, what each takes, and what it changes.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::plan::cost::SampleSize;
use crate::plan::{Plan, Samples};
use crate::recipe::Recipe;
use crate::recipe::tables::{FloatWord, RecomputeWord};
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

impl Fit {
    /// Plans a recipe's settings for a card of so many GiB: recomputing, bf16, smaller forwards, then fewer frames and fewer layers,
    /// of which each time the most that fits is named.
    ///
    /// # Errors
    /// If a setting cannot be planned.
    pub fn new(plan: &Plan, limit_gib: f64) -> Result<Self, Error> {
        let mut search = Search { base: plan, limit_gib, rows: vec![] };
        search.add(plan, vec![], "");
        let mut change = Change::default();
        let table = &plan.recipe.train;
        if !plan.recompute && plan.may_recompute() {
            change.recompute = true;
            search.add(&search.planned(&change)?, change.set(), AGAIN);
        }
        if table.dtype == FloatWord::F32 {
            change.bf16 = true;
            let kept = Change { recompute: false, ..change.clone() };
            search.add(&search.planned(&kept)?, kept.set(), ROUNDED);
            if change.recompute {
                search.add(&search.planned(&change)?, change.set(), ROUNDED);
            }
        }
        if table.per_device_batch_size > 1 {
            let steps = table.per_device_batch_size * table.gradient_accumulation_steps;
            change.accumulation = Some(steps);
            search.add(&search.planned(&change)?, change.set(), AGAIN);
        }
        if !search.rows.iter().any(|row| row.fits) {
            search.fewer_frames(&change)?;
            search.upper_layers(&change)?;
        }
        Ok(Self { limit_gib, rows: search.rows })
    }
}

/// Keys beside a recipe's own.
#[derive(Debug, Clone, Default)]
struct Change {
    recompute: bool,
    bf16: bool,
    /// With one sample a forward.
    accumulation: Option<usize>,
    max_frames: Option<usize>,
    parts: Option<Vec<String>>,
}

impl Change {
    fn set(&self) -> Vec<String> {
        let mut set = vec![];
        if self.recompute {
            set.push("train.recompute=layer".into());
        }
        if self.bf16 {
            set.push("train.dtype=bf16".into());
        }
        if let Some(steps) = self.accumulation {
            set.push("train.per_device_batch_size=1".into());
            set.push(format!("train.gradient_accumulation_steps={steps}"));
        }
        set.extend(self.max_frames.map(|frames| format!("data.max_frames={frames}")));
        set.extend(self.parts.as_ref().map(|parts| format!("tune.parts={parts:?}")));
        set
    }

    fn apply(&self, recipe: &mut Recipe) {
        if self.recompute {
            recipe.train.recompute = RecomputeWord::Layer;
        }
        if self.bf16 {
            recipe.train.dtype = FloatWord::Bf16;
        }
        if let Some(steps) = self.accumulation {
            recipe.train.per_device_batch_size = 1;
            recipe.train.gradient_accumulation_steps = steps;
        }
        if let Some(frames) = self.max_frames {
            recipe.data.max_frames = frames;
        }
        if let Some(parts) = &self.parts {
            recipe.tune.parts.clone_from(parts);
        }
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
        let mut recipe = self.base.recipe.clone();
        change.apply(&mut recipe);
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

    /// The most frames that fit, if any do.
    fn fewer_frames(&mut self, change: &Change) -> Result<(), Error> {
        let data = &self.base.recipe.data;
        let (clip, least) = (data.clip_frames, data.min_frames);
        let most = self.base.samples.worst.frames;
        let with = |clips: usize| Change { max_frames: Some(clips * clip), ..change.clone() };
        // Memory grows with frames: halve the range between what is allowed and what does not fit.
        let (mut low, mut high) = (least / clip, most / clip);
        if low >= high || !self.fits(&self.planned(&with(low))?) {
            return Ok(());
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            let fits = self.fits(&self.planned(&with(middle))?);
            if fits { low = middle } else { high = middle }
        }
        let change = with(low);
        self.add(&self.planned(&change)?, change.set(), FEWER);
        Ok(())
    }

    /// The most decoder layers, from the top, that fit in the place of the whole language model.
    fn upper_layers(&mut self, change: &Change) -> Result<(), Error> {
        let parts = &self.base.recipe.tune.parts;
        let whole = |part: &String| matches!(part.parse(), Ok(Part::Llm | Part::AllLayers));
        if !parts.iter().any(whole) {
            return Ok(());
        }
        let last = self.base.config.llm.num_hidden_layers - 1;
        for first in 0..=last {
            let upper = format!("layers.{first}-{last}");
            let rest = parts.iter().filter(|part| !whole(part)).cloned();
            let parts = Some(std::iter::once(upper).chain(rest).collect());
            let change = Change { parts, ..change.clone() };
            let plan = self.planned(&change)?;
            if self.fits(&plan) {
                self.add(&plan, change.set(), UPPER);
                break;
            }
        }
        Ok(())
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
