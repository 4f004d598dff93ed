//! Intervals of means and shares from what makes a mean uncertain, p-values, and several claims at once.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Two-sided level of every interval that is shown: 95 %.
pub const LEVEL: f64 = 0.05;

/// One source of uncertainty of a mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Part {
    /// What it adds to the variance of the mean.
    pub variance: f64,
    /// Degrees of freedom that this variance was measured with; 0 where there was one level of it only.
    pub freedom: usize,
}

/// Half the interval at the two-sided `level` (0.05 for 95 %): the root of the squares of what each part would give alone, each with
/// its own quantile of Student's distribution (Howe 1974). With three draws that quantile is 4.3: one for all held the truth too seldom.
pub fn half_width(parts: &[Part], level: f64) -> f64 {
    let square = |part: &Part| student(part.freedom, level).powi(2) * part.variance;
    parts.iter().map(square).sum::<f64>().sqrt()
}

/// The smallest two-sided level whose interval of `half_width` does not hold zero, for a mean of size `distance` from zero.
pub fn p_value(distance: f64, parts: &[Part]) -> f64 {
    if parts.iter().all(|part| part.variance == 0.0) {
        return if distance == 0.0 { 1.0 } else { 0.0 };
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if middle > 0.0 && half_width(parts, middle) < distance.abs() {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Wilson's interval (1927) of a share whose 95 % interval by its variance is `share` +- `half`.
///
/// The variance is put as a number of independent answers with the same uncertainty (Korn and Graubard 1998), at most the `answers`
/// that there are. Where no answer differs, no variance was seen: then each of `clusters` videos counts as one answer.
pub fn wilson(share: f64, half: f64, clusters: usize, answers: usize) -> (f64, f64) {
    let z = student(usize::MAX, LEVEL);
    let spread = share * (1.0 - share);
    let known = spread * (z / half).powi(2);
    let n = if spread > 0.0 && half > 0.0 { known.min(answers as f64) } else { clusters as f64 };
    let (shrink, middle) = (1.0 + z * z / n, share + z * z / (2.0 * n));
    let around = z * (spread / n + (z / (2.0 * n)).powi(2)).sqrt();
    (((middle - around) / shrink).max(0.0), ((middle + around) / shrink).min(1.0))
}

/// Holm's step-down correction (1979): p-values of several claims, such that the chance that any of them is wrongly held stays at its level.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let (mut adjusted, mut largest) = (vec![0.0; p_values.len()], 0.0_f64);
    for (place, at) in order.into_iter().enumerate() {
        largest = largest.max((p_values.len() - place) as f64 * p_values[at]).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}

/// The quantile of Student's distribution that leaves `level / 2` on each side; 0 for a part that was not measured.
pub fn student(freedom: usize, level: f64) -> f64 {
    let distribution = |freedom: f64| StudentsT::new(0.0, 1.0, freedom).expect("a positive number");
    // Behind a million degrees of freedom it is the normal distribution to six digits.
    match freedom {
        0 => 0.0,
        _ => distribution((freedom as f64).min(1e6)).inverse_cdf(1.0 - level / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-3, "{got} is not {want}");
    }

    /// From printed tables of Student's distribution.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, want) in
            [(1, 12.706), (2, 4.303), (9, 2.262), (30, 2.042), (usize::MAX, 1.960)]
        {
            near(student(freedom, 0.05), want);
        }
        near(student(2, 0.01), 9.925);
        near(student(0, 0.05), 0.0);
    }

    /// Newcombe 1998, Table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29, and 29 of 29 by symmetry of 0 of 29.
    #[test]
    fn wilson_is_newcombes_table() {
        for (right, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
            (29, 29, 0.8830, 1.0),
        ] {
            let share = f64::from(right) / f64::from(of);
            let half = 1.959_964 * (share * (1.0 - share) / f64::from(of)).sqrt();
            let (got_low, got_high) = wilson(share, half, of as usize, of as usize);
            assert!(
                (got_low - low).abs() < 1e-4 && (got_high - high).abs() < 1e-4,
                "{right} of {of}: {got_low} {got_high}"
            );
        }
    }

    /// Holm by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, 0.04 raised to what stands before it.
    #[test]
    fn holm_is_what_is_computed_by_hand() {
        let got = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, want) in got.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            near(got, want);
        }
        assert_eq!(holm(&[0.7, 0.9]), [1.0, 1.0]);
        assert_eq!(holm(&[0.02]), [0.02]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn p_values_are_the_levels_of_intervals_that_end_at_zero() {
        let parts = [Part { variance: 0.04, freedom: 2 }, Part { variance: 0.01, freedom: 59 }];
        for level in [0.001, 0.05, 0.4] {
            near(p_value(-half_width(&parts, level), &parts) / level, 1.0);
        }
        // One part alone is Student's test: t = 4.303 with 2 degrees of freedom is 5 %.
        near(p_value(4.302_653 * 0.2, &parts[..1]), 0.05);
        assert_eq!((p_value(0.0, &[]), p_value(0.1, &[])), (1.0, 0.0));
    }
}
