//! The operations as an extension of Burn's CPU backend, plain and under a tape.
#![expect(clippy::type_complexity, reason = "an operation gives its tensors one by one")]

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use super::adamw::step::AdamWStep;
use super::attention::loops::{Attention, Seen};
use super::dropout::rule::Dropout;
use super::gelu::loops::Gelu;
use super::linear::loops::Linear;
use super::linear::widened::Widened;
use super::recorded::{CpuOp, record};
use super::rms_norm::loops::RmsNorm;
use super::rotate::loops::Rotate;
use super::swiglu::loops::SwiGlu;

/// One method for each operation with a gradient.
#[backend_extension(Autodiff, Flex)]
pub(super) trait CpuOps: Backend {
    /// See [`super::causal_attention`], [`super::packed_attention`] and [`super::full_attention`].
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        seen: Seen,
    ) -> FloatTensor<Self>;
    /// See [`super::dropout`].
    fn dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self>;
    /// See [`super::gelu`].
    fn gelu_erf(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`super::linear`].
    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// See [`super::linear`].
    fn linear_without_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`super::linear`]: the weight is bf16, and frozen.
    fn linear_widened(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`super::rms_norm`].
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64)
    -> FloatTensor<Self>;
    /// See [`super::rotate`].
    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// See [`super::swiglu`].
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl CpuOps for Flex {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        seen: Seen,
    ) -> FloatTensor<Self> {
        Attention { seen }.run([&q, &k, &v])
    }

    fn dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self> {
        dropout.run([&x])
    }

    fn gelu_erf(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Gelu.run([&x])
    }

    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Linear.run([&x, &weight, &bias])
    }

    fn linear_without_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Linear.run([&x, &weight])
    }

    fn linear_widened(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Widened.run([&x, &weight])
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        RmsNorm { epsilon: epsilon as f32 }.run([&x, &weight])
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Rotate::new(&cos, &sin).run([&x])
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        SwiGlu.run([&gate, &up])
    }
}

impl<C: CheckpointStrategy> CpuOps for Autodiff<Flex, C> {
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        seen: Seen,
    ) -> FloatTensor<Self> {
        record::<C, _, 3>(Attention { seen }, [q, k, v])
    }

    fn dropout(x: FloatTensor<Self>, dropout: Dropout) -> FloatTensor<Self> {
        record::<C, _, 1>(dropout, [x])
    }

    fn gelu_erf(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, _, 1>(Gelu, [x])
    }

    fn linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, _, 3>(Linear, [x, weight, bias])
    }

    fn linear_without_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, _, 2>(Linear, [x, weight])
    }

    fn linear_widened(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, _, 2>(Widened, [x, weight])
    }

    fn rms_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        record::<C, _, 2>(RmsNorm { epsilon: epsilon as f32 }, [x, weight])
    }

    fn rotate(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, _, 1>(Rotate::new(cos.primitive(), sin.primitive()), [x])
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, _, 2>(SwiGlu, [gate, up])
    }
}

/// The step of the optimizer: it never meets a tape.
#[backend_extension(Flex)]
pub(super) trait CpuOptimizer: Backend {
    /// See [`super::adamw`]: weight and moments in f32 or bf16.
    fn adamw(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        mean_square: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// See [`super::adamw`]: moments as places and scales.
    fn adamw_int8(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        places: IntTensor<Self>,
        scales: FloatTensor<Self>,
        square_places: IntTensor<Self>,
        square_scales: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>);
}

impl CpuOptimizer for Flex {
    fn adamw(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        mean_square: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        super::adamw::loops::step(weight, &grad, mean, mean_square, step)
    }

    fn adamw_int8(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        places: IntTensor<Self>,
        scales: FloatTensor<Self>,
        square_places: IntTensor<Self>,
        square_scales: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>, IntTensor<Self>, FloatTensor<Self>)
    {
        let moments = [[places, scales], [square_places, square_scales]];
        super::adamw::loops::step_int8(weight, &grad, moments, step)
    }
}

/// Reductions that never meet a tape.
#[backend_extension(Flex)]
pub(super) trait CpuReductions: Backend {
    /// See [`super::sum_of_squares`].
    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl CpuReductions for Flex {
    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        super::sum_of_squares::loops::sum_of_squares(&x)
    }
}
