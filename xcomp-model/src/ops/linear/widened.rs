//! The linear map with a bf16 weight, which is widened tile by tile: it never lies in memory as f32.

use burn::backend::flex::FlexTensor;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use half::bf16;

use crate::ops::product::{matrix, matrix_mut, multiply};
use crate::ops::recorded::{CpuOp, shaped_as, tensor};

/// Numbers of a tile: half a MiB of f32, which stays in a core's cache.
const TILE: usize = 128 << 10;

/// With the inputs `x` and the weight, which is frozen: it gets no gradient.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Widened;

impl CpuOp<2> for Widened {
    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> FlexTensor {
        let (weight, inputs, mut shape) =
            (numbers(&weight), columns(&x), x.layout().shape().clone());
        let outputs = weight.len() / inputs;
        let mut y = vec![0.0; matrix(&x).nrows() * outputs];
        product(matrix_mut(&mut y, outputs), matrix(&x), weight);
        let end = shape.num_dims() - 1;
        shape[end] = outputs;
        tensor(y, shape)
    }

    fn backward(
        &self,
        [x, weight]: [FlexTensor; 2],
        grad: FlexTensor,
        [of_x, _]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (weight, inputs) = (numbers(&weight), columns(&x));
        let of_x = of_x.then(|| {
            let mut out = vec![0.0; matrix(&x).nrows() * inputs];
            for (tile, rows) in weight.chunks(tile_rows(inputs) * inputs).enumerate() {
                let (first, count) = (tile * tile_rows(inputs), rows.len() / inputs);
                let grad = matrix(&grad).subcols(first, count);
                let rows = widen(rows);
                let rows = MatRef::from_row_major_slice(&rows, count, inputs);
                multiply(matrix_mut(&mut out, inputs), Accum::Add, grad, rows);
            }
            shaped_as(out, &x)
        });
        [of_x, None]
    }
}

/// `out = x W^T`, cut at tiles: no result depends on the number of threads.
fn product(out: MatMut<'_, f32>, x: MatRef<'_, f32>, weight: &[bf16]) {
    let (inputs, rows) = (x.ncols(), out.ncols());
    let tile = tile_rows(inputs);
    if rows <= tile {
        let weight = widen(weight);
        let weight = MatRef::from_row_major_slice(&weight, rows, inputs);
        matmul(out, Accum::Replace, x, weight.transpose(), 1.0, Par::Seq);
        return;
    }
    let middle = rows.div_ceil(tile).div_ceil(2) * tile;
    let ((left, right), (first, last)) =
        (out.split_at_col_mut(middle), weight.split_at(middle * inputs));
    rayon::join(|| product(left, x, first), || product(right, x, last));
}

fn tile_rows(inputs: usize) -> usize {
    (TILE / inputs).max(1)
}

fn widen(weight: &[bf16]) -> Vec<f32> {
    weight.iter().map(|number| number.to_f32()).collect()
}

fn numbers(weight: &FlexTensor) -> &[bf16] {
    weight.as_slice().expect("a contiguous bf16 weight")
}

fn columns(x: &FlexTensor) -> usize {
    let shape = x.layout().shape();
    shape[shape.num_dims() - 1]
}
