//! The position tables of the vision tower: computed, not stored.
//!
//! A sinusoid over the checkpoint's frames and patches, stretched to the tower's grid and frames
//! (reference `umt/vit.py:211-255`).

/// Where a table is needed: frames of a clip and patches per side of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Frames.
    pub frames: usize,
    /// Patches per side.
    pub grid: usize,
}

/// Free parameter of the cubic kernel, as in `PyTorch`'s bicubic interpolation.
const CUBIC_A: f32 = -0.75;

/// The table of a clip (or, with one frame on both sides, of an image).
///
/// The sinusoid runs over the `from.frames * from.grid^2` positions of the checkpoint; each frame
/// is stretched to `to.grid` by bicubic, then time to `to.frames` by linear interpolation, both
/// without aligned corners.
///
/// # Shapes
/// - output: `[to.frames * to.grid * to.grid, width]`, row-major, time slowest
pub fn position_table(from: Extent, to: Extent, width: usize) -> Vec<f32> {
    let frame_positions = from.grid * from.grid;
    let table = sinusoid(from.frames * frame_positions, width);
    let frames: Vec<Vec<f32>> = table
        .chunks(frame_positions * width)
        .map(|frame| stretch_frame(frame, from.grid, to.grid, width))
        .collect();
    stretch_time(&frames, to.frames).concat()
}

/// `sin(p / 10000^(2 floor(j / 2) / width))` for even `j`, the cosine for odd `j`; f64, then f32.
///
/// # Shapes
/// - output: `[positions, width]`, row-major
pub fn sinusoid(positions: usize, width: usize) -> Vec<f32> {
    let rate = |j: usize| 10000_f64.powf(2.0 * (j / 2) as f64 / width as f64);
    let rates: Vec<f64> = (0..width).map(rate).collect();
    let value = |position: usize, j: usize| {
        let angle = position as f64 / rates[j];
        if j.is_multiple_of(2) { angle.sin() as f32 } else { angle.cos() as f32 }
    };
    (0..positions).flat_map(|p| (0..width).map(move |j| (p, j))).map(|(p, j)| value(p, j)).collect()
}

/// Source rows and weights of one output position.
type Taps<const N: usize> = [(usize, f32); N];

/// Bicubic from `[from, from, width]` to `[to, to, width]`: along x, then along y.
fn stretch_frame(frame: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
    if from == to {
        return frame.to_vec();
    }
    let taps: Vec<Taps<4>> = (0..to).map(|index| cubic_taps(index, from, to)).collect();
    let row = from * width;
    let wide: Vec<f32> = frame
        .chunks(row)
        .flat_map(|line| taps.iter().flat_map(move |taps| blend(taps, line, width)))
        .collect(); // [from, to, width]
    taps.iter().flat_map(|taps| blend(taps, &wide, to * width)).collect()
}

/// Linear over time.
fn stretch_time(frames: &[Vec<f32>], to: usize) -> Vec<Vec<f32>> {
    if frames.len() == to {
        return frames.to_vec();
    }
    let last = frames.len() - 1;
    let scale = frames.len() as f32 / to as f32;
    let frame = |index: usize| {
        let source = (scale * (index as f32 + 0.5) - 0.5).max(0.0);
        let first = (source as usize).min(last);
        let share = source - first as f32;
        let (a, b) = (&frames[first], &frames[(first + 1).min(last)]);
        a.iter().zip(b).map(|(a, b)| (1.0 - share) * a + share * b).collect()
    };
    (0..to).map(frame).collect()
}

/// The four source positions of output `index`, clamped at the border, with their weights.
fn cubic_taps(index: usize, from: usize, to: usize) -> Taps<4> {
    let source = from as f32 / to as f32 * (index as f32 + 0.5) - 0.5;
    let first = source.floor();
    let t = source - first;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    let position = |tap: usize| (first as isize + tap as isize - 1).clamp(0, from as isize - 1);
    [0, 1, 2, 3].map(|tap| (position(tap) as usize, weights[tap]))
}

/// The cubic kernel within one step of its centre.
fn near(x: f32) -> f32 {
    ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0
}

/// The cubic kernel between one and two steps from its centre.
fn far(x: f32) -> f32 {
    ((CUBIC_A * x - 5.0 * CUBIC_A) * x + 8.0 * CUBIC_A) * x - 4.0 * CUBIC_A
}

/// The weighted sum of rows of `width` values.
fn blend<const N: usize>(taps: &Taps<N>, rows: &[f32], width: usize) -> Vec<f32> {
    let value = |column: usize| taps.iter().map(|(row, w)| w * rows[row * width + column]).sum();
    (0..width).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: (usize, usize), to: (usize, usize), width: usize, expect: &[f32]) {
        let extent = |(frames, grid)| Extent { frames, grid };
        let got = position_table(extent(from), extent(to), width);
        assert_eq!(got.len(), expect.len());
        for (got, expect) in got.iter().zip(expect) {
            assert!((got - expect).abs() < 1e-6, "{got} is not {expect}");
        }
    }

    #[test]
    fn starts_as_sines_and_cosines() {
        check((1, 1), (1, 1), 4, &[0.0, 1.0, 0.0, 1.0]);
        let one = 1.0_f32;
        let slow = 0.01_f32;
        check(
            (2, 1),
            (2, 1),
            4,
            &[0.0, 1.0, 0.0, 1.0, one.sin(), one.cos(), slow.sin(), slow.cos()],
        );
    }

    #[test]
    fn doubles_time_linearly_between_frame_centres() {
        let (sin, cos) = (1.0_f32.sin(), 1.0_f32.cos());
        let mix = |share: f32| [share * sin, 1.0 - share + share * cos];
        check((2, 1), (4, 1), 2, &[mix(0.0), mix(0.25), mix(0.75), mix(1.0)].concat());
    }

    #[test]
    fn keeps_a_constant_plane_under_bicubic() {
        for (from, to) in [(14, 28), (14, 5), (3, 7)] {
            let stretched = stretch_frame(&vec![1.0; from * from], from, to, 1);
            assert!(stretched.iter().all(|value| (value - 1.0).abs() < 1e-5), "{from} to {to}");
        }
    }
}
