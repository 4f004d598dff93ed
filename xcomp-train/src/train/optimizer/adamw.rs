//! AdamW exactly as PyTorch computes it, with its state by parameter name.
//!
//! Burn's AdamW takes `1 - beta` and the bias corrections in f32, which is 5e-5 off for beta 0.999,
//! and keys its state by ids that change with every load; so the formula stands in `xcomp_model::ops` and the state here.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Bool, DType, Tensor};
use xcomp_model::ops::{AdamWStep, Moment, MomentFormat, Moments, StepKeys, adamw, on_cpu};
use xcomp_model::vlm::Vlm;

use crate::plan::Plan;
use crate::plan::lr::Rate;
use crate::train::optimizer::grads::NamedTensors;
use xcomp_model::weights::{Change, Named};

/// The constants of AdamW; names are Hugging Face's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the mean gradient.
    pub adam_beta1: f64,
    /// Decay of the mean squared gradient.
    pub adam_beta2: f64,
    /// Keeps the division finite; added outside the root.
    pub adam_epsilon: f64,
    /// How moments are held between steps.
    pub moments: MomentFormat,
    /// What random bits follow from, with the step and the name of a tensor, where something is rounded by chance.
    pub seed: u64,
}

/// The state of the optimizer: everything but the weights.
#[derive(Debug, Clone, Default)]
pub struct AdamWState {
    /// Steps taken.
    pub step: u64,
    /// Running means of the gradients.
    pub exp_avg: NamedMoments,
    /// Running means of their squares.
    pub exp_avg_sq: NamedMoments,
}

/// Moments by the names of their tensors.
pub type NamedMoments = BTreeMap<String, Moment>;

impl AdamW {
    /// The constants of a plan's recipe.
    pub fn of(plan: &Plan) -> Self {
        let optimizer = &plan.recipe.optimizer;
        Self {
            adam_beta1: optimizer.adam_beta1,
            adam_beta2: optimizer.adam_beta2,
            adam_epsilon: optimizer.adam_epsilon,
            moments: plan.moment_format(),
            seed: plan.recipe.train.seed,
        }
    }

    /// Moves every parameter that has a gradient; `rate` gives its learning rate and decay by name.
    ///
    /// A learning rate of 0 (the first step of a warm-up) moves nothing but updates the state, as in the reference.
    pub fn step(
        &self,
        state: &mut AdamWState,
        model: Vlm,
        grads: NamedTensors,
        rate: impl Fn(&str) -> Rate,
    ) -> Vlm {
        self.step_if(None, state, model, grads, rate)
    }

    /// As [`AdamW::step`], but where `sound` is false on the device, weights and moments stay as they are, to the bit.
    ///
    /// The step is counted all the same: `train::unsound` takes it back if it was not sound.
    ///
    /// # Shapes
    /// - `sound`: `[1]`; `None` is sound
    pub fn step_if(
        &self,
        sound: Option<Tensor<1, Bool>>,
        state: &mut AdamWState,
        model: Vlm,
        mut grads: NamedTensors,
        rate: impl Fn(&str) -> Rate,
    ) -> Vlm {
        state.step += 1;
        // A CPU has the answer already, and moves weights in place.
        let answered = sound.as_ref().is_some_and(|sound| on_cpu(&sound.device()));
        let (sound, known) = if answered { (None, sound) } else { (sound, None) };
        if known.is_some_and(|sound| sound.into_data().iter::<bool>().any(|sound| !sound)) {
            return model;
        }
        let mut update = Update { adam: *self, state, grads: &mut grads, rate: &rate, sound };
        model.change_each(&mut update)
    }

    /// How far the step after those that `state` has seen would move one tensor; `state` stays as it is.
    ///
    /// # Shapes
    /// - all: `[elements]`, without a tape; the output is f32, and nothing is rounded
    pub fn next_move(
        &self,
        state: &AdamWState,
        name: &str,
        weight: Tensor<1>,
        grad: Tensor<1>,
        rate: Rate,
    ) -> Tensor<1> {
        let moments = match (state.exp_avg.get(name), state.exp_avg_sq.get(name)) {
            (Some(mean), Some(square)) => {
                Moments { mean: mean.clone(), mean_square: square.clone() }.exact()
            }
            _ => Moments::zeros_like(&weight, MomentFormat::F32),
        };
        let weight = weight.cast(DType::F32);
        let step = self.constants(state.step + 1, name, rate);
        adamw(weight.clone(), grad, moments, step).0 - weight
    }

