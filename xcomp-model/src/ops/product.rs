//! Matrix products of f32, in pieces that follow from the sizes alone: no result depends on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use burn::backend::flex::FlexTensor;

use super::recorded::values;

/// Multiplications that a piece is worth: a fraction of a millisecond.
const PIECE: usize = 8 << 20;
/// Rows or columns that a piece is cut at a multiple of: whole registers of every width.
const BLOCK: usize = 48;

/// `out = a b`, or with [`Accum::Add`] `out += a b`.
pub(super) fn multiply(out: MatMut<'_, f32>, how: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let (rows, columns) = (out.nrows(), out.ncols());
    if rows * columns * a.ncols() < 2 * PIECE || rows.max(columns) < 2 * BLOCK {
        matmul(out, how, a, b, 1.0, Par::Seq);
    } else if rows >= columns {
        let middle = (rows / 2).next_multiple_of(BLOCK);
        let ((top, bottom), (above, below)) =
            (out.split_at_row_mut(middle), a.split_at_row(middle));
        rayon::join(|| multiply(top, how, above, b), || multiply(bottom, how, below, b));
    } else {
        let middle = (columns / 2).next_multiple_of(BLOCK);
        let ((left, right), (first, last)) = (out.split_at_col_mut(middle), b.split_at_col(middle));
        rayon::join(|| multiply(left, how, a, first), || multiply(right, how, a, last));
    }
}

/// A contiguous tensor as a matrix: the last dimension is the columns, all others are the rows.
pub(super) fn matrix(tensor: &FlexTensor) -> MatRef<'_, f32> {
    let (numbers, shape) = (values(tensor), tensor.layout().shape());
    let columns = shape[shape.num_dims() - 1];
    MatRef::from_row_major_slice(numbers, numbers.len() / columns, columns)
}

/// The matrix of rows of `columns` numbers.
pub(super) fn matrix_mut(numbers: &mut [f32], columns: usize) -> MatMut<'_, f32> {
    let rows = numbers.len() / columns;
    MatMut::from_row_major_slice_mut(numbers, rows, columns)
}
