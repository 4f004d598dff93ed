//! The Qwen2 decoder as Hugging Face wrote it, and `LLaMA`, which is the same without biases; fields carry the checkpoint's names.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, TensorData};

use crate::base::llm::LlmConfig;
use crate::decoder::cache::LayerCache;
use crate::decoder::rope::Rope;
use crate::layers::linear::Linear;
use crate::layers::rms_norm::RmsNorm;
use crate::ops::{causal_attention, linear, packed_attention, swiglu};
use crate::transfer::upload;

/// The table of token embeddings.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[vocab, hidden]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    fn new(vocab: usize, hidden: usize, device: &Device) -> Self {
        let init = Initializer::Normal { mean: 0.0, std: 0.02 };
        Self { weight: init.init([vocab, hidden], device) }
    }

    /// Looks up token ids.
    ///
    /// # Shapes
    /// - output: `[ids.len(), hidden]`
    pub fn forward(&self, ids: &[i32]) -> Tensor<2> {
        let weight = self.weight.val();
        let ids = TensorData::new(ids.to_vec(), [ids.len()]);
        let ids = upload(ids, &weight.device());
        weight.select(0, ids)
    }
}

/// Grouped-query self-attention; queries, keys and values of Qwen2 have a bias, the output has none.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[heads * head_dim, hidden]`.
    pub q_proj: Linear,
    /// `[kv_heads * head_dim, hidden]`.
    pub k_proj: Linear,
    /// `[kv_heads * head_dim, hidden]`.
    pub v_proj: Linear,
    /// `[hidden, heads * head_dim]`.
    pub o_proj: Linear,
    /// Maps of learned tokens ([`crate::decoder::vst`]), where they have their own, shaped as those above.
    pub beacon_q_proj: Option<Linear>,
    /// See `beacon_q_proj`.
    pub beacon_k_proj: Option<Linear>,
    /// See `beacon_q_proj`.
    pub beacon_v_proj: Option<Linear>,
    /// See `beacon_q_proj`.
    pub beacon_o_proj: Option<Linear>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
}

impl SelfAttention {
    fn new(config: &LlmConfig, device: &Device) -> Self {
        let (hidden, head_dim) = (config.hidden_size, config.head_dim());
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let map = if config.qkv_bias { Linear::new } else { Linear::without_bias };
        let queries = || map(hidden, heads * head_dim, device);
        let keys = || map(hidden, kv_heads * head_dim, device);
        let output = || Linear::without_bias(heads * head_dim, hidden, device);
        let own = config.vst.as_ref().map(|vst| vst.maps).unwrap_or_default();
        Self {
            q_proj: queries(),
            k_proj: keys(),
            v_proj: keys(),
            o_proj: output(),
            beacon_q_proj: own.q.then(queries),
            beacon_k_proj: own.k.then(keys),
            beacon_v_proj: own.v.then(keys),
            beacon_o_proj: own.o.then(output),
            heads,
            kv_heads,
        }
    }

    /// Attends over a dense sequence at positions `0..seq`, or over each of several that stand one behind the other.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, rope: &Rope) -> Tensor<3> {
        let (q, k, v) = self.project(x);
        let (q, k) = (rope.rotate(q), rope.rotate(k));
        self.output(match rope.segments() {
            None => causal_attention(q, k, v),
            Some(lengths) => packed_attention(q, k, v, lengths),
        })
    }

    /// Attends over the cache and `x`, which stands behind it, and puts the keys and values of `x` into the cache.
    ///
    /// # Shapes
    /// - `x`, output: `[1, seq, hidden]`
    pub fn forward_cached(&self, x: Tensor<3>, rope: &Rope, cache: &mut LayerCache) -> Tensor<3> {
        let start = cache.len();
        let (q, k, v) = self.project(x);
        let (keys, values) = cache.push(rope.rotate_from(k, start), v);
        self.output(causal_attention(rope.rotate_from(q, start), keys, values))
    }

    /// Queries, not yet rotated: `[b, heads, t, d]`.
    pub fn queries(&self, x: Tensor<3>) -> Tensor<4> {
        split(self.q_proj.forward(x), self.heads)
    }

    /// Keys, not yet rotated: `[b, kv_heads, t, d]`.
    pub fn keys(&self, x: Tensor<3>) -> Tensor<4> {
        split(self.k_proj.forward(x), self.kv_heads)
    }

    /// Queries, keys and values, not yet rotated.
    fn project(&self, x: Tensor<3>) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let values = split(self.v_proj.forward(x.clone()), self.kv_heads);
        (self.queries(x.clone()), self.keys(x), values)
    }

    fn output(&self, attended: Tensor<4>) -> Tensor<3> {
        let [batch, heads, seq, head_dim] = attended.dims();
        self.o_proj.forward(attended.swap_dims(1, 2).reshape([batch, seq, heads * head_dim]))
    }
}

/// `[batch, seq, heads * head_dim]` to `[batch, heads, seq, head_dim]`.
pub(super) fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, seq, width] = x.dims();
    x.reshape([batch, seq, heads, width / heads]).swap_dims(1, 2)
}

