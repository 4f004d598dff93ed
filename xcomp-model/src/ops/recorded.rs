//! How an operation in loops enters the tape: it keeps its inputs, and its gradient starts from them.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Bytes, DType, Shape};

/// An operation on f32 tensors of a CPU.
pub(super) trait CpuOp<const N: usize>: Clone + Debug + Send + 'static {
    /// The result.
    fn forward(&self, inputs: [FlexTensor; N]) -> FlexTensor;

    /// The gradient of each input that is wanted (others may be left out), from that of the result.
    fn backward(
        &self,
        inputs: [FlexTensor; N],
        grad: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];

    /// An input, or the gradient of the result, as the loops read it.
    fn laid_out(input: &FlexTensor) -> FlexTensor {
        input.to_contiguous()
    }

    /// The result for inputs that lie in memory as they may.
    fn run(&self, inputs: [&FlexTensor; N]) -> FlexTensor {
        self.forward(inputs.map(Self::laid_out))
    }
}

/// Runs an operation and puts it on the tape if an input is on it.
pub(super) fn record<C: CheckpointStrategy, O: CpuOp<N>, const N: usize>(
    op: O,
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(FloatTensor::<Autodiff<Flex, C>>::node);
    let inputs = inputs.map(|input| O::laid_out(input.primitive()));
    match Recorded::<O>(std::marker::PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let output = op.forward(inputs.clone());
            prep.finish((op, inputs), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(op.forward(inputs)),
    }
}

/// The step of any such operation on the way back.
#[derive(Debug)]
struct Recorded<O>(std::marker::PhantomData<O>);

impl<O: CpuOp<N>, const N: usize> Backward<Flex, N> for Recorded<O> {
    type State = (O, [FlexTensor; N]);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = O::laid_out(&grads.consume::<Flex>(&ops.node));
        let (op, inputs) = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, grad) in ops.parents.into_iter().zip(op.backward(inputs, grad, wanted)) {
            if let (Some(node), Some(grad)) = (parent, grad) {
                grads.register::<Flex>(node.id, grad);
            }
        }
    }
}

/// The numbers of a contiguous tensor.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("inputs are made contiguous f32")
}

/// The sizes of a tensor.
pub(super) fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    std::array::from_fn(|dim| tensor.layout().shape()[dim])
}

/// A tensor of `values` in the shape of `like`.
pub(super) fn shaped_as(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    tensor(values, like.layout().shape().clone())
}

/// A contiguous tensor.
pub(super) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}
