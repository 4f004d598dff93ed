//! The loss of a sequence that is read in windows, and its gradients: on one tape, or with the tape of one window at a time.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{DType, Gradients, Tensor};

use crate::compress::vst::pass::{empty, read, remember, rope, run};
use crate::compress::vst::{Segment, VstPlan};
use crate::decoder::cache::LayerCache;
use crate::decoder::qwen2::Qwen2ForCausalLm;
use crate::loss::{LossNorm, SupervisedRows, pulled, weighted_loss};

/// Copies of the keys and values of all learned tokens in the worst moment of [`backward`]: the memory, which is the tape's leaves too, the
/// same in front of a window's own on the tape of every layer, what later segments have asked of them, and what this one asks; the last
/// two in f32.
pub const KEPT_COPIES: usize = 4;

/// The targets that rows of a segment predict.
fn targets(rows: &SupervisedRows, segment: &Segment) -> SupervisedRows {
    rows.within(&segment.rows, |row| segment.place(row))
}

/// The summed next-token losses of one sequence, on one tape from the first segment to the last: keys and values that stay carry it.
///
/// # Shapes
/// - `x`: `[1, tokens, hidden]`
/// - output: `[1]`, f32
///
/// # Panics
/// If the model has no learned token and the plan has some.
pub fn loss(
    llm: &Qwen2ForCausalLm,
    x: &Tensor<3>,
    plan: &VstPlan,
    rows: &SupervisedRows,
) -> Tensor<1> {
    let (rope, mut memory) = (rope(&llm.model, plan, 0, x), empty(&llm.model));
    let mut sum = Tensor::zeros([1], &x.device());
    for segment in &plan.segments {
        let own = targets(rows, segment);
        if segment.kept() == 0 && own.is_empty() {
            continue; // nothing learns from it
        }
        let x = x.clone().slice_dim(1, segment.rows.clone());
        let (hidden, kept) = run(&llm.model, x, segment, &rope, &memory);
        remember(&mut memory, kept);
        if !own.is_empty() {
            sum = sum + segment_loss(llm, hidden, &own);
        }
    }
    sum
}

fn segment_loss(llm: &Qwen2ForCausalLm, hidden: Tensor<3>, own: &SupervisedRows) -> Tensor<1> {
    weighted_loss(llm, llm.model.norm.forward(hidden), own, LossNorm::Token)
}

/// A sequence whose tokens are embedded when they are needed.
pub trait Sequence {
    /// The tokens of a range, without a tape: `[1, tokens, hidden]`. Asked for twice.
    fn embed(&mut self, rows: Range<usize>) -> Tensor<3>;

    /// Takes the gradient of those tokens: `[1, tokens, hidden]`.
    fn learn(&mut self, rows: Range<usize>, gradient: Tensor<3>);

    /// Takes the gradients that a tape has left of the language model's parameters.
    fn collect(&mut self, gradients: Gradients);
}

/// The same gradients as [`loss`] gives, multiplied by `factor`, in the memory of one segment's tape; gives the loss, multiplied too.
///
/// First all segments are run without a tape, and of each only what stays is held. Then each is run again on a tape of its own, last to
/// first, with the memory before it as leaves: what later segments asked of its keys and values flows into it, what it asks of
/// the memory is added up for those before it. A memory that is cut off instead would leave the learned tokens without any gradient.
///
/// # Panics
/// As [`loss`].
pub fn backward(
    llm: &Qwen2ForCausalLm,
    plan: &VstPlan,
    rows: &SupervisedRows,
    factor: f64,
    sequence: &mut impl Sequence,
) -> Tensor<1> {
    let plain = llm.valid();
    let device = plain.model.norm.weight.val().device();
    let mut sum = Tensor::zeros([1], &device);
    let rope = llm.model.rope(plan.positions(), &device);
    // No segment looks at what stays of the last one.
    let before = plan.segments.len().saturating_sub(1);
    let mut memory =
        read(&plain.model, &plan.segments[..before], &rope, |rows| sequence.embed(rows));
    drop(plain);

    let mut asked: Vec<Asked> = vec![];
    for segment in plan.segments.iter().rev() {
        let own = targets(rows, segment);
        if own.is_empty() && (asked.is_empty() || segment.kept() == 0) {
            continue; // nothing learns from it
        }
        // What stands behind is of no more use: beside the memory no copy of it is held.
        memory = memory.into_iter().map(|held| held.first(segment.memory)).collect();
        let leaves: Vec<LayerCache> = memory.iter().map(LayerCache::leaves).collect();
        let x = sequence.embed(segment.rows.clone()).autodiff().require_grad();
        let (hidden, kept) = run(&llm.model, x.clone(), segment, &rope, &leaves);
        let mut total = Tensor::zeros([1], &x.device());
        if !own.is_empty() {
            let loss = segment_loss(llm, hidden, &own) * factor;
            sum = sum + loss.clone().inner();
            total = total + loss;
        }
        let mut earlier = vec![];
        for ((keys, values), asked) in kept.into_iter().zip(asked) {
            let ([of_keys, of_values], before) = asked.parted(segment.memory);
            total = total + pulled(keys, of_keys) + pulled(values, of_values);
            earlier.push(before);
        }
        let mut tape = total.backward();
        let mut earlier = earlier.into_iter().flatten();
        let found = leaves.iter().filter(|leaf| !leaf.is_empty());
        asked = found.map(|leaf| Asked::of(leaf, &mut tape).plus(earlier.next())).collect();
        let gradient = x.grad_remove(&mut tape).expect("a segment's tokens reach what is asked");
        sequence.collect(tape);
        sequence.learn(segment.rows.clone(), gradient);
    }
    sum
}

/// What is asked of a layer's memory: gradients of its keys and its values, `[1, kv_heads, tokens, head_dim]`, f32 without a tape.
struct Asked([Tensor<4>; 2]);

impl Asked {
    /// What a tape asks of these leaves; a window asks nothing of the last layer's, whose keys and values it alone needs.
    fn of(leaf: &LayerCache, tape: &mut Gradients) -> Self {
        let (keys, values) = leaf.held().expect("a segment behind others has a memory");
        Self([keys, values].map(|leaf| match leaf.grad_remove(tape) {
            Some(gradient) => gradient.cast(DType::F32),
            None => leaf.clone().inner().cast(DType::F32).zeros_like(),
        }))
    }

    fn plus(self, other: Option<Self>) -> Self {
        let Some(Self([keys, values])) = other else { return self };
        let Self([own_keys, own_values]) = self;
        Self([own_keys + keys, own_values + values])
    }

    /// What is asked of the tokens behind the first ones, and of these; the whole is given up.
    fn parted(self, first: usize) -> ([Tensor<4>; 2], Option<Self>) {
        let behind = self.0.each_ref().map(|x| x.clone().slice_dim(2, first..x.dims()[2]));
        (behind, (first > 0).then(|| Self(self.0.map(|x| x.slice_dim(2, 0..first)))))
    }
}
