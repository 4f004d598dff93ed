//! What a few tokens of a dense sequence look at in a decoder layer: probabilities, where attention itself never forms them.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Tensor};

use crate::decoder::qwen2::DecoderLayer;
use crate::decoder::rope::Rope;
use crate::transfer::indices;

/// How probabilities are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRule {
    /// Whether a token sees only what does not stand behind it.
    pub causal: bool,
    /// Whether probabilities and their mean are rounded to half precision.
    pub half_precision: bool,
}

/// Attention of the tokens at `rows` to all of the sequence that enters `layer`, meaned over heads; the softmax is in f32.
///
/// # Shapes
/// - `x`: `[1, len, hidden]`
/// - output: `[rows, len]`, f32
pub fn attention_map(
    layer: &DecoderLayer,
    x: Tensor<3>,
    rope: &Rope,
    rows: &[usize],
    rule: MapRule,
) -> Tensor<2> {
    let attention = &layer.self_attn;
    let x = layer.input_layernorm.forward(x);
    let k = rope.rotate(attention.keys(x.clone())); // [1, kv_heads, len, d]
    let at = indices(rows, &x.device());
    let q = rope.at(rows).rotate(attention.queries(x.select(1, at))); // [1, heads, rows, d]
    let ([_, heads, asked, dim], [_, kv_heads, len, _]) = (q.dims(), k.dims());
    let q = q.reshape([kv_heads, heads / kv_heads * asked, dim]);
    let k = k.reshape([kv_heads, len, dim]);
    let mut logits = (q.matmul(k.swap_dims(1, 2)).cast(DType::F32) / (dim as f64).sqrt())
        .reshape([heads, asked, len]);
    if rule.causal {
        let hidden = behind(rows, &logits).unsqueeze::<3>().expand([heads, asked, len]);
        logits = logits.mask_fill(hidden, f32::NEG_INFINITY);
    }
    let rounded = |x: Tensor<3>| {
        if rule.half_precision { x.cast(DType::F16).cast(DType::F32) } else { x }
    };
    let probabilities = rounded(softmax(rounded(logits), 2));
    rounded(probabilities.mean_dim(0)).reshape([asked, len])
}

/// Where column `j` stands behind `rows[i]`: `[rows, len]`.
fn behind(rows: &[usize], logits: &Tensor<3>) -> Tensor<2, Bool> {
    let [_, asked, len] = logits.dims();
    let row = indices(rows, &logits.device()).reshape([asked, 1]).expand([asked, len]);
    let columns: Vec<usize> = (0..len).collect();
    let column = indices(&columns, &logits.device()).reshape([1, len]).expand([asked, len]);
    column.greater(row)
}
