//! A linear probe: how much of some numbers is a linear map of others.
//!
//! Ridge regression in its dual form (Saunders, Gammerman, Vovk 1998): frames are few and hidden states wide, so everything is
//! written in inner products between frames, `K = X X'`, and the map itself is never made. Each hidden dimension is first
//! scaled to mean 0 and variance 1 over the frames that are fit, so that a few large ones do not decide. The penalty is the one
//! of `PENALTIES` with the least leave-one-out error on the frames that are fit, which has a closed form too: with
//! `H = (K + penalty I)^-1`, leaving frame `i` out of map and mean errs by `(H Y)_i / (H_ii - 1 / (frames * penalty))`,
//! where the second term takes the frame out of the mean, which would give it away. All of it in f64.

use rayon::prelude::*;

/// Penalties that are tried, in units of the mean squared length of a frame.
const PENALTIES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// A fit needs so many frames, and so does a variance.
const FEWEST: usize = 2;

/// The tokens of one frame at a drop.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Hidden states of the tokens that survive, one after the other.
    pub kept: Vec<f32>,
    /// Hidden states of those that do not.
    pub dropped: Vec<f32>,
}

/// Rows of numbers, one for each frame.
type Matrix = Vec<Vec<f64>>;

/// R² of the dropped tokens in `test`, by the map from kept tokens that `fit` gives: 1 is perfect, 0 as good as their mean.
///
/// `None` if there are fewer than two frames on a side, or nothing varies.
///
/// # Panics
/// If frames have different lengths.
pub fn r_squared(fit: &[Frame], test: &[Frame]) -> Option<f64> {
    if fit.len() < FEWEST || test.len() < FEWEST {
        return None;
    }
    let (x, x_test) = scaled(fit, test, |frame| &frame.kept);
    let (y, y_test) = scaled(fit, test, |frame| &frame.dropped);
    let (between_x, between_y) = (products(&x, &x), products(&y, &y));
    let length = trace(&between_x) / x.len() as f64;
    let unit = if length > 0.0 { length } else { 1.0 };
    let tried = PENALTIES.map(|penalty| {
        let inverse = ridged_inverse(&between_x, penalty * unit);
        (left_out(&inverse, penalty * unit, &between_y), inverse)
    });
    let (_, best) = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))?;

    // The prediction of a test frame is a weighted sum of the fit frames' own dropped tokens.
    let weights = products(&products(&x_test, &x), &best); // the inverse is symmetric
    let (across, spread) = (products(&y_test, &y), products(&weights, &between_y));
    let missed: f64 = (0..y_test.len())
        .map(|at| {
            let squared = dot(&y_test[at], &y_test[at]);
            squared - 2.0 * dot(&weights[at], &across[at]) + dot(&spread[at], &weights[at])
        })
        .sum();
    let all = variance(&y_test);
    (all > 0.0).then(|| 1.0 - missed / all)
}

/// The numbers of both sides, each column scaled by its mean and deviation over `fit`; a column that is constant there becomes 0.
fn scaled(fit: &[Frame], test: &[Frame], of: impl Fn(&Frame) -> &Vec<f32>) -> (Matrix, Matrix) {
    let width = of(&fit[0]).len();
    let (mut means, mut squares) = (vec![0.0; width], vec![0.0; width]);
    let count = fit.len() as f64;
    for frame in fit {
        means.iter_mut().zip(of(frame)).for_each(|(mean, v)| *mean += f64::from(*v) / count);
    }
    for frame in fit {
        let apart = of(frame).iter().zip(&means).map(|(v, mean)| f64::from(*v) - mean);
        squares.iter_mut().zip(apart).for_each(|(square, d)| *square += d * d / count);
    }
    let factor = |square: &f64| if *square > 0.0 { square.sqrt().recip() } else { 0.0 };
    let factors: Vec<f64> = squares.iter().map(factor).collect();
    let row = |frame: &Frame| -> Vec<f64> {
        let numbers = of(frame);
        assert_eq!(numbers.len(), width, "every frame has as many tokens at a drop");
        (0..width).map(|at| (f64::from(numbers[at]) - means[at]) * factors[at]).collect()
    };
    (fit.iter().map(row).collect(), test.iter().map(row).collect())
}

