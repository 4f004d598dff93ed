//! Forward and backward of one micro-batch, keeping every activation or recomputing them layer by layer.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};
use xcomp_model::compress::lp_comp::Survivors;
use xcomp_model::compress::pass::Ascent;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::decoder::rope::Rope;
use xcomp_model::loss::{LossNorm, weighted_loss};
use xcomp_model::splice::Prompt;
use xcomp_model::vlm::{Vlm, supervised};

use crate::train::optimizer::grads::NamedTensors;

/// Prompts with the merged features of their frames (no tape), ready for the trained part of the model.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// One per sequence.
    pub prompts: Vec<Prompt>,
    /// Per sequence `[clips, tokens, mm_hidden]`; `None` for text only.
    pub merged: Vec<Option<Tensor<3>>>,
}

/// Which activations of the decoder outlive the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// All of them.
    Never,
    /// The input of every layer; its inside is computed again on the way back.
    EveryLayer,
}

/// What a micro-step leaves behind; nothing here has been read from the device.
#[derive(Debug)]
pub struct MicroStep {
    /// Summed, weighted losses, `[1]`.
    pub loss: Tensor<1>,
    /// What a sum of losses, and of gradients, is divided by for the mean.
    pub weight: usize,
    /// Gradients of the summed losses.
    pub grads: NamedTensors,
}

impl Recompute {
    /// Runs the micro-batch forward and backward.
    pub fn backward(
        self,
        model: &Vlm,
        batch: MicroBatch,
        plan: &CompressionPlan,
        norm: LossNorm,
    ) -> MicroStep {
        match self {
            Self::Never => keep(model, batch, plan, norm),
            Self::EveryLayer => recompute(model, &batch, plan, norm),
        }
    }
}

fn keep(model: &Vlm, batch: MicroBatch, plan: &CompressionPlan, norm: LossNorm) -> MicroStep {
    let (loss, weight) = model.loss(&batch.prompts, batch.merged, plan, norm);
    let grads = NamedTensors::from_backward(loss.backward(), model);
    MicroStep { loss: loss.inner(), weight, grads }
}

/// The input of a decoder layer before its drop, and what the drop left: a ranking is not done again.
struct Entry {
    x: Tensor<3>,
    kept: Option<Survivors>,
}

/// What the layer takes of `x`.
fn entering(x: Tensor<3>, kept: Option<&Survivors>) -> Tensor<3> {
    match kept {
        None => x,
        Some(kept) => kept.gather(x),
    }
}

/// Forward without a tape, holding each layer's input; then backward layer by layer, each on a tape of its own.
fn recompute(model: &Vlm, batch: &MicroBatch, plan: &CompressionPlan, norm: LossNorm) -> MicroStep {
    let plain = model.valid();
    let (x, layout) = plain.embed(&batch.prompts, batch.merged.clone());
    let stack = &plain.llm.model;
    let mut ascent = Ascent::start(stack, x, layout, 0);
    let mut entries = Vec::with_capacity(plan.layers());
    for (index, layer) in stack.layers.iter().enumerate() {
        let kept = ascent.survivors(stack, index, plan);
        if let Some(kept) = &kept {
            ascent.layout = kept.layout.clone();
        }
        entries.push(Entry { x: ascent.x.clone(), kept: kept.clone() });
        ascent.x = layer.forward(entering(ascent.x, kept.as_ref()), &ascent.rope);
    }
    let Ascent { x, layout, rope } = ascent;
    drop(plain);

    let rows = supervised(&batch.prompts, &layout);
    let top = x.autodiff().require_grad();
    let loss = weighted_loss(&model.llm, model.llm.model.norm.forward(top.clone()), &rows, norm);
    let mut tape = loss.backward();
    let mut pulled = top.grad_remove(&mut tape).expect("the last layer feeds the loss");
    let mut grads = NamedTensors::from_backward(tape, model);

    let learns_below = tuned(&model.llm.model.embed_tokens) || tuned(&model.projector);
    let lowest = if learns_below { Some(0) } else { model.llm.model.layers.iter().position(tuned) };
    for (layer, entry) in
        entries.into_iter().enumerate().skip(lowest.unwrap_or(plan.layers())).rev()
    {
        let (below, found) = layer_backward(model, layer, entry, &rope, pulled);
        grads.add(found);
        pulled = below;
    }
    if learns_below {
        let (embedded, _) = model.embed(&batch.prompts, batch.merged.clone());
        grads.add(NamedTensors::from_backward(surrogate(embedded, pulled).backward(), model));
    }
    MicroStep { loss: loss.inner(), weight: rows.weight(norm), grads }
}

/// Replays one layer and its drop on a tape: the gradient of its input, and those of its weights.
fn layer_backward(
    model: &Vlm,
    layer: usize,
    entry: Entry,
    rope: &Rope,
    pulled: Tensor<3>,
) -> (Tensor<3>, NamedTensors) {
    let Entry { x, kept } = entry;
    let x = x.autodiff().require_grad();
    let y = model.llm.model.layers[layer].forward(entering(x.clone(), kept.as_ref()), rope);
    let mut tape = surrogate(y, pulled).backward();
    let below = x.grad_remove(&mut tape).expect("a layer's input reaches its output");
    (below, NamedTensors::from_backward(tape, model))
}

/// A scalar whose gradient with respect to `y` is `pulled`.
fn surrogate(y: Tensor<3>, pulled: Tensor<3>) -> Tensor<1> {
    (y.cast(DType::F32) * pulled.cast(DType::F32).autodiff()).sum()
}

/// Whether any parameter of `module` is tuned.
fn tuned<M: Module>(module: &M) -> bool {
    struct Seen(bool);
    impl ModuleVisitor for Seen {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad();
        }
    }
    let mut seen = Seen(false);
    module.visit(&mut seen);
    seen.0
}
