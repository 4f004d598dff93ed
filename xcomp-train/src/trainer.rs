//! The training loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use xcomp_data::{DataError, Example, Position};
use xcomp_model::frames::{Clips, Encoding};
use xcomp_model::loss::LossNorm;
use xcomp_model::splice::Prompt;
use xcomp_model::vlm::Vlm;

use crate::clip::clip_grad_norm;
use crate::collate::{CollateError, collate};
use crate::cost::SampleSize;
use crate::grads::NamedTensors;
use crate::meter::{Meter, StepRecord};
use crate::micro_step::{MicroBatch, Recompute};
use crate::optim::{AdamW, AdamWState, Rate};
use crate::plan::Plan;
use crate::recipe::tables::{DecayRule, LossNormWord};

/// Everything that a resumed run needs.
#[derive(Debug, Clone)]
pub struct TrainState {
    /// The model; what is tuned is on the tape.
    pub model: Vlm,
    /// The optimizer's moments.
    pub optim: AdamWState,
    /// Optimizer steps done.
    pub step: usize,
    /// The next sample.
    pub position: Position,
}

/// What the loop tells whoever runs it; nothing is printed here.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step has been logged.
    Step(&'a StepRecord),
    /// A checkpoint has been written here.
    Saved(PathBuf),
}

