//! Attention tile by tile: a tile's scores are made, used and forgotten while they lie in the cache, on the way back too.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use crate::ops::heads::{columns_mut, has_whole_rows, head, heads_mut, side_by_side};
use crate::ops::product::{matrix_mut, multiply};
use crate::ops::recorded::{CpuOp, dims};
use crate::ops::vector::{LANES, exp, folded, largest, sum_of, widest};

/// Query rows of a tile: with a thousand keys its scores fill half a megabyte.
const TILE_ROWS: usize = 64;

/// The keys that a query sees.
#[derive(Debug, Clone)]
pub(in crate::ops) enum Seen {
    /// All of them.
    All,
    /// Up to its own, of queries that are the last of all tokens.
    Before,
    /// Of its own sequence, up to its own; sequences of these lengths stand one behind the other.
    Packed(Arc<[usize]>),
}

#[derive(Debug, Clone)]
pub(in crate::ops) struct Attention {
    pub(in crate::ops) seen: Seen,
}

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    /// Query heads that share a key head.
    group: usize,
    kv_heads: usize,
    seq: usize,
    keys: usize,
    head_dim: usize,
    causal: bool,
}

/// Some query rows and the keys that they see.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    rows: usize,
    /// The first key that a row sees.
    first: usize,
    /// Keys that the last row sees; the others see fewer if attention is causal.
    keys: usize,
}

/// A query head and the key head that it asks, `[rows, head_dim]` each.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: MatRef<'a, f32>,
    k: MatRef<'a, f32>,
    v: MatRef<'a, f32>,
}

/// Where the gradients of a head go.
struct HeadGrads<'a> {
    q: MatMut<'a, f32>,
    k: MatMut<'a, f32>,
    v: MatMut<'a, f32>,
}

/// What the rows of a tile take of each key: room that is reused from one tile to the next.
struct Weighed {
    /// Scores, then weights: `[rows, keys]`, rows of whole vectors.
    weights: Vec<f32>,
    /// By what each row is multiplied to sum to 1.
    shares: Vec<f32>,
}

/// Room for gradients of a tile.
struct TileGrads {
    /// Of the weights, laid out as they are.
    of_weights: Vec<f32>,
    /// Of the results, times the shares: `[rows, head_dim]`.
    of_rows: Vec<f32>,
}

impl CpuOp<3> for Attention {
    /// As it is: heads that lie side by side, or in a wider row, are read there.
    fn laid_out(input: &FlexTensor) -> FlexTensor {
        if has_whole_rows(input) { input.clone() } else { input.to_contiguous() }
    }

    fn forward(&self, [q, k, v]: [FlexTensor; 3]) -> FlexTensor {
        let sizes @ Sizes { group, kv_heads, seq, head_dim, .. } = self.sizes(&q, &k);
        let mut out = vec![0.0; len(&q)];
        let tiles = self.tiles(sizes);
        let heads = heads_mut(&mut out, seq, kv_heads * group, head_dim).into_par_iter();
        heads.enumerate().for_each_init(
            || sizes.weighed(),
            |weighed, (index, mut out)| {
                let from = Head::of([&q, &k, &v], index, group);
                for tile in tiles.iter().copied() {
                    sizes.weigh(from, tile, weighed);
                    let mut out = out.as_mut().subrows_mut(tile.start, tile.rows);
                    let values = from.v.subrows(tile.first, tile.keys);
                    let weights = tile.matrix(&mut weighed.weights);
                    multiply(out.as_mut(), Accum::Replace, weights.as_ref(), values);
                    scale_rows(out, &weighed.shares);
                }
            },
        );
        side_by_side(out, dims(&q))
    }

    fn backward(
        &self,
        [q, k, v]: [FlexTensor; 3],
        grad: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let sizes @ Sizes { group, kv_heads, seq, keys, head_dim, .. } = self.sizes(&q, &k);
        let mut of_q = vec![0.0; len(&q)];
        let [mut of_k, mut of_v] = [&k, &v].map(|x| vec![0.0; len(x)]);

        let tiles = self.tiles(sizes);
        // Query heads that share a key head stand side by side: one thread writes to all of them and to it.
        let of_groups = heads_mut(&mut of_q, seq, kv_heads, group * head_dim).into_par_iter();
        let of_keys = heads_mut(&mut of_k, keys, kv_heads, head_dim);
        let of_values = heads_mut(&mut of_v, keys, kv_heads, head_dim);
        let by_key_head = of_groups.zip(of_keys).zip(of_values).enumerate();
        by_key_head.for_each_init(
            || (sizes.weighed(), sizes.tile_grads()),
            |(weighed, grads), (kv_head, ((of_group, mut of_k), mut of_v))| {
                for (member, mut of_q) in columns_mut(of_group, head_dim).enumerate() {
                    let index = kv_head * group + member;
                    let (from, grad) = (Head::of([&q, &k, &v], index, group), head(&grad, index));
                    for tile in tiles.iter().copied() {
                        let into =
                            HeadGrads { q: of_q.as_mut(), k: of_k.as_mut(), v: of_v.as_mut() };
                        sizes.backward_tile(from, grad, tile, into, weighed, grads);
                    }
                }
            },
        );
        let grads = [(of_q, &q), (of_k, &k), (of_v, &v)];
        grads.map(|(grad, like)| Some(side_by_side(grad, dims(like))))
    }
}