/// The gated feed-forward block.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: Linear,
    /// `[intermediate, hidden]`.
    pub up_proj: Linear,
    /// `[hidden, intermediate]`.
    pub down_proj: Linear,
    /// Maps of learned tokens, where they have their own; the gate is shared.
    pub beacon_up_proj: Option<Linear>,
    /// See `beacon_up_proj`.
    pub beacon_down_proj: Option<Linear>,
}

impl Mlp {
    fn new(config: &LlmConfig, device: &Device) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let widen = || Linear::without_bias(hidden, inner, device);
        let narrow = || Linear::without_bias(inner, hidden, device);
        let own = config.vst.as_ref().is_some_and(|vst| vst.maps.mlp);
        Self {
            gate_proj: widen(),
            up_proj: widen(),
            down_proj: narrow(),
            beacon_up_proj: own.then(widen),
            beacon_down_proj: own.then(narrow),
        }
    }

    /// `down(silu(gate(x)) * up(x))`.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down_proj.forward(swiglu(self.gate_proj.forward(x.clone()), self.up_proj.forward(x)))
    }
}

/// One decoder layer: plain Qwen2, it does not know that its input was compressed.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Attention over the dense sequence.
    pub self_attn: SelfAttention,
    /// Feed-forward block.
    pub mlp: Mlp,
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Norm before the feed-forward block.
    pub post_attention_layernorm: RmsNorm,
}

impl DecoderLayer {
    fn new(config: &LlmConfig, device: &Device) -> Self {
        let norm = || RmsNorm::new(config.hidden_size, config.rms_norm_eps, device);
        Self {
            self_attn: SelfAttention::new(config, device),
            mlp: Mlp::new(config, device),
            input_layernorm: norm(),
            post_attention_layernorm: norm(),
        }
    }

    /// Runs the layer over dense sequences.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, seq, hidden]`
    pub fn forward(&self, x: Tensor<3>, rope: &Rope) -> Tensor<3> {
        self.residual(x, |x| self.self_attn.forward(x, rope))
    }

    /// Runs the layer over tokens that stand behind those in `cache`.
    ///
    /// # Shapes
    /// - `x`, output: `[1, seq, hidden]`
    pub fn forward_cached(&self, x: Tensor<3>, rope: &Rope, cache: &mut LayerCache) -> Tensor<3> {
        self.residual(x, |x| self.self_attn.forward_cached(x, rope, cache))
    }

    /// The pre-norm residual block around attention and feed-forward.
    fn residual(&self, x: Tensor<3>, attend: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
        let x = x.clone() + attend(self.input_layernorm.forward(x));
        x.clone() + self.mlp.forward(self.post_attention_layernorm.forward(x))
    }
}

/// Embeddings, decoder layers and the final norm.
#[derive(Module, Debug)]
pub struct Qwen2 {
    /// Token embeddings.
    pub embed_tokens: Embedding,
    /// The learned token of windows, `[1, hidden]`, where there is one.
    pub beacon_embed_tokens: Option<Embedding>,
    /// Decoder layers, first to last.
    pub layers: Vec<DecoderLayer>,
    /// Final norm.
    pub norm: RmsNorm,
    /// The row of the embedding table that the learned token begins as.
    #[module(skip)]
    pub first_vst_row: Option<usize>,
    head_dim: usize,
    rope_theta: f64,
    rope_factor: f64,
}

impl Qwen2 {
    fn new(config: &LlmConfig, device: &Device) -> Self {
        Self {
            embed_tokens: Embedding::new(config.vocab_size, config.hidden_size, device),
            beacon_embed_tokens: (config.vst.as_ref())
                .map(|_| Embedding::new(1, config.hidden_size, device)),
            layers: (0..config.num_hidden_layers)
                .map(|_| DecoderLayer::new(config, device))
                .collect(),
            norm: RmsNorm::new(config.hidden_size, config.rms_norm_eps, device),
            first_vst_row: config.vst.as_ref().map(|vst| vst.first_row),
            head_dim: config.head_dim(),
            rope_theta: config.rope_theta,
            rope_factor: config.rope_factor,
        }
    }

    /// Rotary tables for sequences of up to `positions` tokens.
    pub fn rope(&self, positions: usize, device: &Device) -> Rope {
        Rope::scaled(positions, self.head_dim, self.rope_theta, self.rope_factor, device)
    }
}

/// The decoder with its language-model head.
#[derive(Module, Debug)]
pub struct Qwen2ForCausalLm {
    /// The decoder.
    pub model: Qwen2,
    /// The head; absent where it is tied to the embeddings.
    pub lm_head: Option<Linear>,
}

impl Qwen2ForCausalLm {
    /// A decoder of the sizes in `config`; weights are drawn lazily, unless a checkpoint replaces them first.
    pub fn new(config: &LlmConfig, device: &Device) -> Self {
        let lm_head = (!config.tie_word_embeddings)
            .then(|| Linear::without_bias(config.hidden_size, config.vocab_size, device));
        Self { model: Qwen2::new(config, device), lm_head }
    }

    /// Scores of the next token.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`, normalised
    /// - output: `[rows, vocab]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        if let Some(head) = &self.lm_head {
            return head.forward(hidden);
        }
        linear(hidden, self.model.embed_tokens.weight.val(), None)
    }
}
