//! Marks at round numbers around all values.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Marks that an axis has at most, without its ends.
const MARKS: f64 = 5.0;
/// Up to so many powers of ten, an axis of factors has marks between them.
const MOST_DECADES: f64 = 3.0;
/// Shares of a step below this are rounding.
const ROUNDING: f64 = 1e-9;

/// Values from mark to mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
    /// Whether equal factors are equal lengths.
    factors: bool,
}

impl Axis {
    /// Around all finite values, with marks at 1, 2 or 5 times a power of ten; whole numbers get whole marks.
    pub(super) fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let whole = values.clone().all(|value| value.fract() == 0.0);
        let (low, high) = ends(values);
        let least = (high - low) / MARKS;
        let power = 10_f64.powf(least.log10().floor());
        let wide = |step: &f64| *step >= least * (1.0 - ROUNDING);
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(wide);
        let step = step.unwrap_or(10.0 * power).max(if whole { 1.0 } else { 0.0 });
        Self {
            low: (low / step + ROUNDING).floor() * step,
            high: (high / step - ROUNDING).ceil() * step,
            step,
            factors: false,
        }
    }

    /// The same with equal lengths for equal factors, marks at 1, 2 and 5 times powers of ten; only where all values are above zero.
    pub(super) fn by_factors(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = ends(values.clone());
        if low <= 0.0 {
            return Self::around(values);
        }
        let below = round_marks(low).rfind(|mark| *mark <= low * (1.0 + ROUNDING));
        let above = round_marks(high).find(|mark| *mark >= high * (1.0 - ROUNDING));
        let (low, high) = (below.unwrap_or(low), above.unwrap_or(high));
        Self { low, high, step: low, factors: true }
    }

    fn marks(self) -> Vec<f64> {
        if self.factors {
            let within = |mark: &f64| {
                (self.low * (1.0 - ROUNDING)..=self.high * (1.0 + ROUNDING)).contains(mark)
            };
            let decades = (self.high / self.low).log10();
            let powers = |at: usize| decades <= MOST_DECADES || at.is_multiple_of(3);
            let all = (0..=decades.ceil() as i32 + 1).flat_map(|decade| {
                round_marks(self.low * 10_f64.powi(decade)).take(3).enumerate().collect::<Vec<_>>()
            });
            return all
                .filter(|(at, _)| powers(*at))
                .map(|(_, mark)| mark)
                .filter(within)
                .collect();
        }
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(|mark| self.low + self.step * mark as f64).collect()
    }

    /// As many digits as tell marks apart; below 0.001 as `1.25e-4`, from 100,000 on as `150M`.
    fn number(self, value: f64) -> String {
        const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
        let place = |size: f64| (size.log10() + ROUNDING).floor() as i32;
        if self.factors {
            let thousands = (place(value) / 3).clamp(0, 6);
            return format!("{}{}", value / 1000_f64.powi(thousands), PREFIXES[thousands as usize]);
        }
        let digits = usize::try_from(-place(self.step)).unwrap_or(0);
        let most = place(self.low.abs().max(self.high.abs()));
        let thousands = (most.max(0) / 3).min(6);
        match value.abs() < self.step * 0.5 {
            true => "0".into(),
            false if most >= 5 => {
                let size = 1000_f64.powi(thousands);
                let digits = usize::try_from(-place(self.step / size)).unwrap_or(0);
                format!("{:.digits$}{}", value / size, PREFIXES[thousands as usize])
            }
            false if most >= -3 && digits <= 4 => format!("{value:.digits$}"),
            false => {
                format!("{value:.*e}", (place(value.abs()) - place(self.step)).max(0) as usize)
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = if self.factors {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        (f64::from(from) + share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { vec![] } else { self.marks() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.number(*value)
    }
}

/// 1, 2, 5 and 10 times the power of ten below a value above zero.
fn round_marks(value: f64) -> std::array::IntoIter<f64, 4> {
    let power = (value.log10() + ROUNDING).floor() as i32;
    // Whole powers are exact; a factor of a fraction of ten is not.
    let times = |mark: f64| {
        if power < 0 { mark / 10_f64.powi(-power) } else { mark * 10_f64.powi(power) }
    };
    [1.0, 2.0, 5.0, 10.0].map(times).into_iter()
}

/// Smallest and largest value, never equal.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    // A spread that f64 cannot divide is none.
    match high - low > low.abs().max(high.abs()) * ROUNDING {
        true => (low, high),
        false if low.is_finite() && low != 0.0 => (low - low.abs() / 2.0, low + low.abs() / 2.0),
        false => (0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equal_lengths() {
        let marks = |values: &[f64]| -> Vec<String> {
            let axis = Axis::by_factors(values.iter().copied());
            axis.marks().into_iter().map(|mark| axis.number(mark)).collect()
        };
        assert_eq!(marks(&[41e6, 787e6]), ["20M", "50M", "100M", "200M", "500M", "1G"]);
        assert_eq!(marks(&[0.3, 4.0]), ["0.2", "0.5", "1", "2", "5"]);
        assert_eq!(marks(&[1.0, 3e6]), ["1", "10", "100", "1k", "10k", "100k", "1M"]);
        assert_eq!(marks(&[5.0, 5.0]), ["2", "5", "10"]);
        // Nothing at or below zero has a place on it.
        assert_eq!(marks(&[0.0, 4.0]), ["0", "1", "2", "3", "4"]);
        let axis = Axis::by_factors([1.0, 100.0].into_iter());
        assert_eq!([1.0, 10.0, 100.0].map(|value| axis.map(&value, (0, 200))), [0, 100, 200]);
    }

    #[test]
    fn marks_are_round_numbers_around_all_values_and_differ() {
        let check = |values: &[f64], want: &[&str]| {
            let axis = Axis::around(values.iter().copied());
            let marks: Vec<String> = axis.marks().into_iter().map(|m| axis.number(m)).collect();
            assert_eq!(marks, want);
        };
        check(&[0.36, 0.9], &["0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(&[8.0, 32.0], &["5", "10", "15", "20", "25", "30", "35"]);
        check(&[1.0, 2.0], &["1", "2"]);
        check(&[0.3, 0.5], &["0.30", "0.35", "0.40", "0.45", "0.50"]);
        check(&[0.0, 4e-5], &["0", "1e-5", "2e-5", "3e-5", "4e-5"]);
        check(
            &[0.0048, 0.0071],
            &["0.0045", "0.0050", "0.0055", "0.0060", "0.0065", "0.0070", "0.0075"],
        );
        check(&[9.1e-5, 1.2e-4], &["9e-5", "1.0e-4", "1.1e-4", "1.2e-4"]);
        check(&[-1e-5, 1e-5], &["-1.0e-5", "-5e-6", "0", "5e-6", "1.0e-5"]);
        check(&[2.8e7, 1.85e8], &["0", "50M", "100M", "150M", "200M"]);
        check(&[9.98e5, 1e6], &["0.9980M", "0.9985M", "0.9990M", "0.9995M", "1.0000M"]);
        check(&[4e4, 9e4], &["40000", "50000", "60000", "70000", "80000", "90000"]);
        check(&[3.0, 3.0], &["1", "2", "3", "4", "5"]);
        check(&[0.0], &["0", "1"]);
    }

    proptest::proptest! {
        #[test]
        fn no_two_marks_read_alike(low in -1e6..1e6_f64, scale in -9..6_i32, part in 1e-3..1.0_f64) {
            let low = low * 10_f64.powi(scale - 6);
            let axis = Axis::around([low, low + low.abs() * part + 10_f64.powi(scale)].into_iter());
            let marks: Vec<String> = axis.marks().into_iter().map(|m| axis.number(m)).collect();
            proptest::prop_assert!(marks.windows(2).all(|two| two[0] != two[1]), "{marks:?}");
            proptest::prop_assert!((2..=8).contains(&marks.len()), "{marks:?}");
        }
    }
}
