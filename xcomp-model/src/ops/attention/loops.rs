//! Attention tile by tile: a tile's scores are made, used and forgotten while they lie in the cache, on the way back too.

use std::ops::Range;

use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use rayon::prelude::*;

use crate::ops::recorded::{CpuOp, dims, shaped_as, values};
use crate::ops::vector::{exp, largest, sum_of, widest};

/// Query rows of a tile: with a thousand keys its scores fill half a megabyte.
const TILE_ROWS: usize = 128;

#[derive(Debug, Clone)]
pub(in crate::ops) struct Attention {
    pub(in crate::ops) causal: bool,
}

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    /// Query heads that share a key head.
    group: usize,
    seq: usize,
    keys: usize,
    head_dim: usize,
    causal: bool,
}

/// Some query rows of one head and the keys that they see.
#[derive(Clone, Copy)]
struct Tile {
    /// Query head, counted through the batch.
    head: usize,
    start: usize,
    rows: usize,
    /// Keys that the last row sees; the others see fewer if attention is causal.
    end: usize,
}

impl CpuOp<3> for Attention {
    /// As it is: heads that were split off a wider row are read where they lie.
    fn laid_out(input: &FlexTensor) -> FlexTensor {
        if input.layout().has_positive_strides() { input.clone() } else { input.to_contiguous() }
    }

    fn forward(&self, [q, k, v]: [FlexTensor; 3]) -> FlexTensor {
        let sizes = self.sizes(&q, &k);
        let Sizes { group, seq, head_dim, .. } = sizes;
        let mut out = vec![0.0; len(&q)];
        out.par_chunks_exact_mut(seq * head_dim).enumerate().for_each(|(head, out)| {
            for tile in sizes.tiles(head) {
                let weights = sizes.probabilities(&q, &k, tile);
                let mixed = matmul(weights, matrix(&v, head / group, 0..tile.end));
                out[tile.start * head_dim..][..tile.rows * head_dim]
                    .copy_from_slice(values(&mixed));
            }
        });
        shaped_as(out, &q)
    }

    fn backward(
        &self,
        [q, k, v]: [FlexTensor; 3],
        grad: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let sizes = self.sizes(&q, &k);
        let Sizes { group, seq, keys, head_dim, .. } = sizes;
        let mut of_q = vec![0.0; len(&q)];
        let [mut of_k, mut of_v] = [&k, &v].map(|x| vec![0.0; len(x)]);
        let inputs = Inputs { q: &q, k: &k, v: &v, grad: &grad };

        let of_keys = of_k
            .par_chunks_exact_mut(keys * head_dim)
            .zip(of_v.par_chunks_exact_mut(keys * head_dim));
        let by_key_head = of_q.par_chunks_exact_mut(group * seq * head_dim).zip(of_keys);
        by_key_head.enumerate().for_each(|(kv_head, (of_q, (of_k, of_v)))| {
            for (member, of_q) in of_q.chunks_exact_mut(seq * head_dim).enumerate() {
                for tile in sizes.tiles(kv_head * group + member) {
                    sizes.backward_tile(inputs, tile, of_q, of_k, of_v);
                }
            }
        });
        [Some(shaped_as(of_q, &q)), Some(shaped_as(of_k, &k)), Some(shaped_as(of_v, &v))]
    }
}

/// What the way back reads.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    q: &'a FlexTensor,
    k: &'a FlexTensor,
    v: &'a FlexTensor,
    grad: &'a FlexTensor,
}

impl Attention {
    fn sizes(&self, q: &FlexTensor, k: &FlexTensor) -> Sizes {
        let ([_, heads, seq, head_dim], [_, kv_heads, keys, _]) = (dims(q), dims(k));
        Sizes { group: heads / kv_heads, seq, keys, head_dim, causal: self.causal }
    }
}

impl Sizes {
    fn tiles(self, head: usize) -> impl Iterator<Item = Tile> {
        (0..self.seq).step_by(TILE_ROWS).map(move |start| {
            let rows = TILE_ROWS.min(self.seq - start);
            let end = if self.causal { self.keys - self.seq + start + rows } else { self.keys };
            Tile { head, start, rows, end }
        })
    }