/// Why a run ends before its last step.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The samples are used up.
    #[error(
        "the data ended at step {step} of {steps}; raise [train] num_train_epochs or lower max_steps"
    )]
    OutOfData {
        /// Steps done.
        step: usize,
        /// Steps planned.
        steps: usize,
    },
    /// A sample cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A sample's parts do not fit together.
    #[error(transparent)]
    Collate(#[from] CollateError),
    /// No sample of a whole step has a supervised token.
    #[error(
        "step {step}: none of its samples has a supervised token; look at them with `xcomp data show`"
    )]
    NothingSupervised {
        /// 1-based step.
        step: usize,
    },
    /// A loss or a gradient is not finite.
    #[error(
        "step {step}: loss {loss}, gradient norm {grad_norm}; not finite, no weight was changed in this step"
    )]
    NonFinite {
        /// 1-based step.
        step: usize,
        /// The loss.
        loss: f64,
        /// The gradient norm before clipping.
        grad_norm: f64,
    },
    /// A checkpoint could not be written.
    #[error("cannot save at step {step}: {source}")]
    Save {
        /// Steps done.
        step: usize,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Writes a checkpoint of a state and says where.
pub type Save<'a> =
    dyn FnMut(&TrainState) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Samples, each with the position behind it.
pub type Examples<'a> = dyn Iterator<Item = Result<(Example, Position), DataError>> + 'a;

/// Trains `state` until the plan's last step.
///
/// # Errors
/// If the data ends or cannot be used, a loss or gradient is not finite, or a checkpoint cannot be written.
pub fn train(
    plan: &Plan,
    state: &mut TrainState,
    examples: &mut Examples,
    device: &Device,
    save: &mut Save,
    report: &mut dyn FnMut(Event),
) -> Result<(), TrainError> {
    let train = &plan.recipe.train;
    let norm = loss_norm(train.loss_norm);
    let recompute = if plan.recompute { Recompute::EveryLayer } else { Recompute::Never };
    let adam = adam(plan);
    let mut meter = Meter::start(plan);

    while state.step < plan.steps {
        let mut grads = NamedTensors::default();
        let mut weight = 0;

        for _ in 0..train.gradient_accumulation_steps {
            let waiting = Instant::now();
            let samples = next_samples(plan, state, examples)?;
            meter.waited(waiting.elapsed());
            meter.count(&samples);

            let batch = encode(&state.model, &samples, device);
            let micro = recompute.backward(&state.model, batch, &plan.compression, norm);
            grads.add(micro.grads);
            weight += micro.weight;
            meter.loss(&samples, micro.loss, micro.weight); // stays on the device until it is logged
        }
        if weight == 0 {
            return Err(TrainError::NothingSupervised { step: state.step + 1 });
        }

        let (grads, grad_norm) =
            clip_grad_norm(grads.divide(weight as f64), plan.recipe.optimizer.max_grad_norm);
        let factor = plan.lr.factor(state.step);
        let last = state.step + 1 == plan.steps;
        let due = |every: usize| last || (every > 0 && (state.step + 1).is_multiple_of(every));
        let (log, checkpoint) =
            (due(plan.recipe.log.logging_steps), due(plan.recipe.checkpoint.save_steps));

        // The loop's only wait for the device; a step that is not finite is caught before it moves a weight.
        let record = log.then(|| meter.record(state.step, grad_norm));
        if let Some(record) = record.as_ref().filter(|record| !record.is_finite()) {
            let StepRecord { step, loss, grad_norm, .. } = *record;
            return Err(TrainError::NonFinite { step, loss, grad_norm });
        }

        let model = state.model.clone();
        state.model = adam.step(&mut state.optim, model, grads, |name| rate(plan, name, factor));
        state.step += 1;

        if let Some(record) = &record {
            report(Event::Step(record));
        }
        if checkpoint {
            let written =
                save(state).map_err(|source| TrainError::Save { step: state.step, source })?;
            report(Event::Saved(written));
        }
    }
    Ok(())
}

/// A sample of a micro-batch, on the host.
#[derive(Debug)]
pub struct Sample {
    /// Its prompt and labels.
    pub prompt: Prompt,
    /// Its frames.
    pub clips: Clips,
    /// Its dataset.
    pub source: Arc<str>,
}

impl Sample {
    /// What it costs, in frames and tokens.
    pub fn size(&self) -> SampleSize {
        let supervised = |label: &&i32| **label != xcomp_model::loss::IGNORE;
        SampleSize {
            frames: self.clips.frame_count(),
            text_tokens: self.prompt.ids.len() - usize::from(self.prompt.image_at.is_some()),
            supervised_tokens: self.prompt.labels.iter().filter(supervised).count(),
        }
    }
}

/// The samples of one micro-batch; the state's position moves behind them.
fn next_samples(
    plan: &Plan,
    state: &mut TrainState,
    mut examples: &mut Examples,
) -> Result<Vec<Sample>, TrainError> {
    let ended = TrainError::OutOfData { step: state.step, steps: plan.steps };
    let mut samples = vec![];
    for next in (&mut examples).take(plan.recipe.train.per_device_batch_size) {
        let (example, position) = next?;
        let source = example.source.clone();
        let (prompt, clips) = collate(example, plan.config.vision.clip_frames)?;
        samples.push(Sample { prompt, clips, source });
        state.position = position;
    }
    if samples.len() < plan.recipe.train.per_device_batch_size { Err(ended) } else { Ok(samples) }
}

/// Runs the tower over every sample's frames.
pub fn encode(model: &Vlm, samples: &[Sample], device: &Device) -> MicroBatch {
    let merged =
        samples.iter().map(|sample| Some(model.encode(&sample.clips, device, Encoding::default())));
    let prompts = samples.iter().map(|sample| sample.prompt.clone());
    MicroBatch { merged: merged.collect::<Vec<Option<Tensor<3>>>>(), prompts: prompts.collect() }
}

fn loss_norm(word: LossNormWord) -> LossNorm {
    match word {
        LossNormWord::Sample => LossNorm::Sample,
        LossNormWord::Token => LossNorm::Token,
    }
}

fn adam(plan: &Plan) -> AdamW {
    let table = &plan.recipe.optimizer;
    AdamW {
        adam_beta1: table.adam_beta1,
        adam_beta2: table.adam_beta2,
        adam_epsilon: table.adam_epsilon,
    }
}

/// Learning rate and decay of a tensor by its checkpoint name.
fn rate(plan: &Plan, name: &str, factor: f64) -> Rate {
    let table = &plan.recipe.optimizer;
    let peak = if name.starts_with("model.mm_projector.") {
        table.mm_projector_lr
    } else if name.starts_with("model.vision_tower.") {
        table.mm_vision_tower_lr
    } else {
        None
    };
    // Hugging Face's groups (`trainer.py`, `get_decay_parameter_names`): no decay on biases and norms.
    let exempt = table.decay_on == DecayRule::HuggingFace
        && (name.ends_with("bias") || name.contains("norm"));
    Rate {
        lr: peak.unwrap_or(table.learning_rate) * factor,
        weight_decay: if exempt { 0.0 } else { table.weight_decay },
    }
}
