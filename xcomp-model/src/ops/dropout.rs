//! Inverted dropout whose mask is a function of a key, so that a forward that is run again drops the same.

use burn::tensor::Tensor;

use super::random::Key;

/// What is dropped of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the numbers that become 0, in `0..1`; in steps of 2^-16.
    pub share: f64,
    /// Which ones.
    pub key: Key,
}

impl Dropout {
    /// Bits below this are dropped.
    fn lowest_kept(self) -> u32 {
        (self.share * f64::from(1_u32 << 16)).round() as u32
    }

    /// What kept numbers are multiplied by, so that the mean stays.
    fn scale(self) -> f64 {
        1.0 / (1.0 - self.share)
    }
}

/// `x` without some of its numbers, the others scaled up (torch `nn.Dropout` while training).
///
/// # Shapes
/// - output: as `x`
pub fn dropout<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if super::in_loops(&x) {
        use super::cpu::CpuOps;
        let y = <burn::backend::Dispatch as CpuOps>::dropout(x.into_dispatch(), dropout);
        return Tensor::from_dispatch(y);
    }
    in_tensor_operations(x, dropout)
}

pub(super) fn in_tensor_operations<const D: usize>(x: Tensor<D>, dropout: Dropout) -> Tensor<D> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let bits = dropout.key.bits_of(shape.num_elements(), &x.device().inner());
    let kept = bits.greater_equal_elem(dropout.lowest_kept()).float().cast(dtype).reshape(shape);
    x * kept * dropout.scale()
}

#[cfg(feature = "flex")]
pub(super) mod loops;
