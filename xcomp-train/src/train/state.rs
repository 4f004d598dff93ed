//! Everything that a resume needs, in one place.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use xcomp_data::Position;
use xcomp_model::vlm::Vlm;

use crate::error::Error;
use crate::machine::files::read_text;
use crate::plan::Plan;
use crate::recipe::tables::Init;
use crate::show::progress::during;
use crate::train::checkpoint::identity::{Identity, differences};
use crate::train::checkpoint::tensors::{hold_moments, hold_parameters, upload_moments};
use crate::train::checkpoint::{MODEL, OPTIMIZER, Saved, Snapshot, TRAIN_STATE, copies};
use crate::train::held_out::Validated;
use crate::train::optimizer::adamw::AdamWState;
use crate::train::optimizer::init::{fresh_adapters, random};
use xcomp_model::base::family::Place;
use xcomp_model::error::ModelError;
use xcomp_model::weights::{Change, Loaded, Named, StoredWeights, WeightDtype};

const EXP_AVG: &str = "exp_avg.";
const EXP_AVG_SQ: &str = "exp_avg_sq.";
/// Of `train_state.json`.
const VERSION: u32 = 1;

/// A run between two steps.
#[derive(Debug)]
pub struct TrainState {
    /// Optimizer steps taken.
    pub step: usize,
    /// The model, on the tape where it is tuned.
    pub model: Vlm,
    /// Moments of the optimizer.
    pub optim: AdamWState,
    /// Where the data stands.
    pub position: Position,
    /// The best checkpoint so far.
    pub best: Option<Best>,
    /// Losses since the last regular save, for the choice of the best.
    pub interval: Interval,
    /// Tensors that this start has as copies of others, since the base lacks them.
    pub copied: usize,
    /// Running mean of the loss, for the spike watch.
    pub loss_mean: Option<f64>,
    /// What is known of held-out samples.
    pub validated: Validated,
    identity: Identity,
}

/// Logged losses of a part of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    sum: f64,
    count: usize,
}

impl Interval {
    /// Notes a loss; one that is not finite says nothing about the rest.
    pub fn add(&mut self, loss: f64) {
        if loss.is_finite() {
            self.sum += loss;
            self.count += 1;
        }
    }

    /// Their mean.
    pub fn mean(self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// A checkpoint by its mean loss since the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: usize,
    /// The mean loss.
    pub loss: f64,
}

/// `train_state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    step: usize,
    optimizer_step: u64,
    position: Position,
    best: Option<Best>,
    interval: Interval,
    loss_mean: Option<f64>,
    #[serde(default, skip_serializing_if = "Validated::is_none")]
    validated: Validated,
    identity: Identity,
}

/// Steps that the run of a checkpoint folder had taken.
///
/// # Errors
/// If its state cannot be read.
pub fn step_of(folder: &Path) -> Result<usize, Error> {
    stored(&folder.join(TRAIN_STATE)).map(|stored| stored.step)
}

fn stored(path: &Path) -> Result<Stored, Error> {
    let wrong = |message: String| Error::Checkpoint { path: path.into(), message };
    let stored: Stored = serde_json::from_str(&read_text(path)?)
        .map_err(|error| wrong(format!("damaged: {error}")))?;
    if stored.version != VERSION {
        return Err(wrong(format!("has version {}, this xcomp reads {VERSION}", stored.version)));
    }
    Ok(stored)
}

impl TrainState {
    /// The run before its first step: base weights, no moments.
    ///
    /// # Errors
    /// If the base weights cannot be loaded.
    pub fn start(plan: &Plan, identity: Identity, device: &Device) -> Result<Self, Error> {
        Self::begin(plan, identity, StoredWeights::default(), device)
    }

    /// No step taken, with these tuned weights.
    fn begin(
        plan: &Plan,
        identity: Identity,
        tuned: StoredWeights,
        device: &Device,
    ) -> Result<Self, Error> {
        plan.require_formats(device)?;
        let (mut model, stored) = model_and_weights(plan, tuned, &device.clone().autodiff())?;
        let loaded = during("loading the weights", || take(plan, &mut model, stored))?;
        Ok(Self {
            copied: loaded.copied,
            step: 0,
            model: freeze(model, plan),
            optim: AdamWState::default(),
            position: Position::start(),
            best: None,
            interval: Interval::default(),
            loss_mean: None,
            validated: Validated::default(),
            identity,
        })
    }

    /// The run as a checkpoint has it: base weights, with the tuned ones and all else from the checkpoint.
    ///
    /// # Errors
    /// If the checkpoint cannot be read, or belongs to a run that differs in what decides its numbers.
    pub fn restore(
        plan: &Plan,
        identity: Identity,
        saved: &Saved,
        device: &Device,
    ) -> Result<Self, Error> {
        let stored = stored(&saved.folder.join(TRAIN_STATE))?;
        let differences = differences(&stored.identity, &identity);
        if !differences.is_empty() {
            return Err(Error::OtherRun { path: saved.folder.clone(), differences });
        }
        Self::load(plan, identity, &stored, saved, device)
    }

