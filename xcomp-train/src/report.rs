//! What a run has learnt of its drops: measured on some of its own samples, nothing is trained.
//!
//! Every sample goes forward and backward once, as in the run, for the gradient of each layer; then forward only,
//! once as the run drops tokens, and twice for each drop: with this drop one layer earlier, and without it.
//! A drop that costs much when it comes one layer earlier is one that the layers below are still preparing.

pub mod drops;
pub mod follow;
pub mod layers;
pub mod losses;
pub mod plots;
pub mod probe;
pub mod schedule;
pub mod sensitivity;
pub mod text;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use crate::data::Data;
use crate::data::features::open_cache;
use crate::error::Error;
use crate::export::find_checkpoint;
use crate::machine::files::{write_atomically, write_json};
use crate::plan::Plan;
use crate::plan::vst::require_whole;
use crate::recipe::tables::Init;
use crate::run::launch::EXPORT;
use crate::run::metrics::Recorded;
use crate::show::progress::Progress;
use crate::train::batch::{backward, sum_gradients};
use crate::train::checkpoint::Checkpoints;
use crate::train::checkpoint::identity::Identity;
use crate::train::held_out::HeldOut;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::samples::{Sample, evenly, load};
use crate::train::state::TrainState;
use drops::{DropRow, Drops};
use layers::{LayerRow, layer_rows};
use losses::{GroupRow, Mean, SampleLoss, by_frames, by_source, mean_of};
use xcomp_model::transfer::read_number;

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Learnability {
    /// Folder of the run.
    pub run: PathBuf,
    /// Folder of the weights.
    pub weights: PathBuf,
    /// Steps taken with them; none where an export alone is left, which holds no moments either.
    pub step: Option<usize>,
    /// Share of the peak learning rate that the last step used.
    pub last_rate: Option<f64>,
    /// Mean loss over the samples.
    pub loss: Mean,
    /// Losses on held-out samples in the course of the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<HeldOut>,
    /// Norm of the gradient of the samples' mean loss, before clipping, over all tuned tensors.
    pub grad_norm: f64,
    /// Every tuned part from the frames upwards.
    pub layers: Vec<LayerRow>,
    /// Every layer on whose entry frames lose tokens.
    pub drops: Vec<DropRow>,
    /// The loss of each dataset.
    pub sources: Vec<GroupRow>,
    /// The loss by number of frames.
    pub frames: Vec<GroupRow>,
    /// Every sample.
    pub samples: Vec<SampleLoss>,
    /// Samples that could not be used, and why.
    pub left_out: Vec<String>,
    /// Numbers of lines of the run's metrics that cannot be read, from 1.
    pub broken_lines: Vec<usize>,
}

/// A run that is looked at.
#[derive(Debug)]
pub struct Subject {
    run: PathBuf,
    weights: PathBuf,
    plan: Plan,
    data: Data,
    state: TrainState,
    device: Device,
}

/// The folder of the newest weights of a run: a checkpoint, else the export.
///
/// # Errors
/// If there is neither.
pub fn newest_weights(run: &Path) -> Result<PathBuf, Error> {
    if let Some(saved) = Checkpoints::open(run).latest()?.0 {
        return Ok(saved.folder);
    }
    let export = run.join(EXPORT);
    if export.join("config.json").is_file() {
        return Ok(export);
    }
    Ok(find_checkpoint(run, None)?.folder)
}

impl Subject {
    /// Opens the newest weights of a run; `plan` is that of its recipe. The run may go on meanwhile.
    ///
    /// # Errors
    /// If weights or data cannot be used.
    pub fn open(run: &Path, plan: Plan, device: &Device) -> Result<Self, Error> {
        let data = Data::open(&plan.recipe, &plan.config, None)?;
        let plan = plan.for_device(device);
        let (weights, state) = if let Some(saved) = Checkpoints::open(run).latest()?.0 {
            let state = TrainState::view(&plan, &saved, device)?;
            (saved.folder, state)
        } else {
            let (export, mut plan) = (newest_weights(run)?, plan.clone());
            plan.recipe.model.init = Init::Checkpoint;
            plan.recipe.model.checkpoint = export.display().to_string();
            (export, TrainState::start(&plan, Identity::new(), device)?)
        };
        Ok(Self { run: run.into(), weights, plan, data, state, device: device.clone() })
    }

