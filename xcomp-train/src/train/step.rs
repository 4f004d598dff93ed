//! Forward and backward of one micro-batch, keeping every activation or recomputing them layer by layer.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use xcomp_model::compress::layout::Arrangement;
use xcomp_model::compress::lp_comp::Survivors;
use xcomp_model::compress::pass::Pass;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::compress::vst::VstPlan;
use xcomp_model::decoder::rope::Rope;
use xcomp_model::loss::{LossNorm, pulled, weighted_loss};
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frames::{Clips, Encoding};
use xcomp_model::vlm::{Vlm, supervised};

use crate::plan::tapes::Taped;
use crate::train::optimizer::grads::NamedTensors;

/// Prompts with the merged features of their frames, ready for what is behind the tower.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    /// One per sequence.
    pub prompts: Vec<Prompt>,
    /// Per sequence and per image or video in it `[clips, tokens, width]`; on a tape only where a tuned tower is not replayed.
    pub merged: Vec<Vec<Tensor<3>>>,
    /// The pixels of `merged`, where a tuned tower is to run again on the way back; else empty.
    pub replay: Vec<Vec<Clips>>,
    /// Windows of each sequence, where the model reads it in windows; else empty.
    pub windows: Vec<VstPlan>,
    /// The number of its first sample, by which adapters drop inputs; none are dropped without it.
    pub number: Option<u64>,
    /// How the sequences go through the decoder, where it is not in windows.
    pub arrangement: Arrangement,
}

impl MicroBatch {
    /// Its samples in parts of so many, in their order.
    #[must_use]
    pub fn split(self, counts: &[usize]) -> Vec<Self> {
        let Self { prompts, merged, replay, windows, mut number, arrangement } = self;
        let (mut prompts, mut merged) = (prompts.into_iter(), merged.into_iter());
        let (mut replay, mut windows) = (replay.into_iter(), windows.into_iter());
        let part = |count: &usize| {
            let first = number;
            number = number.map(|number| number + *count as u64);
            Self {
                prompts: prompts.by_ref().take(*count).collect(),
                merged: merged.by_ref().take(*count).collect(),
                replay: replay.by_ref().take(*count).collect(),
                windows: windows.by_ref().take(*count).collect(),
                number: first,
                arrangement,
            }
        };
        counts.iter().map(part).collect()
    }

    /// Text and visual tokens of each sample.
    pub(super) fn taped(&self) -> impl Iterator<Item = Taped> {
        self.prompts.iter().zip(&self.merged).map(|(prompt, merged)| {
            let tokens = |merged: &Tensor<3>| merged.dims()[0] * merged.dims()[1];
            Taped { text: prompt.text_tokens(), visual: merged.iter().map(tokens).sum() }
        })
    }
}

/// A way from a micro-batch to gradients: which activations of the decoder outlive the forward.
pub trait Backward {
    /// Runs the micro-batch forward and backward; gradients that are complete before the others may be given away.
    fn run_giving(
        &self,
        model: &Vlm,
        batch: MicroBatch,
        plan: &CompressionPlan,
        norm: LossNorm,
        give: &mut dyn FnMut(NamedTensors),
    ) -> MicroStep;

    /// Runs the micro-batch forward and backward.
    fn run(
        &self,
        model: &Vlm,
        batch: MicroBatch,
        plan: &CompressionPlan,
        norm: LossNorm,
    ) -> MicroStep {
        let mut early = NamedTensors::default();
        let done = self.run_giving(model, batch, plan, norm, &mut |grads| early.add(grads));
        MicroStep { grads: NamedTensors::sum(early, done.grads), ..done }
    }
}

/// Keeps all of them.
#[derive(Debug, Clone, Copy)]
pub struct Keep;

/// Keeps the input of every layer; its inside is computed again on the way back.
#[derive(Debug, Clone, Copy)]
pub struct EveryLayer;

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

impl Backward for Keep {
    fn run_giving(
        &self,
        model: &Vlm,
        batch: MicroBatch,
        plan: &CompressionPlan,
        norm: LossNorm,
        _: &mut dyn FnMut(NamedTensors),
    ) -> MicroStep {
        let MicroBatch { prompts, merged, arrangement, .. } = batch;
        let (loss, weight) = model.loss_as(arrangement, &prompts, merged, plan, norm);
        let grads = NamedTensors::from_backward(loss.backward(), model);
        MicroStep { loss: loss.inner(), weight, grads }
    }
}

impl Backward for EveryLayer {
    fn run_giving(
        &self,
        model: &Vlm,
        batch: MicroBatch,
        plan: &CompressionPlan,
        norm: LossNorm,
        give: &mut dyn FnMut(NamedTensors),
    ) -> MicroStep {
        recompute(model, &batch, plan, norm, give)
    }
}

