//! How far a device and a precision are from the reference, as one number each for loss and gradients.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, FloatDType};
use xcomp_train::machine::device::{Choice, connect};

use crate::material::environment;
use crate::rounding::Start;
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
    /// As tensors know it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
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
    let opened = connect(choice).unwrap_or_else(|error| panic!("XCOMP_TEST_DEVICE: {error}"));
    (choice, opened.device)
}

/// Whether a device computes in bf16; drivers in software may not.
pub fn has_bf16(device: &Device) -> bool {
    device.supports_dtype(FloatDType::BF16)
}

/// A loss, and gradients by name.
pub type Outcome = (f64, BTreeMap<String, HostTensor>);

/// Relative difference of a loss, and of all gradients together in the L2 norm.
#[derive(Debug, Clone, Copy)]
struct Off {
    loss: f64,
    gradients: f64,
}

/// Leaves room for devices that round the factors of products to 11 bits.
const F32_BOUNDS: Off = Off { loss: 1e-3, gradients: 5e-3 };

/// The gradients of a run in bf16 may be so many times as far off as those of one in f32 whose weights and inputs alone were rounded.
///
/// It rounds the result of each operation too, some 20 in a layer with its backward, where the other rounds one operand
/// of the 7 products: errors that know nothing of each other add up as their squares, so twice is expected (2.3 seen at most).
pub const BF16_FACTOR: f64 = 4.0;

/// As [`BF16_FACTOR`], of the loss: one number, whose error is drawn once and not over all values of a gradient (2.6 seen at most).
const BF16_LOSS_FACTOR: f64 = 8.0;

/// Runs a case in both precisions, or in f32 alone where the device has no bf16; prints how far loss and gradients are from the case's, and asserts that it is not too far.
///
/// In f32 the bounds are fixed, in bf16 they follow from what rounding does to this very case.
///
/// # Panics
///
/// If one is too far off, or a gradient is missing, or the case has none and is of a kind that has.
pub fn assert_parity(
    case: &Case,
    (choice, device): (Choice, &Device),
    run: impl Fn(Precision, Start) -> Outcome,
) {
    let exact = run(Precision::F32, Start::Exact);
    let reference = wanted(case);
    if let Some(reference) = &reference {
        check(case, (choice, Precision::F32), off(case, &exact, reference), F32_BOUNDS);
    } else {
        // Whole models and plain decoders have gradients in every case.
        let kind = case.name.split('_').next();
        assert_eq!(kind, Some("f"), "case {} has no gradients to compare", case.name);
        let loss = Off { gradients: 0.0, ..off(case, &exact, &exact.1) };
        check(case, (choice, Precision::F32), loss, F32_BOUNDS);
    }
    if !has_bf16(device) {
        println!("PARITY {choice} Bf16 {}: this device has no bf16", case.name);
        return;
    }
    let reference = reference.unwrap_or(exact.1);
    let draws: Vec<Off> =
        Start::draws().map(|start| off(case, &run(Precision::F32, start), &reference)).collect();
    let mean = |of: fn(&Off) -> f64| {
        let squares: f64 = draws.iter().map(|draw| of(draw).powi(2)).sum();
        (squares / draws.len() as f64).sqrt()
    };
    let bounds = Off {
        loss: BF16_LOSS_FACTOR * mean(|draw| draw.loss),
        gradients: BF16_FACTOR * mean(|draw| draw.gradients),
    };
    let found = off(case, &run(Precision::Bf16, Start::Exact), &reference);
    check(case, (choice, Precision::Bf16), found, bounds);
    assert!(found.loss > 0.0, "case {}: nothing was computed in bf16", case.name);
}

fn check(case: &Case, (device, precision): (Choice, Precision), off: Off, most: Off) {
    let text = format!(
        "{device} {precision:?} {}: loss {:.1e} off (at most {:.1e}), gradients {:.1e} (at most {:.1e})",
        case.name, off.loss, most.loss, off.gradients, most.gradients
    );
    println!("PARITY {text}");
    // A number that is not finite is not below a bound.
    assert!(off.loss < most.loss && off.gradients < most.gradients, "case {text}");
}

/// The case's gradients; `None` if it has none.
fn wanted(case: &Case) -> Option<BTreeMap<String, HostTensor>> {
    let all: BTreeMap<_, _> =
        case.under("grad.").map(|(name, want)| (name.to_owned(), want.clone())).collect();
    (!all.is_empty()).then_some(all)
}

/// How far an outcome is from the case's loss and these gradients.
fn off(case: &Case, (loss, got): &Outcome, want: &BTreeMap<String, HostTensor>) -> Off {
    let reference = case.number("/expect/loss");
    let (mut off, mut all) = (0.0, 0.0);
    for (name, want) in want {
        let found =
            got.get(name).unwrap_or_else(|| panic!("case {}: no gradient for {name}", case.name));
        assert_eq!(found.shape, want.shape, "case {}: {name}", case.name);
        for (got, want) in found.f32().iter().zip(want.f32()) {
            off += f64::from(got - want).powi(2);
            all += f64::from(*want).powi(2);
        }
    }
    let loss = (loss - reference).abs() / reference.abs();
    Off { loss, gradients: f64::sqrt(off / all) }
}