    /// How much each row of a tile takes of each key: `[rows, end]`.
    fn probabilities(self, q: &FlexTensor, k: &FlexTensor, tile: Tile) -> FlexTensor {
        let queries = matrix(q, tile.head, tile.start..tile.start + tile.rows);
        let keys = matrix(k, tile.head / self.group, 0..tile.end);
        let mut scores = matmul(queries, keys.transpose(0, 1));
        let scale = self.scale();
        widest(|| {
            for (row, scores) in scores.storage_mut().chunks_exact_mut(tile.end).enumerate() {
                softmax_row(scores, self.seen(tile, row), scale);
            }
        });
        scores
    }

    fn scale(self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }

    /// Keys that a row of a tile sees.
    #[inline(always)]
    fn seen(self, tile: Tile, row: usize) -> usize {
        if self.causal { tile.end - tile.rows + row + 1 } else { tile.end }
    }

    /// Adds a tile's part to the gradients of its head.
    fn backward_tile(
        self,
        Inputs { q, k, v, grad }: Inputs<'_>,
        tile: Tile,
        of_q: &mut [f32],
        of_k: &mut [f32],
        of_v: &mut [f32],
    ) {
        let rows = tile.start..tile.start + tile.rows;
        let kv_head = tile.head / self.group;
        let out_grad = matrix(grad, tile.head, rows.clone());
        let weights = self.probabilities(q, k, tile);
        add(of_v, &matmul(weights.transpose(0, 1), out_grad.clone()));

        let of_weights = matmul(out_grad, matrix(v, kv_head, 0..tile.end).transpose(0, 1));
        let of_scores = self.backward_softmax(weights, &of_weights, tile);
        add(of_k, &matmul(of_scores.transpose(0, 1), matrix(q, tile.head, rows.clone())));
        let keys = matrix(k, kv_head, 0..tile.end);
        add(&mut of_q[rows.start * self.head_dim..], &matmul(of_scores, keys));
    }

    /// The gradient of the raw scores, in the place of the probabilities.
    fn backward_softmax(
        self,
        mut weights: FlexTensor,
        of_weights: &FlexTensor,
        tile: Tile,
    ) -> FlexTensor {
        let (scale, of_weights) = (self.scale(), values(of_weights));
        widest(|| {
            let rows = weights.storage_mut().chunks_exact_mut(tile.end);
            for (weights, grads) in rows.zip(of_weights.chunks_exact(tile.end)) {
                let shared = sum_of(weights, grads, |w, g| w * g);
                let pairs = weights.iter_mut().zip(grads);
                pairs.for_each(|(w, g): (&mut f32, _)| *w *= (g - shared) * scale);
            }
        });
        weights
    }
}

/// Softmax of `scale` times the first `seen` scores; the others become 0.
#[inline(always)]
fn softmax_row(scores: &mut [f32], seen: usize, scale: f32) {
    let (scores, hidden) = scores.split_at_mut(seen);
    let highest = largest(scores);
    for x in &mut *scores {
        *x = exp((*x - highest) * scale);
    }
    let share = 1.0 / sum_of(scores, scores, |x, _| x);
    for x in scores {
        *x *= share;
    }
    hidden.fill(0.0);
}

/// Rows of one head of a `[batch, heads, rows, head_dim]` tensor, as a view; heads are counted through the batch.
fn matrix(tensor: &FlexTensor, head: usize, rows: Range<usize>) -> FlexTensor {
    let ([_, heads, _, head_dim], strides) = (dims(tensor), tensor.layout().strides());
    let offset = tensor.layout().start_offset()
        + head / heads * strides[0] as usize
        + head % heads * strides[1] as usize
        + rows.start * strides[2] as usize;
    let layout = Layout::new(Shape::new([rows.len(), head_dim]), strides[2..].to_vec(), offset);
    FlexTensor::from_arc(tensor.data_arc(), layout, DType::F32)
}

/// The number of elements of a tensor.
fn len(tensor: &FlexTensor) -> usize {
    tensor.layout().num_elements()
}

fn matmul(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    Flex::float_matmul(a, b)
}

/// Adds a matrix to the front of `sum`.
fn add(sum: &mut [f32], part: &FlexTensor) {
    sum.iter_mut().zip(values(part)).for_each(|(sum, part)| *sum += part);
}
