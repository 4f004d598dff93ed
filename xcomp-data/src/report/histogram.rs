//! A few numbers that tell how many numbers are spread.

use serde::Serialize;

/// Spread of a list of counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Histogram {
    /// Smallest.
    pub min: usize,
    /// Half are at most this.
    pub median: usize,
    /// Nine of ten are at most this.
    pub p90: usize,
    /// Largest.
    pub max: usize,
    /// Average.
    pub mean: f64,
    /// How many lie at or below each bound, bounds being powers of two: `(bound, count)`, empty ones left out.
    pub bins: Vec<(usize, usize)>,
}

impl Histogram {
    /// Of some counts; all zero for none.
    pub fn of(mut counts: Vec<usize>) -> Self {
        counts.sort_unstable();
        let Some(&max) = counts.last() else { return Self::default() };
        let at = |part: f64| counts[((counts.len() - 1) as f64 * part).round() as usize];
        let mut bins: Vec<(usize, usize)> = Vec::new();
        for &count in &counts {
            let bound = count.next_power_of_two();
            match bins.last_mut() {
                Some((last, n)) if *last == bound => *n += 1,
                _ => bins.push((bound, 1)),
            }
        }
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        Self { min: counts[0], median: at(0.5), p90: at(0.9), max, mean, bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_counts() {
        let of = Histogram::of(vec![8, 1, 128, 100, 128]);
        assert_eq!((of.min, of.median, of.p90, of.max), (1, 100, 128, 128));
        assert_eq!(of.bins, [(1, 1), (8, 1), (128, 3)]);
        assert_eq!(Histogram::of(Vec::new()), Histogram::default());
    }
}