    /// Measures on up to `samples` samples, evenly spread over the mixture.
    ///
    /// # Errors
    /// If no sample can be used, or the feature cache cannot be opened.
    pub fn measure(&self, samples: usize) -> Result<Learnability, Error> {
        let Self { plan, data, state, .. } = self;
        require_whole(plan, "a report of gradients")?;
        let count = samples.min(data.mixture.len());
        let mut tally = Tally::new(Drops::new(&state.model, plan, count));
        tally.left_out = self.look(samples, |sample| tally.add(plan, state, sample))?;
        self.report(tally)
    }

    /// Shows up to `samples` samples, evenly spread over the mixture; gives those that could not be used, with the reason.
    fn look(&self, samples: usize, mut show: impl FnMut(Sample)) -> Result<Vec<String>, Error> {
        let Self { plan, data, state, device, .. } = self;
        let options = xcomp_data::LoadOptions {
            features: open_cache(plan, &state.model, device)?,
            ..data.load_options().clone()
        };
        let chosen = evenly(samples, data.mixture.len());
        let (progress, mut left_out) = (Progress::new("samples", chosen.len()), vec![]);
        for index in chosen {
            let record = &data.mixture.records()[index];
            match load(plan, &state.model, record, index, &options, device) {
                Ok(sample) => show(sample),
                Err(why) => left_out.push(why.to_string()),
            }
            progress.step();
        }
        Ok(left_out)
    }

    fn report(&self, tally: Tally) -> Result<Learnability, Error> {
        let Self { plan, state, .. } = self;
        let Tally { drops, grads, weight, losses, left_out } = tally;
        let none = || Error::BrokenSamples { broken: left_out.len(), samples: left_out.len() };
        let loss = mean_of(losses.iter().map(|l| (l.id.as_str(), l.loss))).ok_or_else(none)?;
        let grads = grads.divide(weight.max(1) as f64);
        let step = (state.step > 0).then_some(state.step);
        let Recorded { held_out, broken_lines, .. } = Recorded::of_run(&self.run)?;
        Ok(Learnability {
            run: self.run.clone(),
            weights: self.weights.clone(),
            step,
            last_rate: step.map(|step| plan.lr.factor(step - 1)),
            loss,
            grad_norm: grads.norm().map_or(0.0, |norm| read_number(norm).into()),
            layers: layer_rows(plan, state, grads),
            drops: drops.rows(&losses),
            sources: by_source(&losses),
            frames: by_frames(&losses),
            samples: losses,
            left_out,
            held_out: held_out.into_values().collect(),
            broken_lines,
        })
    }
}

/// What the samples so far have left behind.
struct Tally {
    drops: Drops,
    /// Summed, and what the sum is divided by.
    grads: NamedTensors,
    weight: usize,
    losses: Vec<SampleLoss>,
    left_out: Vec<String>,
}

impl Tally {
    fn new(drops: Drops) -> Self {
        let (losses, left_out) = (vec![], vec![]);
        Self { drops, grads: NamedTensors::default(), weight: 0, losses, left_out }
    }

    fn add(&mut self, plan: &Plan, state: &TrainState, sample: Sample) {
        let loss = self.drops.add(&sample);
        let micro = backward(plan, &state.model, sample.batch);
        sum_gradients(plan, &mut self.grads, micro.grads);
        self.weight += micro.weight;
        let Sample { source, id, frames, .. } = sample;
        self.losses.push(SampleLoss { id, source: source.to_string(), frames, loss });
    }
}

/// Writes `learnability.json`, `learnability.md` and `report.html` into the folder of the run.
///
/// # Errors
/// If the disk refuses, or the run's metrics cannot be read.
pub fn write(report: &Learnability) -> Result<(), Error> {
    let file = |name: &str| report.run.join(name);
    let Recorded { records, .. } = Recorded::of_run(&report.run)?;
    write_json(&file("learnability.json"), report)?;
    write_atomically(&file("learnability.md"), text::markdown(report).as_bytes())?;
    let page = text::page(report, &plots::plots(report, &records));
    write_atomically(&file("report.html"), page.as_bytes())
}
