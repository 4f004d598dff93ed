//! How much each source pixel counts for each output pixel, as fixed-point numbers.

use super::Resize;

/// Fraction bits of the fixed-point weights, as in Pillow (`32 - 8 - 2`).
pub(super) const PRECISION_BITS: i32 = 22;
/// For each output position: where its window starts, and its fixed-point weights.
#[derive(Default)]
pub(super) struct Weights {
    /// Sizes that they are made for.
    made_for: (usize, usize),
    starts: Vec<usize>,
    values: Vec<i32>,
    /// Places in `values` for each output position; windows at the border use fewer.
    taps: usize,
    lengths: Vec<usize>,
}

impl Weights {
    /// Makes them anew when a size has changed.
    pub(super) fn prepare(&mut self, from: usize, to: usize, how: Resize) {
        if self.made_for != (from, to) {
            *self = Self::new(from, to, how);
        }
    }

    /// `precompute_coeffs` and `normalize_coeffs_8bpc`.
    pub(super) fn new(from: usize, to: usize, how: Resize) -> Self {
        let (filter, radius): (fn(f64) -> f64, f64) = match how {
            Resize::Exact => (bicubic, 2.0),
            Resize::Fast => (triangle, 1.0),
        };
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = radius * stretch;
        let taps = support.ceil() as usize * 2 + 1;
        let mut weights = Self {
            made_for: (from, to),
            starts: Vec::with_capacity(to),
            values: vec![0; taps * to],
            taps,
            lengths: Vec::with_capacity(to),
        };
        for at in 0..to {
            let centre = (at as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let window: Vec<f64> =
                (start..end).map(|x| filter((x as f64 - centre + 0.5) * (1.0 / stretch))).collect();
            let sum: f64 = window.iter().sum();
            let fixed = window.iter().map(|w| fixed_point(if sum == 0.0 { *w } else { w / sum }));
            weights.values[at * taps..].iter_mut().zip(fixed).for_each(|(to, value)| *to = value);
            weights.starts.push(start);
            weights.lengths.push(end - start);
        }
        weights
    }

    #[inline(always)]
    pub(super) fn window(&self, at: usize) -> (usize, &[i32]) {
        (self.starts[at], &self.values[at * self.taps..][..self.lengths[at]])
    }
}

/// Pillow's bicubic with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Rounds half away from zero.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}
