//! The linear map, with its weight as checkpoints store it.

use burn::tensor::{DType, Tensor, module};

/// `x W^T + b` over the last dimension.
///
/// # Shapes
/// - `x`: `[.., inputs]`
/// - `weight`: `[outputs, inputs]`, `bias`: `[outputs]`, in the dtype of `x`
/// - output: `[.., outputs]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) && weight.dtype() == DType::F32 {
        use super::cpu::CpuOps;
        let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
        let y = match bias {
            Some(bias) => {
                <burn::backend::Dispatch as CpuOps>::linear(x, weight, bias.into_dispatch())
            }
            None => <burn::backend::Dispatch as CpuOps>::linear_without_bias(x, weight),
        };
        return Tensor::from_dispatch(y);
    }
    module::linear(x, weight.transpose(), bias)
}

#[cfg(feature = "flex")]
pub(super) mod loops {
    use burn::backend::Flex;
    use burn::backend::flex::FlexTensor;
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::Shape;
    use rayon::prelude::*;

    use crate::ops::recorded::{CpuOp, tensor, values};
    use crate::ops::rows::rows_of;
    use crate::ops::vector::widest;

    /// With two inputs (`x` and the weight) or three (the bias); matrix products read transposed weights where they lie.
    #[derive(Debug, Clone)]
    pub(in crate::ops) struct Linear;

    impl CpuOp<2> for Linear {
        fn forward(&self, [x, weight]: [FlexTensor; 2]) -> FlexTensor {
            like(&product(&x, &weight), &x)
        }

        fn backward(
            &self,
            [x, weight]: [FlexTensor; 2],
            grad: FlexTensor,
            wanted: [bool; 2],
        ) -> [Option<FlexTensor>; 2] {
            let [of_x, of_weight] = wanted;
            let grads = matrix(&grad);
            [
                of_x.then(|| like(&Flex::float_matmul(grads.clone(), weight), &x)),
                of_weight.then(|| Flex::float_matmul(grads.transpose(0, 1), matrix(&x))),
            ]
        }
    }

    impl CpuOp<3> for Linear {
        fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> FlexTensor {
            let mut y = product(&x, &weight);
            let bias = values(&bias);
            let piece = rows_of(bias.len()) * bias.len();
            y.storage_mut::<f32>().par_chunks_mut(piece).for_each(|rows| {
                widest(|| {
                    for row in rows.chunks_exact_mut(bias.len()) {
                        row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                    }
                });
            });
            like(&y, &x)
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

    /// `x W^T` as a matrix.
    fn product(x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
        Flex::float_matmul(matrix(x), weight.transpose(0, 1))
    }

    /// All leading dimensions as one.
    fn matrix(x: &FlexTensor) -> FlexTensor {
        let width = last(x);
        x.reshape(Shape::new([x.layout().num_elements() / width, width]))
    }

    /// A matrix in the leading dimensions of `x`.
    fn like(matrix: &FlexTensor, x: &FlexTensor) -> FlexTensor {
        let mut shape = x.layout().shape().clone();
        let end = shape.num_dims() - 1;
        shape[end] = last(matrix);
        matrix.reshape(shape)
    }

    fn last(x: &FlexTensor) -> usize {
        let shape = x.layout().shape();
        shape[shape.num_dims() - 1]
    }

    /// Over the rows in their order.
    fn column_sums(grad: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
        let mut sums = vec![0.0; values(bias).len()];
        widest(|| {
            for row in values(grad).chunks_exact(sums.len()) {
                sums.iter_mut().zip(row).for_each(|(sum, grad)| *sum += grad);
            }
        });
        tensor(sums, bias.layout().shape().clone())
    }
}
