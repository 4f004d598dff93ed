//! A pass over the decoder layers: what is dropped before and behind each of them, of which the stack knows nothing.

use burn::tensor::Tensor;

use crate::compress::layout::{Arrangement, Layout};
use crate::compress::lp_comp::{Survivors, survivors};
use crate::compress::rank::ranked;
use crate::compress::reduce::{Positions, Reduce};
use crate::compress::schedule::CompressionPlan;
use crate::decoder::qwen2::{DecoderLayer, Qwen2};
use crate::decoder::rope::Rope;

/// Runs the stack with what the plan drops between its layers.
///
/// Positions restart at 0 in every layer, as in the reference (`modeling_qwen2.py:1258`).
///
/// # Shapes
/// - `x`, output: `[batch, tokens of a row, hidden]` as the layout says; the output is normalised
pub fn forward(
    llm: &Qwen2,
    x: Tensor<3>,
    layout: Layout,
    plan: &CompressionPlan,
) -> (Tensor<3>, Layout) {
    let through = |pass: Pass, layer| pass.through(llm, layer, plan, DecoderLayer::forward);
    let Pass { x, layout, .. } =
        (0..llm.layers.len()).fold(Pass::start(llm, x, layout, 0), through);
    (llm.norm.forward(x), layout)
}

/// A batch between two decoder layers.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Hidden states, `[batch, tokens of a row, hidden]` as the layout says.
    pub x: Tensor<3>,
    /// Where its tokens stand.
    pub layout: Layout,
    /// Rotations: what stands at `i` is rotated as row `i`; behind the sequence stand those of tokens to come.
    pub rope: Rope,
}

impl Pass {
    /// Before the first layer, with room for tokens to come.
    pub fn start(llm: &Qwen2, x: Tensor<3>, layout: Layout, to_come: usize) -> Self {
        let rope = llm.rope(layout.longest() + to_come, &x.device());
        Self { x, rope: standing(rope, &layout), layout }
    }

    /// The same batch with other tokens, which stand as `layout` says; positions are re-packed.
    #[must_use]
    pub fn with(self, x: Tensor<3>, layout: Layout) -> Self {
        Self { x, rope: standing(self.rope, &layout), layout }
    }

    /// The tokens that go on into `layer`; `None` if all of them do.
    pub fn survivors(
        &self,
        llm: &Qwen2,
        layer: usize,
        plan: &CompressionPlan,
    ) -> Option<Survivors> {
        match plan.reduce(layer) {
            Reduce::Frames(drop) => Some(survivors(&self.layout, drop)),
            Reduce::Video(ranking) if ranking.positions == Positions::Packed => {
                Some(ranked(&llm.layers[layer], &self.x, &self.layout, *ranking, &self.rope))
            }
            Reduce::Keep | Reduce::Video(_) => None,
        }
    }

    /// Drops on entry to `layer`; positions are re-packed.
    #[must_use]
    pub fn enter(self, llm: &Qwen2, layer: usize, plan: &CompressionPlan) -> Self {
        match self.survivors(llm, layer, plan) {
            None => self,
            Some(kept) => {
                let x = kept.gather(self.x.clone());
                self.with(x, kept.layout)
            }
        }
    }

    /// Through one layer, which `run` runs, with what is dropped before and behind it.
    #[must_use]
    pub fn through(
        self,
        llm: &Qwen2,
        layer: usize,
        plan: &CompressionPlan,
        run: impl FnOnce(&DecoderLayer, Tensor<3>, &Rope) -> Tensor<3>,
    ) -> Self {
        let entered = self.enter(llm, layer, plan);
        let leaving = entered.survivors_behind(llm, layer, plan);
        let x = run(&llm.layers[layer], entered.x, &entered.rope);
        match leaving {
            None => Self { x, ..entered },
            Some(kept) => {
                let rope = entered.rope.without_dropped(&kept.rows[0], entered.layout.longest());
                Self { x: kept.gather(x), layout: kept.layout, rope }
            }
        }
    }

    /// The tokens that go on behind `layer`, which has been entered but not run, by its own attention; `None` if all of them do.
    /// They keep their positions (`FastV`).
    ///
    /// # Panics
    /// If the batch is not one sequence.
    pub fn survivors_behind(
        &self,
        llm: &Qwen2,
        layer: usize,
        plan: &CompressionPlan,
    ) -> Option<Survivors> {
        let next = (layer + 1 < plan.layers()).then(|| plan.reduce(layer + 1))?;
        let Reduce::Video(ranking) = next else { return None };
        if ranking.positions == Positions::Packed {
            return None;
        }
        assert_eq!(self.layout.sequences.len(), 1, "one sequence keeps its positions");
        Some(ranked(&llm.layers[layer], &self.x, &self.layout, *ranking, &self.rope))
    }
}

/// Rotations of tokens that stand as `layout` says.
fn standing(rope: Rope, layout: &Layout) -> Rope {
    match layout.arrangement {
        Arrangement::Padded => rope,
        Arrangement::Packed => rope.packed(&layout.lengths()),
    }
}