    /// As [`TrainState::restore`], to look at and not to go on with: the data may have changed since.
    ///
    /// # Errors
    /// If the checkpoint cannot be read.
    pub fn view(plan: &Plan, saved: &Saved, device: &Device) -> Result<Self, Error> {
        let stored = stored(&saved.folder.join(TRAIN_STATE))?;
        Self::load(plan, stored.identity.clone(), &stored, saved, device)
    }

    fn load(
        plan: &Plan,
        identity: Identity,
        stored: &Stored,
        saved: &Saved,
        device: &Device,
    ) -> Result<Self, Error> {
        let tuned = StoredWeights::in_file(&saved.folder.join(MODEL))?;
        let moments = saved.folder.join(OPTIMIZER);
        if !moments.is_file() {
            let message = "was saved without moments ([checkpoint] moments = false): no run goes on from it, and no report says how its next step would move; export it, and begin another run with the export as [model] checkpoint";
            return Err(Error::Checkpoint { path: saved.folder.clone(), message: message.into() });
        }
        let state = Self::begin(plan, identity, tuned, device)?;
        let moments = StoredWeights::in_file(&moments)?;
        Ok(Self {
            step: stored.step,
            optim: AdamWState {
                step: stored.optimizer_step,
                exp_avg: upload_moments(EXP_AVG, true, &moments, device)?,
                exp_avg_sq: upload_moments(EXP_AVG_SQ, false, &moments, device)?,
            },
            position: stored.position.clone(),
            best: stored.best,
            interval: stored.interval,
            loss_mean: stored.loss_mean,
            validated: stored.validated.clone(),
            ..state
        })
    }

    /// The run as a save takes it, with the moments of all ranks; its tensors are read when they are written.
    pub fn snapshot(&self, plan: &Plan, optim: &AdamWState) -> Snapshot {
        let stored = Stored {
            version: VERSION,
            step: self.step,
            optimizer_step: optim.step,
            position: self.position.clone(),
            best: self.best,
            interval: self.interval,
            loss_mean: self.loss_mean,
            validated: self.validated.clone(),
            identity: self.identity.clone(),
        };
        let mut moments = hold_moments(EXP_AVG, &optim.exp_avg);
        moments.extend(hold_moments(EXP_AVG_SQ, &optim.exp_avg_sq));
        Snapshot {
            step: self.step,
            weights: hold_parameters(&self.model, |name| plan.tunes(name)),
            moments: Some(moments),
            state: serde_json::to_value(stored).expect("the state is plain data"),
            copies: copies(plan),
        }
    }
}

/// The model of a run, and the weights that fill it: the `tuned` ones, and the base's for all others.
///
/// # Errors
/// If the base weights cannot be used.
pub fn model_and_weights(
    plan: &Plan,
    tuned: StoredWeights,
    device: &Device,
) -> Result<(Vlm, StoredWeights), Error> {
    let (model, seed) = (Vlm::new(&plan.config, device), plan.recipe.train.seed);
    match plan.recipe.model.init {
        Init::Checkpoint => {
            plan.recipe.require("model", &["checkpoint"])?;
            let base = model.stored_weights(plan.recipe.model.checkpoint.as_ref())?;
            Ok((fresh_adapters(model, seed), tuned.before(base)))
        }
        Init::Random => Ok((fresh_adapters(random(model, seed), seed), tuned)),
    }
}

/// Fills a model, each tensor in the format in which it is held.
fn take(plan: &Plan, model: &mut Vlm, stored: StoredWeights) -> Result<Loaded, ModelError> {
    let half = |name: &str| plan.held_as(name) == WeightDtype::Bf16;
    let (half, whole) = stored.partition(half);
    let half = model.take_weights(&half, WeightDtype::Bf16)?;
    Ok(model.take_weights(&whole, WeightDtype::F32)?.with(half))
}

/// Tuned parameters ask for gradients, all others leave the tape; a frozen tower never meets one.
fn freeze(model: Vlm, plan: &Plan) -> Vlm {
    struct Freezer<'a>(&'a Plan);
    impl Change for Freezer<'_> {
        fn change<const D: usize>(
            &mut self,
            name: &str,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            let tunes = self.0.tunes(name);
            let half = D > 1 && self.0.held_as(name) == WeightDtype::Bf16;
            let param = if half { param.map(|weight| weight.cast(DType::BF16)) } else { param };
            param.set_require_grad(tunes)
        }
    }
    let mut model = model.change_each(&mut Freezer(plan));
    if !plan.tuning.reaches(Place::Vision) {
        model.vision = model.vision.valid();
    }
    model
}
