//! The loops of `swiglu`, forward and back.

use burn::backend::flex::FlexTensor;

use crate::ops::recorded::{CpuOp, shaped_as, values};
use crate::ops::rows::{map2, map3};
use crate::ops::vector::sigmoid;

#[derive(Debug, Clone)]
pub(in crate::ops) struct SwiGlu;

impl CpuOp<2> for SwiGlu {
    fn forward(&self, [gate, up]: [FlexTensor; 2]) -> FlexTensor {
        let y = map2(values(&gate), values(&up), |gate, up| gate * sigmoid(gate) * up);
        shaped_as(y, &gate)
    }

    fn backward(
        &self,
        [gate, up]: [FlexTensor; 2],
        grad: FlexTensor,
        _: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (gates, ups, grads) = (values(&gate), values(&up), values(&grad));
        let of_gate = map3(gates, ups, grads, |gate, up, grad| {
            let open = sigmoid(gate);
            grad * up * open * (1.0 + gate * (1.0 - open))
        });
        let of_up = map2(gates, grads, |gate, grad| grad * gate * sigmoid(gate));
        [Some(shaped_as(of_gate, &gate)), Some(shaped_as(of_up, &up))]
    }
}
