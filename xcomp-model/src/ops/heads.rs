//! Attention heads as the linear maps around attention leave them: side by side in the row of a token, so that nobody copies them apart.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use faer::{MatMut, MatRef};

use super::product::matrix_mut;
use super::recorded::dims;

/// `[batch, heads, rows, head_dim]` of numbers that lie as `[batch, rows, heads, head_dim]`.
pub(super) fn side_by_side(
    numbers: Vec<f32>,
    [batch, heads, rows, width]: [usize; 4],
) -> FlexTensor {
    let (shape, row) = (Shape::new([batch, heads, rows, width]), heads * width);
    let strides = [rows * row, width, row, 1].map(|stride| stride as isize);
    FlexTensor::new(Bytes::from_elems(numbers), Layout::new(shape, strides.to_vec(), 0), DType::F32)
}

/// The same tensor in this order of memory, copied if it lies otherwise.
pub(super) fn laid_side_by_side(tensor: &FlexTensor) -> FlexTensor {
    tensor.transpose(1, 2).to_contiguous().transpose(1, 2)
}

/// The numbers of such a tensor in their order.
pub(super) fn in_memory(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage()[start..start + tensor.layout().num_elements()]
}

/// Whether every row of every head lies in one piece, and no row on another.
pub(super) fn has_whole_rows(tensor: &FlexTensor) -> bool {
    let ([_, _, _, width], strides) = (dims::<4>(tensor), tensor.layout().strides());
    strides.iter().all(|stride| *stride > 0) && strides[2] as usize >= width && strides[3] == 1
}

/// One head, counted through the batch, where it lies: `[rows, head_dim]`.
pub(super) fn head(tensor: &FlexTensor, index: usize) -> MatRef<'_, f32> {
    let ([_, heads, rows, width], strides) = (dims(tensor), tensor.layout().strides());
    let [of_batch, of_head, of_row, _] = std::array::from_fn(|dim| strides[dim] as usize);
    let start = tensor.layout().start_offset() + index / heads * of_batch + index % heads * of_head;
    let len = (rows - 1) * of_row + width;
    MatRef::from_row_major_slice_with_stride(
        &tensor.storage()[start..start + len],
        rows,
        width,
        of_row,
    )
}

/// Heads that lie side by side, or groups of them, each to be written by one thread, counted through the batch.
pub(super) fn heads_mut(
    numbers: &mut [f32],
    rows: usize,
    heads: usize,
    width: usize,
) -> Vec<MatMut<'_, f32>> {
    let elements = numbers.chunks_exact_mut(rows * heads * width);
    elements.flat_map(|element| columns_mut(matrix_mut(element, heads * width), width)).collect()
}

/// A matrix in blocks of `width` columns.
pub(super) fn columns_mut(
    matrix: MatMut<'_, f32>,
    width: usize,
) -> impl Iterator<Item = MatMut<'_, f32>> {
    let mut rest = Some(matrix);
    std::iter::from_fn(move || {
        let (block, others) = rest.take().filter(|rest| rest.ncols() > 0)?.split_at_col_mut(width);
        rest = Some(others);
        Some(block)
    })
}
