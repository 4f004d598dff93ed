//! The one entry to attention: fused kernels where they train, query chunks on a CPU.

use burn::tensor::activation::softmax;
use burn::tensor::module::attention as fused;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Device, Tensor};

/// Query rows per chunk on a CPU: scores of one chunk against all keys are what is held at a time.
const QUERY_CHUNK: usize = 256;

/// Causal grouped-query attention of a dense sequence, or of its last tokens, with itself.
///
/// Right-padded batches need no mask: no real query stands after a padded key.
///
/// # Shapes
/// - `q`: `[batch, heads, seq, head_dim]`, the last `seq` of all tokens
/// - `k`, `v`: `[batch, kv_heads, all, head_dim]`, `heads` a multiple of `kv_heads`
/// - output: `[batch, heads, seq, head_dim]`
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    if fused_here(&q) {
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        return fused(q, k, v, None, None, options);
    }
    let before = k.dims()[2] - q.dims()[2];
    chunked(q, &k, &v, |start, rows| KeyRange { end: before + start + rows, causal: true })
}

/// Attention of every token with every other (the vision tower).
///
/// # Shapes
/// - `q`, `k`, `v`, output: `[batch, heads, seq, head_dim]`
pub fn full_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    if fused_here(&q) {
        return fused(q, k, v, None, None, AttentionModuleOptions::default());
    }
    let keys = k.dims()[2];
    chunked(q, &k, &v, |_, _| KeyRange { end: keys, causal: false })
}

/// Which keys a chunk of queries sees: `0..end`, below the diagonal that ends at `end` if causal.
struct KeyRange {
    end: usize,
    causal: bool,
}

/// Whether Burn's fused attention is the right kernel: on a GPU always (forward and backward),
/// on a CPU without a tape only (its backward there holds every score at full length).
fn fused_here(q: &Tensor<4>) -> bool {
    !(q.is_autodiff() && on_cpu(&q.device()))
}

/// Whether `device` is the CPU backend.
pub fn on_cpu(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return device.clone().inner() == Device::flex();
    #[cfg(not(feature = "flex"))]
    return false;
}

fn chunked(
    q: Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    range: impl Fn(usize, usize) -> KeyRange,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let kv_heads = k.dims()[1];
    let group = heads / kv_heads;
    // Queries that share a key head stand side by side: no key is repeated in memory.
    let q = q.reshape([batch, kv_heads, group, seq, head_dim]);

    let chunks = (0..seq).step_by(QUERY_CHUNK).map(|start| {
        let rows = QUERY_CHUNK.min(seq - start);
        let KeyRange { end, causal } = range(start, rows);
        let queries = q.clone().slice_dim(3, start..start + rows).reshape([
            batch,
            kv_heads,
            group * rows,
            head_dim,
        ]);
        let keys = k.clone().slice_dim(2, 0..end);
        let values = v.clone().slice_dim(2, 0..end);

        let mut scores = scaled_scores(queries, keys); // [b, kv, group * rows, end]
        if causal {
            let mask = causal_bias(rows, end, &scores).reshape([1, 1, 1, rows, end]);
            let shaped: Tensor<5> = scores.reshape([batch, kv_heads, group, rows, end]) + mask;
            scores = shaped.reshape([batch, kv_heads, group * rows, end]);
        }
        let dtype = values.dtype();
        softmax(scores, 3)
            .cast(dtype)
            .matmul(values) // [b, kv, group * rows, d]
            .reshape([batch, kv_heads, group, rows, head_dim])
    });
    Tensor::cat(chunks.collect(), 3).reshape([batch, heads, seq, head_dim])
}

/// `q k^T / sqrt(head_dim)` in f32.
fn scaled_scores(q: Tensor<4>, k: Tensor<4>) -> Tensor<4> {
    let scale = (q.dims()[3] as f64).powf(-0.5);
    (q * scale).matmul(k.swap_dims(2, 3)).cast(DType::F32)
}

/// Zero where the last `rows` of `end` positions may look, minus infinity after each of them: `[rows, end]`.
fn causal_bias(rows: usize, end: usize, like: &Tensor<4>) -> Tensor<2> {
    let device = like.device().inner();
    let hidden =
        Tensor::<2, burn::tensor::Bool>::tril_mask([rows, end], (end - rows) as i64, &device);
    Tensor::zeros([rows, end], &device).mask_fill(hidden, f32::NEG_INFINITY)
}
