//! How far a device and a precision are from the reference, as one number each for loss and gradients.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device};
use xcomp_train::machine::device::{Choice, open};

use crate::material::environment;
use crate::{Case, HostTensor};

/// The format of the activations; weights are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits, the exponent of f32.
    Bf16,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// As tensors know it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Largest relative difference of the loss, and of all gradients together in the L2 norm.
    ///
    /// f32 leaves room for devices that round the factors of products to 11 bits. With bf16 a processor is up to 1.1e-1 off
    /// in the gradients: of 28 layers, or behind a tower whose rounding also moves which tokens are merged.
    fn bounds(self) -> (f64, f64) {
        match self {
            Self::F32 => (1e-3, 5e-3),
            Self::Bf16 => (2e-2, 2e-1),
        }
    }
}

/// The device that tests of devices run on: `XCOMP_TEST_DEVICE` as `--device` takes it, else the processor.
///
/// # Panics
///
/// If the variable names no device of this build that works.
pub fn chosen_device() -> (Choice, Device) {
    let given = environment("XCOMP_TEST_DEVICE");
    let choice = given.map_or(Choice::Cpu, |word| {
        word.to_string_lossy().parse().unwrap_or_else(|error| panic!("XCOMP_TEST_DEVICE: {error}"))
    });
    (choice, open(choice).unwrap_or_else(|error| panic!("XCOMP_TEST_DEVICE: {error}")))
}

/// Prints how far loss and gradients are from the case's, and asserts that it is not too far.
///
/// # Panics
///
/// If it is, or if a gradient is missing.
pub fn assert_parity(
    case: &Case,
    (device, precision): (Choice, Precision),
    loss: f64,
    gradients: &BTreeMap<String, HostTensor>,
) {
    let want = case.number("/expect/loss");
    let loss_off = (loss - want).abs() / want.abs();
    // Some cases have gradients of visual features alone, which other tests compare.
    let gradients_off = distance(case, gradients).unwrap_or(0.0);
    let name = &case.name;
    println!(
        "PARITY {device} {precision:?} {name}: loss {loss_off:.1e}, gradients {gradients_off:.1e}"
    );
    let (loss_bound, gradients_bound) = precision.bounds();
    // A number that is not finite is not below a bound.
    assert!(
        loss_off < loss_bound && gradients_off < gradients_bound,
        "case {name} on {device} in {precision:?}: loss {loss} is {loss_off:.1e} off {want} (at most {loss_bound:.0e}), \
         gradients are {gradients_off:.1e} off (at most {gradients_bound:.0e})"
    );
}

/// `|got - want| / |want|` in the L2 norm over all gradients of parameters; `None` if the case has none.
fn distance(case: &Case, got: &BTreeMap<String, HostTensor>) -> Option<f64> {
    let (mut off, mut all) = (0.0, 0.0);
    for (name, want) in case.under("grad.").filter(|(name, _)| !name.starts_with("visual.")) {
        let found =
            got.get(name).unwrap_or_else(|| panic!("case {}: no gradient for {name}", case.name));
        assert_eq!(found.shape, want.shape, "case {}: {name}", case.name);
        for (got, want) in found.f32().iter().zip(want.f32()) {
            off += f64::from(got - want).powi(2);
            all += f64::from(*want).powi(2);
        }
    }
    (all > 0.0).then(|| f64::sqrt(off / all))
}
