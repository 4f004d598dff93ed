//! Generation: prefill with compression, then one token at a time over caches of different lengths.
//!
//! Where what is dropped does not depend on the question, all that stands before it is read once for all questions ([`Prefix`]).

pub mod sample;

use std::ops::Range;

use burn::tensor::{DType, Tensor};

use crate::compress::layout::Layout;
use crate::compress::pass::Pass;
use crate::compress::schedule::CompressionPlan;
use crate::compress::vst::VstPlan;
use crate::compress::vst::pass::read;
use crate::decoder::cache::LayerCache;
use crate::decoder::qwen2::Qwen2ForCausalLm;
use crate::decoder::rope::Rope;

/// One sequence being continued.
///
/// Tokens are dropped in the prefill only. Every layer caches exactly what it consumed, and a new token's position
/// in a layer is that layer's own length: this is what the reference reaches by shifting position ids down at each
/// drop (`modeling_qwen2.py:1122-1132`). Where tokens keep their positions, the layer's rotations lack those of dropped tokens.
#[derive(Debug)]
pub struct Decoding<'a> {
    llm: &'a Qwen2ForCausalLm,
    /// What each layer has consumed, and the rotations of that and of what is to come.
    held: Vec<(LayerCache, Rope)>,
    dtype: DType,
}

/// The beginning of a sequence, as every layer has consumed it.
#[derive(Debug, Clone)]
pub struct Prefix {
    caches: Vec<LayerCache>,
    tokens: usize,
    dtype: DType,
}

impl Prefix {
    /// Runs the beginning of a sequence: all of its visual tokens, and no token that a drop could depend on.
    ///
    /// # Shapes
    /// - `x`: `[1, layout.longest(), hidden]`
    ///
    /// # Panics
    /// If the batch is not one sequence, or the plan ranks visual tokens by what follows them.
    pub fn run(
        llm: &Qwen2ForCausalLm,
        x: Tensor<3>,
        layout: Layout,
        plan: &CompressionPlan,
    ) -> Self {
        assert!(plan.frames_stay_whole(), "ranked tokens depend on what follows them");
        let (tokens, dtype) = (layout.longest(), x.dtype());
        let Decoding { held, .. } = Decoding::prefill(llm, x, layout, plan, 0).0;
        Self { caches: held.into_iter().map(|(cache, _)| cache).collect(), tokens, dtype }
    }
}

impl Prefix {
    /// Reads what stands before a question in windows, each asked for when its turn comes; beside what stays only one is run at a time.
    ///
    /// # Shapes
    /// - `embed`: of a range of tokens, `[1, tokens, hidden]`
    ///
    /// # Panics
    /// If the model has no learned token and the plan has some.
    pub fn in_windows(
        llm: &Qwen2ForCausalLm,
        plan: &VstPlan,
        mut embed: impl FnMut(Range<usize>) -> Tensor<3>,
    ) -> Self {
        let weight = llm.model.embed_tokens.weight.val();
        let (device, mut dtype) = (weight.device(), weight.dtype());
        let rope = llm.model.rope(plan.positions(), &device);
        let caches = read(&llm.model, plan.shared(), &rope, |rows| {
            let x = embed(rows);
            dtype = x.dtype();
            x
        });
        Self { tokens: caches.first().map_or(0, LayerCache::len), caches, dtype }
    }
}

impl<'a> Decoding<'a> {
    /// Goes on behind a prefix and gives the scores of the token behind `x`.
    ///
    /// Every layer sees what it would see if both were run together: text is never dropped, and it stands in a layer
    /// where what the layer has consumed ends.
    ///
    /// # Shapes
    /// - `x`: `[1, seq, hidden]`
    /// - scores: `[vocab]`
    pub fn after(
        llm: &'a Qwen2ForCausalLm,
        prefix: &Prefix,
        x: Tensor<3>,
        max_new_tokens: usize,
    ) -> (Self, Tensor<1>) {
        let x = x.cast(prefix.dtype);
        let [_, seq, _] = x.dims();
        let rope = llm.model.rope(prefix.tokens + seq + max_new_tokens, &x.device());
        let held = prefix.caches.iter().map(|cache| (cache.clone(), rope.clone())).collect();
        let mut decoding = Self { llm, held, dtype: prefix.dtype };
        let scores = decoding.extend(x);
        (decoding, scores)
    }

    /// Runs the prompt and gives the scores of the token behind it.
    ///
    /// # Shapes
    /// - `x`: `[1, layout.longest(), hidden]`
    /// - scores: `[vocab]`
    ///
    /// # Panics
    /// If the batch is not one sequence.
    pub fn prefill(
        llm: &'a Qwen2ForCausalLm,
        x: Tensor<3>,
        layout: Layout,
        plan: &CompressionPlan,
        max_new_tokens: usize,
    ) -> (Self, Tensor<1>) {
        assert_eq!(layout.sequences.len(), 1, "one sequence is decoded at a time");
        let mut pass = Pass::start(&llm.model, x, layout, max_new_tokens);
        let mut held = Vec::with_capacity(plan.layers());
        for layer in 0..plan.layers() {
            let (mut cache, rope) = (LayerCache::default(), pass.rope.clone());
            pass = pass.through(&llm.model, layer, plan, |layer, x, rope| {
                layer.forward_cached(x, rope, &mut cache)
            });
            held.push((cache, rope));
        }
        let decoding = Self { llm, held, dtype: pass.x.dtype() };
        let scores = decoding.scores(pass.x);
        (decoding, scores)
    }

    /// Appends a token and gives the scores of the one behind it: `[vocab]`.
    ///
    /// # Panics
    /// If more tokens are appended than `max_new_tokens` of the prefill.
    pub fn step(&mut self, token: i32) -> Tensor<1> {
        self.extend(self.llm.model.embed_tokens.forward(&[token]).cast(self.dtype).unsqueeze::<3>())
    }

    /// Runs tokens that stand behind what is held, and gives the scores of the one behind them.
    fn extend(&mut self, mut x: Tensor<3>) -> Tensor<1> {
        for (layer, (cache, rope)) in self.llm.model.layers.iter().zip(&mut self.held) {
            x = layer.forward_cached(x, rope, cache);
        }
        self.scores(x)
    }

    /// What each layer holds.
    pub fn caches(&self) -> impl Iterator<Item = &LayerCache> {
        self.held.iter().map(|(cache, _)| cache)
    }

    /// Tokens held by each layer.
    pub fn cache_lengths(&self) -> Vec<usize> {
        self.caches().map(LayerCache::len).collect()
    }

    /// Scores of the token behind the last one of `x`.
    fn scores(&self, x: Tensor<3>) -> Tensor<1> {
        let [_, seq, _] = x.dims();
        let last = self.llm.model.norm.forward(x.slice_dim(1, seq - 1..seq));
        self.llm.logits(last.flatten(0, 1)).flatten(0, 1)
    }
}
