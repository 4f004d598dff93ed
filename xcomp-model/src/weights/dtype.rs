//! Dtypes of numbers in files, and the way from one to another.

use burn::tensor::DType;
use half::{bf16, f16};
use safetensors::Dtype;

use super::files::StoredTensor;
use crate::error::ModelError;

/// The dtype of numbers in a file, or of weights in memory; f32 rounds to the nearest, ties to even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32 bits.
    F32,
    /// 16 bits, 8 of them exponent: what the released model has.
    Bf16,
    /// 16 bits, 5 of them exponent.
    F16,
}

impl WeightDtype {
    /// Its name in recipes and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    pub(super) fn burn(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    pub(super) fn stored(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }

    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        self.burn().size()
    }

    /// Numbers of this dtype as f32.
    pub(super) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        let halves = || bytes.as_chunks::<2>().0.iter().copied();
        match self {
            Self::F32 => {
                bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
            }
            Self::Bf16 => halves().map(|word| bf16::from_le_bytes(word).to_f32()).collect(),
            Self::F16 => halves().map(|word| f16::from_le_bytes(word).to_f32()).collect(),
        }
    }

    /// f32 rounded to this dtype.
    pub(super) fn narrow(self, numbers: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => le_bytes(numbers, f32::to_le_bytes),
            Self::Bf16 => le_bytes(numbers, |number| bf16::from_f32(number).to_le_bytes()),
            Self::F16 => le_bytes(numbers, |number| f16::from_f32(number).to_le_bytes()),
        }
    }

    /// Numbers of dtype `from` in this one.
    pub(super) fn cast(self, bytes: Vec<u8>, from: Self) -> Vec<u8> {
        if from == self { bytes } else { self.narrow(&from.widen(&bytes)) }
    }

    pub(super) fn all_finite(self, bytes: &[u8]) -> bool {
        let halves = || bytes.as_chunks::<2>().0.iter().copied();
        match self {
            Self::F32 => {
                bytes.as_chunks::<4>().0.iter().all(|word| f32::from_le_bytes(*word).is_finite())
            }
            Self::Bf16 => halves().all(|word| bf16::from_le_bytes(word).is_finite()),
            Self::F16 => halves().all(|word| f16::from_le_bytes(word).is_finite()),
        }
    }
}

/// Numbers as little-endian words of `N` bytes.
fn le_bytes<const N: usize>(numbers: &[f32], word: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; numbers.len() * N];
    for (to, number) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(numbers) {
        *to = word(*number);
    }
    bytes
}

/// The dtype of a tensor, if it is a floating-point one.
pub(super) fn dtype(name: &str, tensor: &StoredTensor) -> Result<WeightDtype, ModelError> {
    match tensor.dtype {
        Dtype::F32 => Ok(WeightDtype::F32),
        Dtype::F16 => Ok(WeightDtype::F16),
        Dtype::BF16 => Ok(WeightDtype::Bf16),
        other => {
            let (name, path) = (name.to_owned(), tensor.file.clone());
            Err(ModelError::TensorDtype { name, path, found: format!("{other:?}") })
        }
    }
}
