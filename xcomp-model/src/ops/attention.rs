//! The one entry to attention: fused kernels on a GPU, tiles that stay in a CPU's cache.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::module::attention as fused;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, DType};

/// Query rows whose scores exist at one time where tensor operations do the work under a tape.
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
    attention(q, k, v, true)
}

/// Causal attention of sequences that stand one behind the other: none sees another.
///
/// A CPU's loops skip the tiles between them; elsewhere each sequence is attended over by itself, and no mask is made.
///
/// # Shapes
/// - `q`, output: `[batch, heads, tokens of all, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, tokens of all, head_dim]`
/// - `lengths`: tokens of each sequence
pub fn packed_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, lengths: &[usize]) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::in_loops(&q) {
        return in_tiles(q, k, v, loops::Seen::Packed(lengths.into()));
    }
    let mut end = 0;
    let each = lengths.iter().map(|length| {
        let own = end..end + length;
        end = own.end;
        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().slice_dim(2, own.clone()));
        causal_attention(q, k, v)
    });
    Tensor::cat(each.collect(), 2)
}

#[cfg(feature = "flex")]
fn in_tiles(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, seen: loops::Seen) -> Tensor<4> {
    use super::cpu::CpuOps;
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(<burn::backend::Dispatch as CpuOps>::attention(q, k, v, seen))
}

/// Attention of every token with every other (the vision tower).
///
/// # Shapes
/// - `q`, `k`, `v`, output: `[batch, heads, seq, head_dim]`
pub fn full_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    attention(q, k, v, false)
}

fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: bool) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if super::in_loops(&q) {
        return in_tiles(q, k, v, if causal { loops::Seen::Before } else { loops::Seen::All });
    }
    // On a CPU, the gradient of Burn's own attention holds every score at full length. A driver in software has no planes, and the one
    // routine that does without them (`unit_key_gradient_kernel` of `cubek-attention-backward` 0.4.0-pre.1) gives another gradient of the
    // values for 24 causal tokens (`[1, 4 and 2 heads, 24, 8]`, Mesa 25.0); at heads of 64 it is compiled for minutes there.
    if q.is_autodiff() && super::on_cpu(&q.device()) || super::in_software(&q.device()) {
        return chunked(q, &k, &v, causal);
    }
    let options = AttentionModuleOptions { is_causal: causal, ..Default::default() };
    let fused = |q, k, v| fused(q, k, v, None, None, options);
    if q.is_autodiff() { fused(q, k, v) } else { in_whole_stages(q, k, v, causal, fused) }
}

/// Query rows that a fused kernel without a tape works on at a time. It refuses a rest, and Burn then makes every score at
/// once without a word (`cubek-attention`, `blackbox_accelerated.rs`; `burn-cubecl`, `kernel/attention/base.rs`).
const STAGE: usize = 128;
/// So few rows have few scores, however they are made.
const FEW: usize = 32;

/// Runs `attend` with a whole number of stages of query rows; what was added is cut off again.
pub(super) fn in_whole_stages(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    causal: bool,
    attend: impl FnOnce(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let (seq, keys) = (q.dims()[2], k.dims()[2]);
    let more = seq.next_multiple_of(STAGE) - seq;
    if more == 0 || seq <= FEW {
        return attend(q, k, v);
    }
    let zeros = |like: &Tensor<4>| {
        let [batch, heads, _, dim] = like.dims();
        Tensor::zeros([batch, heads, more, dim], (&like.device(), like.dtype()))
    };
    let behind = |x: Tensor<4>| Tensor::cat(vec![x.clone(), zeros(&x)], 2);
    if causal && keys - seq >= more {
        // The last row sees all keys: rows that are put before the others move none of them.
        let q = Tensor::cat(vec![zeros(&q), q], 2);
        return attend(q, k, v).slice_dim(2, more..more + seq);
    }
    // No row sees a key behind it, so keys may stand behind them all; without a mask they may not.
    let (k, v) = if causal { (behind(k), behind(v)) } else { (k, v) };
    attend(behind(q), k, v).slice_dim(2, 0..seq)
}

/// Attention in tensor operations, some query rows at a time.
pub(super) fn chunked(q: Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, causal: bool) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = q.dims();
    let [_, kv_heads, keys, _] = k.dims();
    let group = heads / kv_heads;
    // Queries that share a key head stand side by side: no key is repeated in memory.
    let q = q.reshape([batch, kv_heads, group, seq, head_dim]);

    let chunks = (0..seq).step_by(QUERY_CHUNK).map(|start| {
        let rows = QUERY_CHUNK.min(seq - start);
        let end = if causal { keys - seq + start + rows } else { keys };
        let queries = q.clone().slice_dim(3, start..start + rows).reshape([
            batch,
            kv_heads,
            group * rows,
            head_dim,
        ]);
        let values = v.clone().slice_dim(2, 0..end);

        let mut scores = scaled_scores(queries, k.clone().slice_dim(2, 0..end)); // [b, kv, group * rows, end]
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
    let hidden = Tensor::<2, Bool>::tril_mask([rows, end], (end - rows) as i64, &device);
    Tensor::zeros([rows, end], &device).mask_fill(hidden, f32::NEG_INFINITY)
}

#[cfg(feature = "flex")]
pub(super) mod loops;