    /// What 1-based `step` does with the tensor called `name`.
    fn constants(&self, step: u64, name: &str, rate: Rate) -> AdamWStep {
        AdamWStep {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            correction1: 1.0 - self.adam_beta1.powf(step as f64),
            correction2: 1.0 - self.adam_beta2.powf(step as f64),
            lr: rate.lr,
            weight_decay: rate.weight_decay,
            keys: StepKeys::new(self.seed, step, name),
        }
    }
}

struct Update<'a, R> {
    adam: AdamW,
    state: &'a mut AdamWState,
    grads: &'a mut NamedTensors,
    rate: &'a R,
    sound: Option<Tensor<1, Bool>>,
}

impl<R: Fn(&str) -> Rate> Update<'_, R> {
    /// One tensor, flat and without a tape.
    fn update(&mut self, name: &str, weight: Tensor<1>, grad: Tensor<1>) -> Tensor<1> {
        let step = self.adam.constants(self.state.step, name, (self.rate)(name));
        let state = (self.state.exp_avg.remove(name), self.state.exp_avg_sq.remove(name));
        let moments = match state {
            (Some(mean), Some(mean_square)) => Moments { mean, mean_square },
            _ => Moments::zeros_like(&weight, self.adam.moments),
        };
        let old = self.sound.clone().map(|sound| (sound, weight.clone(), moments.clone()));
        let (mut moved, mut moments) = adamw(weight, grad, moments, step);
        if let Some((sound, old, was)) = old {
            moved = old.mask_where(sound.clone().expand(moved.dims()), moved);
            moments.mean = moments.mean.or_kept(was.mean, &sound);
            moments.mean_square = moments.mean_square.or_kept(was.mean_square, &sound);
        }
        self.state.exp_avg.insert(name.to_owned(), moments.mean);
        self.state.exp_avg_sq.insert(name.to_owned(), moments.mean_square);
        moved
    }
}

impl<R: Fn(&str) -> Rate> Change for Update<'_, R> {
    fn change<const D: usize>(&mut self, name: &str, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove(name) else { return param };
        let (id, tensor, mapper) = param.consume();
        let (shape, len) = (tensor.shape(), tensor.shape().num_elements());
        let weight = tensor.inner().reshape([len]);
        let moved = self.update(name, weight, grad).reshape(shape).autodiff().require_grad();
        Param::from_mapped_value(id, moved, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn tensor(values: &[f32]) -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
    }

    const ADAM: AdamW = AdamW {
        adam_beta1: 0.9,
        adam_beta2: 0.999,
        adam_epsilon: 1e-8,
        moments: MomentFormat::F32,
        seed: 0,
    };
    const RATE: Rate = Rate { lr: 0.1, weight_decay: 0.1 };

    /// Moments of one tensor, as if no step had been counted.
    fn moments() -> AdamWState {
        let mut state = AdamWState::default();
        state.exp_avg.insert("w".into(), Moment::Float(tensor(&[0.5, -0.5])));
        state.exp_avg_sq.insert("w".into(), Moment::Float(tensor(&[0.25, 0.25])));
        state
    }

    /// Weight, mean and mean square after a step whose soundness the device knows.
    fn stepped(sound: f32, grad: &[f32]) -> [Vec<f32>; 3] {
        let mut state = moments();
        state.step = 1;
        let mut update = Update {
            adam: ADAM,
            state: &mut state,
            grads: &mut NamedTensors::default(),
            rate: &|_: &str| RATE,
            sound: Some(tensor(&[sound]).is_finite()),
        };
        let weight = update.update("w", tensor(&[1.0, 2.0]), tensor(grad));
        let moments = [&state.exp_avg, &state.exp_avg_sq].map(|m| m["w"].numbers());
        let [mean, mean_square] = moments;
        [weight, mean, mean_square].map(|tensor| tensor.into_data().iter::<f32>().collect())
    }

    #[test]
    fn where_a_step_is_not_sound_the_device_keeps_weight_and_moments() {
        let kept = stepped(f32::NAN, &[f32::NAN, f32::INFINITY]);
        assert_eq!(kept, [[1.0, 2.0], [0.5, -0.5], [0.25, 0.25]]);
        let moved = stepped(0.0, &[1.0, 1.0]);
        assert!(moved.iter().zip(&kept).all(|(moved, kept)| moved != kept), "{moved:?}");
    }

    #[test]
    fn the_next_move_is_what_a_step_moves() {
        let [weight, ..] = stepped(0.0, &[1.0, 1.0]);
        let state = moments();
        let moved = ADAM.next_move(&state, "w", tensor(&[1.0, 2.0]), tensor(&[1.0, 1.0]), RATE);
        let moved: Vec<f32> = moved.into_data().iter().collect();
        assert_eq!(moved, [weight[0] - 1.0, weight[1] - 2.0]);
        assert_eq!(state.step, 0);
    }
}
