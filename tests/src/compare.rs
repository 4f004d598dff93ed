//! Comparison of results with the reference's numbers.

use burn::tensor::{Int, Tensor};

use crate::{Case, HostTensor};

/// `|got - want| <= atol + rtol * |want|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub atol: f64,
    /// Relative part.
    pub rtol: f64,
}

impl Tolerance {
    /// Forward values, hidden states, logits in f32 (README of the golden cases).
    pub const FORWARD: Tolerance = Tolerance { atol: 1e-4, rtol: 1e-4 };
    /// Losses in f32.
    pub const LOSS: Tolerance = Tolerance { atol: 2e-5, rtol: 1e-5 };
    /// Position tables and merged tokens.
    pub const TABLE: Tolerance = Tolerance { atol: 1e-5, rtol: 1e-5 };

    fn allows(self, got: f64, want: f64) -> f64 {
        // How many times the allowed difference is used; above 1 fails. NaN fails too.
        let used = (got - want).abs() / (self.atol + self.rtol * want.abs());
        if used.is_nan() && got.to_bits() != want.to_bits() { f64::INFINITY } else { used }
    }
}

/// Asserts equal shapes, and each value within the tolerance; reports the worst one.
///
/// # Panics
///
/// If a value differs by more.
pub fn assert_close<const D: usize>(
    case: &Case,
    what: &str,
    got: Tensor<D>,
    want: &HostTensor,
    tolerance: Tolerance,
) {
    let got = values(case, what, got, want);
    let want = want.f32();
    let used = |index: usize| tolerance.allows(f64::from(got[index]), f64::from(want[index]));
    let Some(worst) = (0..got.len()).max_by(|a, b| used(*a).total_cmp(&used(*b))) else { return };
    let bad = (0..got.len()).filter(|index| used(*index) > 1.0).count();
    assert!(
        bad == 0,
        "case {}: {what}: {bad} of {} values differ; worst at {worst}: got {}, want {} \
         (atol {}, rtol {})",
        case.name,
        got.len(),
        got[worst],
        want[worst],
        tolerance.atol,
        tolerance.rtol,
    );
}

/// Asserts a scalar within the tolerance.
///
/// # Panics
///
/// If it differs by more.
pub fn assert_scalar(case: &Case, what: &str, got: f64, want: f64, tolerance: Tolerance) {
    assert!(
        tolerance.allows(got, want) <= 1.0,
        "case {}: {what}: got {got}, want {want} (atol {}, rtol {})",
        case.name,
        tolerance.atol,
        tolerance.rtol,
    );
}

/// Asserts `max |got - want| <= 1e-3 * max |want|`, the rule for gradients.
///
/// # Panics
///
/// If a gradient differs by more.
pub fn assert_grad_close<const D: usize>(
    case: &Case,
    what: &str,
    got: Tensor<D>,
    want: &HostTensor,
) {
    assert_grad_within(case, what, got, want, 1e-3);
}

/// Asserts `max |got - want| <= share * max |want|`.
///
/// # Panics
///
/// If a gradient differs by more.
pub fn assert_grad_within<const D: usize>(
    case: &Case,
    what: &str,
    got: Tensor<D>,
    want: &HostTensor,
    share: f64,
) {
    let got = values(case, what, got, want);
    let largest = want.f32().iter().fold(0.0, |max: f64, value| max.max(f64::from(value.abs())));
    // An all-zero gradient must come back as zero, up to rounding.
    let tolerance = Tolerance { atol: (share * largest).max(1e-12), rtol: 0.0 };
    for (index, (got, want)) in got.iter().zip(want.f32()).enumerate() {
        let used = tolerance.allows(f64::from(*got), f64::from(*want));
        assert!(
            used <= 1.0,
            "case {}: gradient {what}: at {index}: got {got}, want {want}, largest {largest}, \
             {used} times the allowed difference",
            case.name,
        );
    }
}

/// Asserts equal shapes and equal integers.
///
/// # Panics
///
/// If one differs.
pub fn assert_exact<const D: usize>(
    case: &Case,
    what: &str,
    got: Tensor<D, Int>,
    want: &HostTensor,
) {
    assert_eq!(got.dims().to_vec(), want.shape, "case {}: shape of {what}", case.name);
    let got: Vec<i64> = got.into_data().iter::<i64>().collect();
    let want: Vec<i64> = want.i32().iter().map(|value| i64::from(*value)).collect();
    let different = got.iter().zip(&want).position(|(got, want)| got != want);
    if let Some(index) = different {
        panic!("case {}: {what}: at {index}: got {}, want {}", case.name, got[index], want[index]);
    }
}

fn values<const D: usize>(case: &Case, what: &str, got: Tensor<D>, want: &HostTensor) -> Vec<f32> {
    assert_eq!(got.dims().to_vec(), want.shape, "case {}: shape of {what}", case.name);
    got.into_data().iter::<f32>().collect()
}
