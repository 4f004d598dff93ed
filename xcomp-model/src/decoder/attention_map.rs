//! What a few tokens of a dense sequence look at in a decoder layer: probabilities, where attention itself never forms them.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Tensor};

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

/// Attention of the tokens at `rows` to all of each sequence that enters `layer`, meaned over heads; the softmax is in f32.
///
/// # Shapes
/// - `x`: `[batch, len, hidden]`
/// - output: `[batch, rows, len]`, f32
pub fn attention_map(
    layer: &DecoderLayer,
    x: Tensor<3>,
    rope: &Rope,
    rows: &[usize],
    rule: MapRule,
) -> Tensor<3> {
    let attention = &layer.self_attn;
    let x = layer.input_layernorm.forward(x);
    let k = rope.rotate(attention.keys(x.clone())); // [batch, kv_heads, len, d]
    let at = indices(rows, &x.device());
    let q = rope.at(rows).rotate(attention.queries(x.select(1, at))); // [batch, heads, rows, d]
    let ([batch, heads, asked, dim], [_, kv_heads, len, _]) = (q.dims(), k.dims());
    let q = q.reshape([batch, kv_heads, heads / kv_heads * asked, dim]);
    let mut logits = (q.matmul(k.swap_dims(2, 3)).cast(DType::F32) / (dim as f64).sqrt())
        .reshape([batch, heads, asked, len]);
    if rule.causal {
        let hidden = behind(rows, len, &logits.device());
        let hidden = hidden.unsqueeze::<4>().expand([batch, heads, asked, len]);
        logits = logits.mask_fill(hidden, f32::NEG_INFINITY);
    }
    let rounded = |x: Tensor<4>| {
        if rule.half_precision { x.cast(DType::F16).cast(DType::F32) } else { x }
    };
    let probabilities = rounded(softmax(rounded(logits), 3));
    rounded(probabilities.mean_dim(1)).reshape([batch, asked, len])
}

/// Where column `j` stands behind `rows[i]`: `[rows, len]`.
fn behind(rows: &[usize], len: usize, device: &Device) -> Tensor<2, Bool> {
    let asked = rows.len();
    let row = indices(rows, device).reshape([asked, 1]).expand([asked, len]);
    let columns: Vec<usize> = (0..len).collect();
    let column = indices(&columns, device).reshape([1, len]).expand([asked, len]);
    column.greater(row)
}
