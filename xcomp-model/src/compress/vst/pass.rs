//! A segment through all layers, over what every layer has kept of those before it.

use std::ops::Range;

use burn::tensor::Tensor;

use super::{Segment, VstPlan};
use crate::decoder::cache::LayerCache;
use crate::decoder::qwen2::Qwen2;
use crate::decoder::rope::Rope;
use crate::decoder::vst::{Kept, Roles};

/// A memory of every layer that holds nothing.
pub fn empty(llm: &Qwen2) -> Vec<LayerCache> {
    vec![LayerCache::default(); llm.layers.len()]
}

/// Puts what stays of a segment behind what is held.
pub fn remember(memory: &mut [LayerCache], kept: Vec<Kept>) {
    for (held, (keys, values)) in memory.iter_mut().zip(kept) {
        held.push(keys, values);
    }
}

/// Puts the learned tokens of a segment into it.
///
/// # Shapes
/// - `x`: `[1, rows, hidden]`
/// - output: `[1, segment.len(), hidden]`
///
/// # Panics
/// If the model has no learned token and the segment has some.
pub fn woven(llm: &Qwen2, x: Tensor<3>, roles: Option<&Roles>, count: usize) -> Tensor<3> {
    let Some(roles) = roles else { return x };
    let token = llm.beacon_embed_tokens.as_ref().expect("a model with learned tokens");
    let token = token.weight.val().cast(x.dtype()).unsqueeze::<3>(); // [1, 1, hidden]
    let [_, _, hidden] = x.dims();
    roles.weave(x, token.expand([1, count, hidden]))
}

/// Runs a segment behind what `memory` holds: hidden states, not normalised, and what stays in every layer.
///
/// # Shapes
/// - `x`: `[1, rows, hidden]`
/// - output: `[1, segment.len(), hidden]`
///
/// # Panics
/// As [`woven`].
pub fn run(
    llm: &Qwen2,
    x: Tensor<3>,
    segment: &Segment,
    rope: &Rope,
    memory: &[LayerCache],
) -> (Tensor<3>, Vec<Kept>) {
    // Where nothing of a window stays, its keys and values are dropped by who remembers.
    let roles = Roles::new(segment.len(), &segment.vst);
    let mut x = woven(llm, x, roles.as_ref(), segment.vst.len());
    let mut all = Vec::with_capacity(llm.layers.len());
    for (layer, held) in llm.layers.iter().zip(memory) {
        let (y, kept) = layer.forward_segment(x, roles.as_ref(), rope, held);
        x = y;
        all.push(kept);
    }
    if segment.kept() == 0 {
        all.clear();
    }
    (x, all)
}

/// What every layer holds behind these segments of a plan, each embedded when its turn comes.
///
/// # Shapes
/// - `embed`: of a range of tokens, `[1, tokens, hidden]`
///
/// # Panics
/// As [`woven`].
pub fn read(
    llm: &Qwen2,
    segments: &[Segment],
    rope: &Rope,
    mut embed: impl FnMut(Range<usize>) -> Tensor<3>,
) -> Vec<LayerCache> {
    let mut memory = empty(llm);
    for segment in segments.iter().filter(|segment| segment.kept() > 0) {
        let x = embed(segment.rows.clone());
        let (_, kept) = run(llm, x, segment, rope, &memory);
        remember(&mut memory, kept);
    }
    memory
}

/// Rotations for a plan and what follows it.
pub fn rope(llm: &Qwen2, plan: &VstPlan, to_come: usize, x: &Tensor<3>) -> Rope {
    llm.rope(plan.positions().max(plan.held() + to_come), &x.device())
}
