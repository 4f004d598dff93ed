//! Intervals of means and shares from what makes a mean uncertain, p-values, and several claims at once.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Two-sided level of every interval that is shown: 95 %.
pub const LEVEL: f64 = 0.05;

/// Least part of the half width by videos alone that an interval has. Draws that happen to agree, as two or three of them easily do,
/// would leave next to nothing; in simulations 0.5 held the truth too seldom with two draws, 0.7 too often with three.
const LEAST: f64 = 0.6;

/// One source of uncertainty of a mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Part {
    /// Variance of the mean that is seen between its levels. It holds the chance of single answers.
    pub variance: f64,
    /// Degrees of freedom that this variance was measured with; 0 where there was one level of it only.
    pub freedom: usize,
}

/// What makes the mean of answers by several trainings (draws) about several videos uncertain.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Uncertainty {
    /// The choice of bases or seeds.
    pub draws: Part,
    /// The choice of videos.
    pub videos: Part,
    /// Variance of the mean by the chance of single answers, which both parts hold.
    pub chance: f64,
}

impl Uncertainty {
    /// Half the interval at the two-sided `level` (0.05 for 95 %).
    ///
    /// The variance is that of both parts less the chance, which would count twice. Taken off the videos', it leaves the draws' as it is:
    /// where videos add nothing, the interval is Student's by the draws, where draws add nothing, nearly Student's by the videos.
    /// In between there are two rules: each part with its own quantile (Howe 1974), which holds the truth a little too often, and one
    /// quantile for all, of Satterthwaite's freedom (1946), a little too seldom. The interval is the middle of their squares.
    pub fn half_width(&self, level: f64) -> f64 {
        let Self { draws, videos, chance } = *self;
        let square = |freedom: f64| student(freedom, level).powi(2);
        let of_videos = square(videos.freedom as f64);
        let own = videos.variance - chance;
        let howe = square(draws.freedom as f64) * draws.variance + of_videos * own;
        let satterthwaite = square(self.freedom()) * (draws.variance + own);
        let least = LEAST.powi(2) * of_videos * videos.variance;
        f64::midpoint(howe, satterthwaite).max(least).sqrt()
    }

    /// Satterthwaite's degrees of freedom of the whole variance.
    fn freedom(&self) -> f64 {
        let own = Part { variance: (self.videos.variance - self.chance).max(0.0), ..self.videos };
        let known = || [self.draws, own].into_iter().filter(|part| part.freedom > 0);
        let all: f64 = known().map(|part| part.variance).sum();
        let squares: f64 = known().map(|part| part.variance.powi(2) / part.freedom as f64).sum();
        if squares > 0.0 { all.powi(2) / squares } else { 0.0 }
    }

    /// The smallest two-sided level whose interval does not hold zero, for a mean of size `distance` from zero.
    pub fn p_value(&self, distance: f64) -> f64 {
        if self.half_width(LEVEL) == 0.0 {
            return if distance == 0.0 { 1.0 } else { 0.0 };
        }
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if middle > 0.0 && self.half_width(middle) < distance.abs() {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}

/// Wilson's interval (1927) of a share whose 95 % interval by its variance is `share` +- `half`.
///
/// The variance is put as a number of independent answers with the same uncertainty (Korn and Graubard 1998). Where no answer differs,
/// no variance was seen: then each of `clusters` videos counts as one answer.
pub fn wilson(share: f64, half: f64, clusters: usize) -> (f64, f64) {
    let z = student(f64::INFINITY, LEVEL);
    let spread = share * (1.0 - share);
    let seen = spread > 0.0 && half > 0.0;
    let n = if seen { spread * (z / half).powi(2) } else { clusters as f64 };
    let (shrink, middle) = (1.0 + z * z / n, share + z * z / (2.0 * n));
    let around = z * (spread / n + (z / (2.0 * n)).powi(2)).sqrt();
    (((middle - around) / shrink).max(0.0), ((middle + around) / shrink).min(1.0))
}

/// The least variance of a mean difference of shares over `videos`: what it were if one answer differed for each side.
///
/// Where hardly an answer differs, a variance of nothing would be sure of everything.
pub fn least_of_difference(videos: f64, answers_of_a_video: f64) -> f64 {
    1.0 / (answers_of_a_video * (videos + 2.0) * (videos + 1.0))
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
pub fn student(freedom: f64, level: f64) -> f64 {
    if freedom == 0.0 {
        return 0.0;
    }
    // Behind a million degrees of freedom it is the normal distribution to six digits.
    let distribution = StudentsT::new(0.0, 1.0, freedom.min(1e6)).expect("a positive number");
    distribution.inverse_cdf(1.0 - level / 2.0)
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
            [(1.0, 12.706), (2.0, 4.303), (9.0, 2.262), (30.0, 2.042), (f64::INFINITY, 1.960)]
        {
            near(student(freedom, 0.05), want);
        }
        near(student(2.0, 0.01), 9.925);
        near(student(0.0, 0.05), 0.0);
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
            let (got_low, got_high) = wilson(share, half, of as usize);
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

    fn part(variance: f64, freedom: usize) -> Part {
        Part { variance, freedom }
    }

    #[test]
    fn half_widths_are_what_is_computed_by_hand() {
        // Draws 0.04 with 2 degrees of freedom, videos 0.05 with 59, chance 0.01: own 0.04. Quantiles 4.302653 and 2.000995.
        // Howe: 18.51282 x 0.04 + 4.003982 x 0.04 = 0.900672. Freedom 0.08^2 / (0.04^2 / 2 + 0.04^2 / 59) = 7.737705, quantile 2.320047:
        // 5.382617 x 0.08 = 0.430609. The root of the middle is 0.815868.
        let both = Uncertainty { draws: part(0.04, 2), videos: part(0.05, 59), chance: 0.01 };
        near(both.half_width(0.05), 0.815_868);
        // Draws alone: Student's. Videos that vary by chance alone change nothing.
        let draws = Uncertainty { draws: part(0.04, 2), videos: part(0.01, 59), chance: 0.01 };
        near(draws.half_width(0.05), 4.302_653 * 0.2);
        // One training: Student's by videos.
        let videos = Uncertainty { videos: part(0.04, 59), ..Uncertainty::default() };
        near(videos.half_width(0.05), 2.000_995 * 0.2);
        // Draws that agree: a part of what videos say.
        let agree = Uncertainty { draws: part(0.0, 2), videos: part(0.04, 59), chance: 0.04 };
        near(agree.half_width(0.05), LEAST * 2.000_995 * 0.2);
    }

    #[test]
    fn p_values_are_the_levels_of_intervals_that_end_at_zero() {
        let both = Uncertainty { draws: part(0.04, 2), videos: part(0.02, 59), chance: 0.01 };
        for level in [0.001, 0.05, 0.4] {
            near(both.p_value(-both.half_width(level)) / level, 1.0);
        }
        // One part alone is Student's test: t = 4.303 with 2 degrees of freedom is 5 %.
        let draws = Uncertainty { draws: part(0.04, 2), ..Uncertainty::default() };
        near(draws.p_value(4.302_653 * 0.2), 0.05);
        let nothing = Uncertainty::default();
        assert_eq!((nothing.p_value(0.0), nothing.p_value(0.1)), (1.0, 0.0));
    }
}
