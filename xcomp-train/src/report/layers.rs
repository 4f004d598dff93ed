//! How strongly the samples pull at each tuned part, and how far a step would move it.

use burn::module::Param;
use burn::tensor::Tensor;
use serde::Serialize;
use xcomp_model::base::family::Place;
use xcomp_model::transfer::read_number;

use crate::plan::Plan;
use crate::recipe::tune::Part;
use crate::train::optimizer::adamw::{AdamW, AdamWState};
use crate::train::optimizer::clip::clip_grad_norm;
use crate::train::optimizer::grads::NamedTensors;
use crate::train::state::TrainState;
use xcomp_model::weights::{Look, Named};

/// One tuned part of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRow {
    /// `layer 3` (0-based), or the name of another part.
    pub part: String,
    /// The 0-based decoder layer, if it is one.
    pub layer: Option<usize>,
    /// Tokens of a frame inside the layer; where a video is ranked the mean over its frames.
    pub tokens: Option<f64>,
    /// L2 norm of the gradient of the samples' mean loss, before clipping.
    pub grad_norm: f64,
    /// L2 norm of the weights.
    pub weight_norm: f64,
    /// L2 norm of what the next step of AdamW would move, over [`LayerRow::weight_norm`]: with that gradient (clipped as in the run),
    /// the moments of the checkpoint, and the peak learning rate.
    pub update_to_weight: f64,
}

/// Sums of squares of one tensor, or of many.
#[derive(Debug, Clone, Copy, Default)]
struct Squares {
    grad: f64,
    weight: f64,
    moved: f64,
}

impl Squares {
    fn plus(self, other: Self) -> Self {
        let (grad, weight) = (self.grad + other.grad, self.weight + other.weight);
        Self { grad, weight, moved: self.moved + other.moved }
    }
}

/// The rows of all tuned parts; `grads` are those of the mean loss, before clipping.
pub(crate) fn layer_rows(plan: &Plan, state: &TrainState, grads: NamedTensors) -> Vec<LayerRow> {
    let (clipped, _) = clip_grad_norm(grads.clone(), plan.recipe.optimizer.max_grad_norm);
    let mut measure = Measure {
        plan,
        adam: AdamW::of(plan),
        moments: &state.optim,
        grads,
        clipped,
        found: vec![],
    };
    state.model.look_at_each(&mut measure);
    let row = |(name, layer, part): (String, Option<usize>, Part)| {
        let own = measure.found.iter().filter(|(place, _)| part.contains(*place));
        let sum = own.map(|(_, squares)| *squares).reduce(Squares::plus)?;
        let weight_norm = sum.weight.sqrt();
        Some(LayerRow {
            part: name,
            layer,
            tokens: layer.map(|layer| plan.compression.tokens_per_layer()[layer]),
            grad_norm: sum.grad.sqrt(),
            weight_norm,
            update_to_weight: sum.moved.sqrt() / weight_norm.max(f64::MIN_POSITIVE),
        })
    };
    places(plan.compression.layers()).into_iter().filter_map(row).collect()
}

/// All parts from the frames upwards: name, decoder layer, and which tensors.
fn places(layers: usize) -> Vec<(String, Option<usize>, Part)> {
    let named = |(name, part): (&str, Part)| (name.to_owned(), None, part);
    let below =
        [("vision", Part::Vision), ("projector", Part::Projector), ("embeddings", Part::Embed)];
    let layer = |layer| (format!("layer {layer}"), Some(layer), Part::Layers(layer..=layer));
    let above = [("norm", Part::Norm), ("head", Part::Head)];
    below.map(named).into_iter().chain((0..layers).map(layer)).chain(above.map(named)).collect()
}

/// Walks over the parameters, one tensor in hand at a time.
struct Measure<'a> {
    plan: &'a Plan,
    adam: AdamW,
    moments: &'a AdamWState,
    grads: NamedTensors,
    clipped: NamedTensors,
    found: Vec<(Place, Squares)>,
}

impl Look for Measure<'_> {
    fn look<const D: usize>(&mut self, name: &str, param: &Param<Tensor<D>>) {
        let place = self.plan.config.family.place(name);
        let Some(place) = place.filter(|_| self.plan.tunes(name)) else {
            return;
        };
        let weight = param.val().inner();
        let len = weight.shape().num_elements();
        let weight = weight.reshape([len]);
        let mut squares = Squares { weight: sum_of_squares(weight.clone()), ..Squares::default() };
        // AdamW leaves a tensor without a gradient where it is.
        if let (Some(grad), Some(clipped)) = (self.grads.remove(name), self.clipped.remove(name)) {
            squares.grad = sum_of_squares(grad);
            let rate = self.plan.peak_rate(place, name);
            let moved = self.adam.next_move(self.moments, name, weight, clipped, rate);
            squares.moved = sum_of_squares(moved);
        }
        self.found.push((place, squares));
    }
}

fn sum_of_squares(tensor: Tensor<1>) -> f64 {
    read_number(tensor.square().sum()).into()
}
