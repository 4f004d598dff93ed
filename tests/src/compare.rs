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

/// How far a gradient may be off, as a share of its largest value.
pub(crate) const GRADIENT: f64 = 1e-3;

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
    assert_grad_within(case, what, got, want, GRADIENT);
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
    if let Some(off) = grad_off(case, what, got, want, share) {
        panic!("{off}");
    }
}

/// What is wrong with a gradient under the rule of [`assert_grad_within`]; nothing if it is right.
///
/// # Panics
///
/// If its shape is another.
pub(crate) fn grad_off<const D: usize>(
    case: &Case,
    what: &str,
    got: Tensor<D>,
    want: &HostTensor,
    share: f64,
) -> Option<String> {
    let got = values(case, what, got, want);
    let largest = want.f32().iter().fold(0.0, |max: f64, value| max.max(f64::from(value.abs())));
    // An all-zero gradient must come back as zero, up to rounding.
    let tolerance = Tolerance { atol: (share * largest).max(1e-12), rtol: 0.0 };
    let used = |(got, want): (&f32, &f32)| tolerance.allows(f64::from(*got), f64::from(*want));
    let mut wrong = got.iter().zip(want.f32()).enumerate().filter(|(_, pair)| used(*pair) > 1.0);
    let (index, (first, wanted)) = wrong.next()?;
    let used = used((first, wanted));
    Some(format!(
        "case {}: gradient {what}: {} of {} values, first at {index}: got {first}, want {wanted}, largest {largest}, \
         {used} times the allowed difference",
        case.name,
        1 + wrong.count(),
        got.len(),
    ))
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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::{HostData, case, cases};

    fn want(values: &[f32]) -> HostTensor {
        HostTensor { shape: vec![values.len()], data: HostData::F32(values.to_vec()) }
    }

    fn got(values: &[f32]) -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
    }

    /// Any case serves: it only gives its name to messages.
    fn any() -> Case {
        cases("b_").remove(0)
    }

    #[test]
    fn accepts_what_is_within() {
        assert_close(
            &any(),
            "x",
            got(&[1.0, 100.0]),
            &want(&[1.00005, 100.009]),
            Tolerance::FORWARD,
        );
        assert_grad_close(&any(), "x", got(&[0.0, 10.0]), &want(&[0.009, 10.0]));
    }

    #[test]
    #[should_panic(expected = "1 of 2 values differ; worst at 1: got 3, want 2")]
    fn refuses_what_differs() {
        assert_close(&any(), "x", got(&[1.0, 3.0]), &want(&[1.0, 2.0]), Tolerance::FORWARD);
    }

    #[test]
    #[should_panic(expected = "1 of 1 values differ")]
    fn refuses_what_is_no_number() {
        assert_close(&any(), "x", got(&[f32::NAN]), &want(&[2.0]), Tolerance::FORWARD);
    }

    #[test]
    #[should_panic(expected = "shape of x")]
    fn refuses_another_shape() {
        assert_close(&any(), "x", got(&[1.0]), &want(&[1.0, 2.0]), Tolerance::FORWARD);
    }

    #[test]
    #[should_panic(expected = "gradient x: 1 of 2 values, first at 0")]
    fn refuses_a_gradient_beyond_its_share() {
        assert_grad_close(&any(), "x", got(&[0.02, 10.0]), &want(&[0.0, 10.0]));
    }

    #[test]
    #[should_panic(expected = "scalar")]
    fn refuses_another_scalar() {
        assert_scalar(&any(), "scalar", 1.0, 1.1, Tolerance::LOSS);
    }

    #[test]
    #[should_panic(expected = "no golden case `zz_*`")]
    fn refuses_a_kind_without_cases() {
        cases("zz_");
    }

    #[test]
    #[should_panic(expected = "no golden case `b_`")]
    fn finds_a_case_by_its_whole_name_only() {
        case("b_");
    }
}