impl Attention {
    fn sizes(&self, q: &FlexTensor, k: &FlexTensor) -> Sizes {
        let ([_, heads, seq, head_dim], [_, kv_heads, keys, _]) = (dims(q), dims(k));
        let causal = !matches!(self.seen, Seen::All);
        Sizes { group: heads / kv_heads, kv_heads, seq, keys, head_dim, causal }
    }

    /// All query rows: no tile holds those of two sequences.
    fn tiles(&self, sizes: Sizes) -> Vec<Tile> {
        let Sizes { seq, keys, .. } = sizes;
        match &self.seen {
            Seen::All => {
                rows(seq).map(|(start, rows)| Tile { start, rows, first: 0, keys }).collect()
            }
            Seen::Before => sequence(keys - seq, seq).collect(),
            Seen::Packed(lengths) => {
                let ends = lengths.iter().scan(0, |end, length| {
                    *end += length;
                    Some(*end)
                });
                let at = |(end, length): (usize, &usize)| (end - length, *length);
                ends.zip(lengths.iter())
                    .map(at)
                    .flat_map(|(first, length)| behind(first, length))
                    .collect()
            }
        }
    }
}

/// The rows of tiles that cover `count` query rows: where each begins, and how many it has.
fn rows(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(TILE_ROWS).map(move |start| (start, TILE_ROWS.min(count - start)))
}

/// The last `count` tokens of a sequence, each of which sees what stands before it, `before` tokens more at least.
fn sequence(before: usize, count: usize) -> impl Iterator<Item = Tile> {
    rows(count).map(move |(start, rows)| Tile {
        start,
        rows,
        first: 0,
        keys: before + start + rows,
    })
}

/// A sequence of `count` tokens that begins at `first`.
fn behind(first: usize, count: usize) -> impl Iterator<Item = Tile> {
    sequence(0, count).map(move |tile| Tile { start: first + tile.start, first, ..tile })
}

impl<'a> Head<'a> {
    /// A query head, counted through the batch.
    fn of([q, k, v]: [&'a FlexTensor; 3], index: usize, group: usize) -> Self {
        Self { q: head(q, index), k: head(k, index / group), v: head(v, index / group) }
    }
}

impl Sizes {
    /// Rows of a tile at most.
    fn tile_rows(self) -> usize {
        TILE_ROWS.min(self.seq)
    }

    /// Room for a number for each row of a tile and each key.
    fn scores(self) -> Vec<f32> {
        vec![0.0; self.tile_rows() * self.keys.next_multiple_of(LANES)]
    }

    fn weighed(self) -> Weighed {
        Weighed { weights: self.scores(), shares: vec![0.0; self.tile_rows()] }
    }

    fn tile_grads(self) -> TileGrads {
        let of_rows = vec![0.0; self.tile_rows() * self.head_dim];
        TileGrads { of_weights: self.scores(), of_rows }
    }

    /// What each row of a tile takes of each key, `[rows, keys]`, and by what a row is multiplied to sum to 1.
    fn weigh(self, from: Head<'_>, tile: Tile, into: &mut Weighed) {
        let Weighed { weights, shares } = into;
        let queries = from.q.subrows(tile.start, tile.rows);
        let keys = from.k.subrows(tile.first, tile.keys).transpose();
        multiply(tile.matrix(weights), Accum::Replace, queries, keys);
        weigh_rows(tile.rows_in(weights), &mut shares[..tile.rows], self, tile);
    }

    fn scale(self) -> f32 {
        (self.head_dim as f32).powf(-0.5)
    }

    /// Keys that a row of a tile sees.
    #[inline(always)]
    fn seen(self, tile: Tile, row: usize) -> usize {
        if self.causal { tile.keys - tile.rows + row + 1 } else { tile.keys }
    }

