//! Loops over the rows or elements of f32 data, in parallel where there is enough of it.
//!
//! Pieces do not depend on the number of threads, so neither does any result.

use rayon::prelude::*;

use super::vector::widest;

/// Elements of a piece: some tens of microseconds of work.
pub(super) const PIECE: usize = 16 * 1024;

/// `f` of the elements of `a`.
pub(super) fn map(a: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    let pieces = out.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE));
    pieces.for_each(|(out, a)| fill(out, a, &f));
    out
}

/// `f` of the elements of `a` and `b`.
pub(super) fn map2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    let pieces = out.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE)).zip(b.par_chunks(PIECE));
    pieces.for_each(|((out, a), b)| fill2(out, a, b, &f));
    out
}

/// `f` of the elements of `a`, `b` and `c`.
pub(super) fn map3(
    a: &[f32],
    b: &[f32],
    c: &[f32],
    f: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; a.len()];
    let inputs = a.par_chunks(PIECE).zip(b.par_chunks(PIECE)).zip(c.par_chunks(PIECE));
    out.par_chunks_mut(PIECE).zip(inputs).for_each(|(out, ((a, b), c))| fill3(out, a, b, c, &f));
    out
}

widest! {
    fn fill<F: Fn(f32) -> f32>(out: &mut [f32], a: &[f32], f: &F) {
        out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a));
    }

    fn fill2<F: Fn(f32, f32) -> f32>(out: &mut [f32], a: &[f32], b: &[f32], f: &F) {
        out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b));
    }

    fn fill3<F: Fn(f32, f32, f32) -> f32>(
        out: &mut [f32],
        a: &[f32],
        b: &[f32],
        c: &[f32],
        f: &F,
    ) {
        let inputs = a.iter().zip(b).zip(c);
        out.iter_mut().zip(inputs).for_each(|(out, ((a, b), c))| *out = f(*a, *b, *c));
    }
}

/// Rows of `width` elements in one piece.
pub(super) fn rows_of(width: usize) -> usize {
    (PIECE / width).max(1)
}
