//! Tokens of every layer for a budget: the cosine, made steeper or flatter until its mean is what was asked.

use std::f64::consts::PI;

/// Tokens entering each of `layers` layers of frames of `tokens_per_frame` tokens, `mean` of them in the mean over the layers.
///
/// The path is `1 + (N - 1) c(l)^g` with the released cosine `c(l) = (1 + cos(l pi / L)) / 2` (`llava_qwen.py:97-130`), rounded half up;
/// `g = 1` is that cosine itself. `g` is found by bisection, so that the whole stack sees the whole number of tokens nearest to
/// `mean * layers`: the mean is off by at most half a token in one layer. Counts never grow from one layer to the next.
pub(super) fn tokens_of_budget(mean: f64, tokens_per_frame: usize, layers: usize) -> Vec<usize> {
    let path = |g: f64| Path { tokens_per_frame, layers, g };
    let total = (mean * layers as f64).round() as usize;
    let cosine = path(1.0).rounded();
    if cosine.iter().sum::<usize>() == total {
        return cosine;
    }
    // The last layer is at 1 on every such path; what is more than that leaves it last.
    let most = tokens_per_frame * (layers - 1) + 1;
    if total >= most {
        let mut counts = vec![tokens_per_frame; layers];
        counts[layers - 1] = (1 + total - most).min(tokens_per_frame);
        return counts;
    }
    let (mut flat, mut steep) = (0.0, 1.0);
    while path(steep).sum() > total as f64 && steep < 1e6 {
        (flat, steep) = (steep, steep * 2.0);
    }
    for _ in 0..100 {
        let middle = f64::midpoint(flat, steep);
        if path(middle).sum() > total as f64 { flat = middle } else { steep = middle }
    }
    path(steep).with_total(total)
}

struct Path {
    tokens_per_frame: usize,
    layers: usize,
    g: f64,
}

impl Path {
    /// Tokens entering 1-based layer `l`, not rounded.
    fn at(&self, l: usize) -> f64 {
        let cosine = 0.5 * (1.0 + (l as f64 * PI / self.layers as f64).cos());
        1.0 + (self.tokens_per_frame - 1) as f64 * cosine.powf(self.g)
    }

    fn points(&self) -> impl Iterator<Item = f64> {
        (1..=self.layers).map(|l| self.at(l))
    }

    fn sum(&self) -> f64 {
        self.points().sum()
    }

    /// The released rounding.
    fn rounded(&self) -> Vec<usize> {
        self.points().map(|tokens| (tokens + 0.5) as usize).collect()
    }

    /// Whole tokens with this sum, which is at most one a layer above that of the floors: the largest fractions are rounded up, earlier
    /// layers first, so that counts still never grow.
    fn with_total(&self, total: usize) -> Vec<usize> {
        let points: Vec<f64> = self.points().collect();
        let mut counts: Vec<usize> = points.iter().map(|tokens| *tokens as usize).collect();
        let mut order: Vec<usize> = (0..self.layers).collect();
        order.sort_by(|a, b| points[*b].fract().total_cmp(&points[*a].fract()));
        let left = total.saturating_sub(counts.iter().sum());
        for layer in order.into_iter().take(left) {
            counts[layer] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compress::schedule::cosine;

    proptest! {
        #[test]
        fn budgets_are_met_by_counts_that_never_grow(share in 0.0..=1.0_f64, n in 1..40_usize, layers in 1..40_usize) {
            let mean = 1.0 + share * (n - 1) as f64;
            let counts = tokens_of_budget(mean, n, layers);
            prop_assert_eq!(counts.len(), layers);
            prop_assert!(counts.is_sorted_by(|a, b| a >= b) && counts[0] <= n && counts[layers - 1] >= 1, "{:?}", counts);
            prop_assert_eq!(counts.iter().sum::<usize>(), (mean * layers as f64).round() as usize);
        }
    }

    #[test]
    fn the_released_cosine_is_the_schedule_of_its_own_mean() {
        for (n, layers) in [(16, 28), (8, 6), (13, 24)] {
            let released: Vec<usize> = (1..=layers).map(|l| cosine(l, n, layers)).collect();
            let mean = released.iter().sum::<usize>() as f64 / layers as f64;
            assert_eq!(tokens_of_budget(mean, n, layers), released);
        }
    }

    #[test]
    fn the_ends_are_all_tokens_and_one() {
        assert_eq!(tokens_of_budget(16.0, 16, 4), [16; 4]);
        assert_eq!(tokens_of_budget(15.0, 16, 4), [16, 16, 16, 12]);
        assert_eq!(tokens_of_budget(1.0, 16, 4), [1; 4]);
        assert_eq!(tokens_of_budget(4.0, 16, 4), [11, 3, 1, 1]); // g = 2.76: 10.7, 3.2, 1.1, 1
    }
}
