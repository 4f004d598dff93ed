//! In which dtype a model that answers is held and computes.

use burn::tensor::{Device, FloatDType};
use xcomp_model::ops::on_cpu;
use xcomp_model::vision::frames::Encoding;
use xcomp_model::weights::WeightDtype;

use crate::error::Error;

/// The word of `--dtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Weights and activations in f32.
    F32,
    /// Weights in bf16. A GPU computes in it too; a CPU widens them tile by tile and computes in f32.
    Bf16,
}

impl Precision {
    /// What is taken where nothing is said: f32 on a CPU, bf16 on a GPU that computes in it.
    pub fn of(device: &Device) -> Self {
        let narrow = !on_cpu(device) && device.supports_dtype(FloatDType::BF16);
        if narrow { Self::Bf16 } else { Self::F32 }
    }

    /// # Errors
    /// If the device does not compute in it.
    pub(super) fn require(self, device: &Device) -> Result<(), Error> {
        if self == Self::F32 || device.supports_dtype(FloatDType::BF16) {
            return Ok(());
        }
        let message =
            "--dtype bf16: the device does not compute in bf16; take f32, or another device";
        Err(Error::Argument(message.into()))
    }

    pub(super) fn held(self) -> WeightDtype {
        match self {
            Self::F32 => WeightDtype::F32,
            Self::Bf16 => WeightDtype::Bf16,
        }
    }

    pub(super) fn encoding(self, device: &Device) -> Encoding {
        let dtype = match self {
            Self::Bf16 if !on_cpu(device) => FloatDType::BF16,
            _ => FloatDType::F32,
        };
        Encoding { dtype, ..Encoding::default() }
    }
}
