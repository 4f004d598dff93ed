//! The loops of `linear`, forward and back.

use burn::backend::flex::FlexTensor;
use faer::{Accum, MatRef};

use crate::ops::product::{matrix, matrix_mut, multiply};
use crate::ops::recorded::{CpuOp, shaped_as, tensor, values};
use crate::ops::vector::widest;

/// With two inputs (`x` and the weight) or three (the bias); products read transposed weights where they lie.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Linear;

impl CpuOp<2> for Linear {
    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> FlexTensor {
        let y = vec![0.0; matrix(&x).nrows() * matrix(&weight).nrows()];
        product(y, Accum::Replace, &x, &weight)
    }

    fn backward(
        &self,
        [x, weight]: [FlexTensor; 2],
        grad: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [of_x, of_weight] = wanted;
        [
            of_x.then(|| product_as(matrix(&grad), matrix(&weight), &x)),
            of_weight.then(|| product_as(matrix(&grad).transpose(), matrix(&x), &weight)),
        ]
    }
}

impl CpuOp<3> for Linear {
    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> FlexTensor {
        let bias = values(&bias);
        let y = bias.repeat(matrix(&x).nrows());
        product(y, Accum::Add, &x, &weight)
    }

    fn backward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        grad: FlexTensor,
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let of_bias = of_bias.then(|| column_sums(&grad, &bias));
        let [of_x, of_weight] = self.backward([x, weight], grad, [of_x, of_weight]);
        [of_x, of_weight, of_bias]
    }
}

/// `y` with `x W^T` in its place or added to it, in the leading dimensions of `x`.
fn product(mut y: Vec<f32>, how: Accum, x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let outputs = matrix(weight).nrows();
    multiply(matrix_mut(&mut y, outputs), how, matrix(x), matrix(weight).transpose());
    let mut shape = x.layout().shape().clone();
    let end = shape.num_dims() - 1;
    shape[end] = outputs;
    tensor(y, shape)
}

/// `a b` in the shape of `like`.
fn product_as(a: MatRef<'_, f32>, b: MatRef<'_, f32>, like: &FlexTensor) -> FlexTensor {
    let mut out = vec![0.0; a.nrows() * b.ncols()];
    multiply(matrix_mut(&mut out, b.ncols()), Accum::Replace, a, b);
    shaped_as(out, like)
}

/// Over the rows in their order.
fn column_sums(grad: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let mut sums = vec![0.0; values(bias).len()];
    add_rows(&mut sums, values(grad));
    tensor(sums, bias.layout().shape().clone())
}

widest! {
    fn add_rows(sums: &mut [f32], rows: &[f32]) {
        for row in rows.chunks_exact(sums.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}