/// The input of a decoder layer before its drop, what the drop left (a ranking is not done again), and its rotations.
struct Entry {
    x: Tensor<3>,
    kept: Option<Survivors>,
    rope: Rope,
}

/// What the layer takes of `x`.
fn entering(x: Tensor<3>, kept: Option<&Survivors>) -> Tensor<3> {
    match kept {
        None => x,
        Some(kept) => kept.gather(x),
    }
}

/// Forward without a tape, holding each layer's input; then backward layer by layer, each on a tape of its own.
fn recompute(
    model: &Vlm,
    batch: &MicroBatch,
    plan: &CompressionPlan,
    norm: LossNorm,
    give: &mut dyn FnMut(NamedTensors),
) -> MicroStep {
    let plain = model.valid();
    let (x, layout) = plain.embed_as(batch.arrangement, &batch.prompts, batch.merged.clone());
    let stack = &plain.llm.model;
    let mut pass = Pass::start(stack, x, layout, 0);
    let mut entries = Vec::with_capacity(plan.layers());
    for (index, layer) in stack.layers.iter().enumerate() {
        let (kept, x) = (pass.survivors(stack, index, plan), pass.x.clone());
        if let Some(kept) = &kept {
            pass = pass.with(kept.gather(x.clone()), kept.layout.clone());
        }
        entries.push(Entry { x, kept, rope: pass.rope.clone() });
        pass.x = layer.forward(pass.x, &pass.rope);
    }
    let Pass { x, layout, .. } = pass;
    drop(plain);

    let rows = supervised(&batch.prompts, &layout);
    let top = x.autodiff().require_grad();
    let loss = weighted_loss(&model.llm, model.llm.model.norm.forward(top.clone()), &rows, norm);
    let mut tape = loss.backward();
    let mut below = top.grad_remove(&mut tape).expect("the last layer feeds the loss");
    let mut grads = NamedTensors::from_backward(tape, model);

    let learns_below =
        tuned(&model.llm.model.embed_tokens) || tuned(&model.connector) || !batch.replay.is_empty();
    let lowest = if learns_below { Some(0) } else { model.llm.model.layers.iter().position(tuned) };
    for (layer, entry) in
        entries.into_iter().enumerate().skip(lowest.unwrap_or(plan.layers())).rev()
    {
        let (found, of_layer) = layer_backward(model, layer, entry, below);
        give(of_layer);
        below = found;
    }
    if learns_below {
        below_layers(model, batch, below, &mut grads);
    }
    MicroStep { loss: loss.inner(), weight: rows.weight(norm), grads }
}

/// Replays embedding and connector; then a tuned tower clip by clip, so that one clip's activations are held at a time.
fn below_layers(model: &Vlm, batch: &MicroBatch, below: Tensor<3>, grads: &mut NamedTensors) {
    let mut merged = batch.merged.clone();
    if !batch.replay.is_empty() {
        let leaf = |merged: Tensor<3>| merged.autodiff().require_grad();
        merged = merged.into_iter().map(|own| own.into_iter().map(leaf).collect()).collect();
    }
    let (embedded, _) = model.embed_as(batch.arrangement, &batch.prompts, merged.clone());
    let mut tape = pulled(embedded, below).backward();
    let seen = merged.iter().flatten().zip(batch.replay.iter().flatten());
    let below: Vec<_> = seen
        .map(|(leaf, clips)| (leaf.grad_remove(&mut tape).expect("a visual feeds the loss"), clips))
        .collect();
    grads.add(NamedTensors::from_backward(tape, model));
    for (below, clips) in below {
        let encoding = Encoding { clips_at_once: 1, dtype: below.dtype().into() };
        for clip in 0..clips.count {
            let again = model.encode(&clips.one(clip), &below.device(), encoding);
            let own = below.clone().slice_dim(0, clip..clip + 1);
            grads.add(NamedTensors::from_backward(pulled(again, own).backward(), model));
        }
    }
}

/// Replays one layer and its drop on a tape: the gradient of its input, and those of its weights.
fn layer_backward(
    model: &Vlm,
    layer: usize,
    entry: Entry,
    gradient: Tensor<3>,
) -> (Tensor<3>, NamedTensors) {
    let Entry { x, kept, rope } = entry;
    let x = x.autodiff().require_grad();
    let y = model.llm.model.layers[layer].forward(entering(x.clone(), kept.as_ref()), &rope);
    let mut tape = pulled(y, gradient).backward();
    let below = x.grad_remove(&mut tape).expect("a layer's input reaches its output");
    (below, NamedTensors::from_backward(tape, model))
}

/// Whether any parameter of `module` is tuned.
pub(crate) fn tuned<M: Module>(module: &M) -> bool {
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