/// `A B'`.
fn products(a: &Matrix, b: &Matrix) -> Matrix {
    a.par_iter().map(|row| b.iter().map(|other| dot(row, other)).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn trace(matrix: &Matrix) -> f64 {
    (0..matrix.len()).map(|at| matrix[at][at]).sum()
}

/// Sum of squared distances of rows from their mean.
fn variance(rows: &Matrix) -> f64 {
    let count = rows.len() as f64;
    let mean: Vec<f64> =
        (0..rows[0].len()).map(|at| rows.iter().map(|row| row[at]).sum::<f64>() / count).collect();
    rows.iter().flat_map(|row| row.iter().zip(&mean)).map(|(v, mean)| (v - mean).powi(2)).sum()
}

/// Summed squared leave-one-out errors: row `i` of `H Y` has the squared length `(H YY' H)_ii`.
fn left_out(inverse: &Matrix, ridge: f64, between_y: &Matrix) -> f64 {
    let halfway = products(inverse, between_y);
    let mean = (inverse.len() as f64 * ridge).recip();
    let error = |at: usize| dot(&halfway[at], &inverse[at]) / (inverse[at][at] - mean).powi(2);
    (0..inverse.len()).map(error).sum()
}

/// `(A + ridge I)^-1` of a positive semidefinite matrix, by Gauss-Jordan elimination: with a ridge no pivot is small.
fn ridged_inverse(matrix: &Matrix, ridge: f64) -> Matrix {
    let mut work = matrix.clone();
    (0..work.len()).for_each(|at| work[at][at] += ridge);
    for pivot in 0..work.len() {
        let scale = work[pivot][pivot].recip();
        work[pivot][pivot] = 1.0;
        work[pivot].iter_mut().for_each(|v| *v *= scale);
        let row = work[pivot].clone();
        for (_, other) in work.iter_mut().enumerate().filter(|(at, _)| *at != pivot) {
            let factor = std::mem::replace(&mut other[pivot], 0.0);
            other.iter_mut().zip(&row).for_each(|(v, r)| *v -= factor * r);
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::random::Random;

    const KEPT: usize = 3;
    const DROPPED: usize = 5;

    /// Frames whose dropped tokens are a linear map of the kept ones, with this share of noise instead.
    fn frames(count: usize, noise: f32, random: &mut Random) -> Vec<Frame> {
        let mut number = || 2.0 * random.uniform() - 1.0;
        let frame = |_| {
            let kept: Vec<f32> = (0..KEPT).map(|_| number()).collect();
            let map = |out: usize| -> f32 {
                kept.iter().enumerate().map(|(at, v)| v * ((out * KEPT + at) as f32 - 6.0)).sum()
            };
            let exact: Vec<f32> = (0..DROPPED).map(|out| 7.0 + map(out)).collect();
            let dropped = exact.iter().map(|v| (1.0 - noise) * v + noise * number()).collect();
            Frame { kept, dropped }
        };
        (0..count).map(frame).collect()
    }

    fn probed(noise: f32, fit: usize) -> f64 {
        let mut random = Random::new(3);
        let (fit, test) = (frames(fit, noise, &mut random), frames(100, noise, &mut random));
        r_squared(&fit, &test).unwrap()
    }

    #[test]
    fn a_linear_map_is_found_and_noise_is_not() {
        let (exact, noise) = (probed(0.0, 100), probed(1.0, 100));
        assert!((exact - 1.0).abs() < 1e-6, "{exact}");
        assert!(noise.abs() < 0.05, "{noise}");
        let mixed = probed(0.9, 100);
        assert!(mixed > noise + 0.1 && mixed < exact - 0.01, "{mixed}");
    }

    /// Fewer frames than dimensions: noise is not fit, a penalty that keeps the prediction small is chosen.
    #[test]
    fn few_frames_of_noise_predict_nothing() {
        let got = probed(1.0, 4);
        assert!((-0.5..0.3).contains(&got), "{got}");
    }

    #[test]
    fn what_does_not_vary_or_is_not_there_has_no_answer() {
        let frame = Frame { kept: vec![1.0], dropped: vec![2.0] };
        let same = [frame.clone(), frame];
        assert_eq!(r_squared(&same[..1], &same), None);
        assert_eq!(r_squared(&same, &same), None);
    }

    /// The closed form beside fits that really leave a frame out, mean and all.
    #[test]
    fn leaving_a_frame_out_errs_as_the_closed_form_says() {
        const PENALTY: f64 = 0.3;
        let all = frames(6, 0.5, &mut Random::new(5));
        let (x, _) = scaled(&all, &all, |frame| &frame.kept);
        let (y, _) = scaled(&all, &all, |frame| &frame.dropped);
        let closed =
            left_out(&ridged_inverse(&products(&x, &x), PENALTY), PENALTY, &products(&y, &y));
        let by_hand: f64 = (0..all.len()).map(|at| error_without(&x, &y, at, PENALTY)).sum();
        assert!((closed / by_hand - 1.0).abs() < 1e-9, "{closed} {by_hand}");
    }

    /// Squared error of row `at` by the map that the other rows give.
    fn error_without(x: &Matrix, y: &Matrix, at: usize, penalty: f64) -> f64 {
        let apart = |rows: &Matrix| -> (Matrix, Vec<f64>) {
            let others: Vec<_> = (0..rows.len()).filter(|row| *row != at).collect();
            let mean = |column: usize| {
                others.iter().map(|row| rows[*row][column]).sum::<f64>() / others.len() as f64
            };
            let means: Vec<f64> = (0..rows[0].len()).map(mean).collect();
            let less = |row: &Vec<f64>| row.iter().zip(&means).map(|(v, m)| v - m).collect();
            (others.iter().map(|row| less(&rows[*row])).collect(), less(&rows[at]))
        };
        let ((x, one), (y, want)) = (apart(x), apart(y));
        let inverse = ridged_inverse(&products(&x, &x), penalty);
        let weights = &products(&products(&vec![one], &x), &inverse)[0];
        let predicted = |column: usize| -> f64 {
            weights.iter().zip(&y).map(|(weight, row)| weight * row[column]).sum()
        };
        want.iter().enumerate().map(|(column, want)| (want - predicted(column)).powi(2)).sum()
    }

    #[test]
    fn the_inverse_is_that_of_the_ridged_matrix() {
        let matrix = vec![vec![2.0, 1.0], vec![1.0, 3.0]];
        let got = ridged_inverse(&matrix, 1.0); // of [[3, 1], [1, 4]], determinant 11
        let want = [[4.0 / 11.0, -1.0 / 11.0], [-1.0 / 11.0, 3.0 / 11.0]];
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
}