    /// Writes a tile's part of the gradient of the queries, and adds its parts to those of keys and values.
    ///
    /// Shares are taken off the gradient's rows, which are shorter than those of the weights.
    fn backward_tile(
        self,
        from: Head<'_>,
        grad: MatRef<'_, f32>,
        tile: Tile,
        into: HeadGrads<'_>,
        weighed: &mut Weighed,
        room: &mut TileGrads,
    ) {
        self.weigh(from, tile, weighed);
        let (Weighed { weights, shares }, TileGrads { of_weights, of_rows }) = (weighed, room);
        let mut grads = matrix_mut(&mut of_rows[..tile.rows * self.head_dim], self.head_dim);
        grads.copy_from(grad.subrows(tile.start, tile.rows));
        scale_rows(grads.as_mut(), shares);

        let queries = from.q.subrows(tile.start, tile.rows);
        let [keys, values] = [from.k, from.v].map(|x| x.subrows(tile.first, tile.keys));
        let [of_keys, of_values] = [into.k, into.v].map(|x| x.subrows_mut(tile.first, tile.keys));
        let of_queries = into.q.subrows_mut(tile.start, tile.rows);

        multiply(of_values, Accum::Add, tile.matrix(weights).transpose().as_ref(), grads.as_ref());
        multiply(tile.matrix(of_weights), Accum::Replace, grads.as_ref(), values.transpose());
        let of_weights = tile.rows_in(of_weights);
        backward_rows(tile.rows_in(weights), of_weights, &shares[..tile.rows], self, tile);
        let of_scores = tile.matrix(weights);
        let of_scores = of_scores.as_ref();
        multiply(of_keys, Accum::Add, of_scores.transpose(), queries);
        multiply(of_queries, Accum::Replace, of_scores, keys);
    }
}

impl Tile {
    /// Numbers from one row of scores to the next: whole vectors.
    fn width(self) -> usize {
        self.keys.next_multiple_of(LANES)
    }

    /// The rows of its scores, each with what stands behind it.
    fn rows_in(self, room: &mut [f32]) -> &mut [f32] {
        &mut room[..self.rows * self.width()]
    }

    /// Its scores, `[rows, keys]`.
    fn matrix(self, room: &mut [f32]) -> MatMut<'_, f32> {
        let Self { rows, keys, .. } = self;
        let len = (rows - 1) * self.width() + keys;
        // As the transpose of columns: faer 0.23's constructor by rows takes the strides the wrong way round.
        let room = &mut room[..len];
        MatMut::from_column_major_slice_with_stride_mut(room, keys, rows, self.width())
            .transpose_mut()
    }
}

/// Multiplies each row by its share.
fn scale_rows(matrix: MatMut<'_, f32>, shares: &[f32]) {
    for (row, share) in matrix.row_iter_mut().zip(shares) {
        let row = row.try_as_row_major_mut().expect("rows lie in one piece");
        row.as_slice_mut().iter_mut().for_each(|x| *x *= share);
    }
}

widest! {
    /// e to the scaled scores that each row of a tile sees, less its highest, and one over their sum; the others become 0.
    fn weigh_rows(scores: &mut [f32], shares: &mut [f32], sizes: Sizes, tile: Tile) {
        let scale = sizes.scale();
        let rows = scores.chunks_exact_mut(tile.width()).zip(shares).enumerate();
        for (row, (scores, share)) in rows {
            let seen = sizes.seen(tile, row);
            scores[seen..].fill(f32::NEG_INFINITY);
            let (vectors, _) = scores[..seen.next_multiple_of(LANES)].as_chunks_mut::<LANES>();
            let highest = largest(vectors.as_flattened());
            let mut sums = [0.0; LANES];
            for vector in vectors {
                for (x, sum) in vector.iter_mut().zip(&mut sums) {
                    *x = exp((*x - highest) * scale); // of what is hidden less than 1e-37
                    *sum += *x;
                }
            }
            scores[seen..].fill(0.0);
            *share = 1.0 / folded(sums, |a, b| a + b);
        }
    }

    /// The gradient of the raw scores, in the place of the weights; that of the weights has been multiplied by the shares.
    fn backward_rows(
        weights: &mut [f32],
        of_weights: &mut [f32],
        shares: &[f32],
        sizes: Sizes,
        tile: Tile,
    ) {
        let scale = sizes.scale();
        let rows = weights.chunks_exact_mut(tile.width());
        let both = rows.zip(of_weights.chunks_exact_mut(tile.width())).zip(shares).enumerate();
        for (row, ((weights, grads), share)) in both {
            let seen = sizes.seen(tile, row);
            let vectors = seen.next_multiple_of(LANES);
            let (weights, grads) = (&mut weights[..vectors], &mut grads[..vectors]);
            grads[seen..].fill(0.0); // another tile's numbers
            let shared = share * sum_of(weights, grads, |w, g| w * g);
            let pairs = weights.iter_mut().zip(&*grads);
            pairs.for_each(|(w, g): (&mut f32, _)| *w *= (g - shared) * scale);
        }
    }
}

/// The number of elements of a tensor.
fn len(tensor: &FlexTensor) -> usize {
    tensor.layout().num_elements()
}
