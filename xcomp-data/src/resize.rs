//! Pillow's antialiased resize of 8-bit RGB, bit for bit, and a coarser, faster one.
//!
//! Pillow (`Resample.c`): a horizontal pass, rounded to 8 bits, then a vertical one; weights are normalised in f64 and fixed to 22 bits.
#![expect(
    clippy::inline_always,
    reason = "passes must be compiled with the features of their caller"
)]

use serde::{Deserialize, Serialize};

use crate::ffi::{Work, fastest};

/// Fraction bits of the fixed-point weights, as in Pillow (`32 - 8 - 2`).
const PRECISION_BITS: u32 = 22;
/// Rows that the horizontal pass takes at once.
const STRIP_ROWS: usize = 8;
/// Bytes of one column of a strip.
const STRIP_BYTES: usize = STRIP_ROWS * 3;
/// Bytes of a row that the vertical pass takes at once.
const LANE_BYTES: usize = 32;

/// How pictures are brought to the size of the vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Pillow's antialiased bicubic, bit for bit: what the released model was trained with.
    #[default]
    Exact,
    /// Antialiased bilinear: half the weights, for trials.
    ///
    /// On natural video at 480p to 448 pixels it differs from `exact` by 1 to 2 of 255 levels on average and by up to about 60 at sharp edges
    /// (the test `fast_costs_accuracy` measures it).
    Fast,
}

/// An RGB picture of rows that lie `stride` bytes apart.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Bytes from one row to the next, at least `3 * width`.
    pub stride: usize,
    /// The rows.
    pub pixels: &'a [u8],
}

impl<'a> Picture<'a> {
    /// A picture of packed rows.
    ///
    /// # Panics
    /// When `pixels` has not `3 * width * height` bytes.
    pub fn packed(width: usize, height: usize, pixels: &'a [u8]) -> Self {
        assert_eq!(pixels.len(), 3 * width * height, "a packed RGB picture has 3 bytes a pixel");
        Self { width, height, stride: 3 * width, pixels }
    }

    /// The bytes of row `y`.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.pixels[y * self.stride..][..3 * self.width]
    }
}

/// Resizes to `width` x `height` and appends the packed result to `out`.
///
/// # Panics
/// When a side of the source or of the result is 0.
pub fn resize_into(
    source: Picture<'_>,
    width: usize,
    height: usize,
    how: Resize,
    out: &mut Vec<u8>,
) {
    assert!(source.width > 0 && source.height > 0 && width > 0 && height > 0, "no empty pictures");
    let mut narrow = Vec::new();
    let narrow = if source.width == width {
        source
    } else {
        let weights = Weights::new(source.width, width, how);
        narrow.resize(3 * width * source.height, 0);
        fastest(Horizontal { source, weights: &weights, out: &mut narrow });
        Picture::packed(width, source.height, &narrow)
    };
    let start = out.len();
    out.resize(start + 3 * width * height, 0);
    let out = &mut out[start..];
    if source.height == height {
        (0..height).for_each(|y| out[3 * width * y..][..3 * width].copy_from_slice(narrow.row(y)));
    } else {
        let weights = Weights::new(source.height, height, how);
        fastest(Vertical { source: narrow, weights: &weights, out });
    }
}

/// For each output position: where its window starts, and its fixed-point weights.
struct Weights {
    starts: Vec<usize>,
    values: Vec<i32>,
    /// Places in `values` for each output position; windows at the border use fewer.
    taps: usize,
    lengths: Vec<usize>,
}

impl Weights {
    /// `precompute_coeffs` and `normalize_coeffs_8bpc`.
    fn new(from: usize, to: usize, how: Resize) -> Self {
        let (filter, radius): (fn(f64) -> f64, f64) = match how {
            Resize::Exact => (bicubic, 2.0),
            Resize::Fast => (triangle, 1.0),
        };
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = radius * stretch;
        let taps = support.ceil() as usize * 2 + 1;
        let mut weights = Self {
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
    fn window(&self, at: usize) -> (usize, &[i32]) {
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

/// One pass of a resize.
struct Horizontal<'a> {
    source: Picture<'a>,
    weights: &'a Weights,
    out: &'a mut [u8],
}

/// The other one.
struct Vertical<'a> {
    source: Picture<'a>,
    weights: &'a Weights,
    out: &'a mut [u8],
}

impl Work for Horizontal<'_> {
    #[inline(always)]
    fn run(self) {
        horizontal(self.source, self.weights, self.out);
    }
}

impl Work for Vertical<'_> {
    #[inline(always)]
    fn run(self) {
        vertical(self.source, self.weights, self.out);
    }
}

/// Takes strips of rows, turned so that the rows of one column lie side by side.
#[inline(always)]
fn horizontal(source: Picture<'_>, weights: &Weights, out: &mut [u8]) {
    let width = weights.starts.len();
    let mut strip = vec![[0_u8; STRIP_BYTES]; source.width];
    for top in (0..source.height).step_by(STRIP_ROWS) {
        let rows = STRIP_ROWS.min(source.height - top);
        for row in 0..rows {
            let pixels = source.row(top + row).as_chunks::<3>().0;
            for (column, pixel) in strip.iter_mut().zip(pixels) {
                column[3 * row..3 * row + 3].copy_from_slice(pixel);
            }
        }
        for x in 0..width {
            let (start, window) = weights.window(x);
            let sums = weighted_sum(&strip[start..start + window.len()], window);
            for row in 0..rows {
                let to = &mut out[3 * (width * (top + row) + x)..][..3];
                to.copy_from_slice(&sums[3 * row..3 * row + 3]);
            }
        }
    }
}

#[inline(always)]
fn weighted_sum<const N: usize>(columns: &[[u8; N]], window: &[i32]) -> [u8; N] {
    let mut sums = [1_i32 << (PRECISION_BITS - 1); N];
    for (column, &weight) in columns.iter().zip(window) {
        for (sum, &byte) in sums.iter_mut().zip(column) {
            *sum = sum.wrapping_add(i32::from(byte).wrapping_mul(weight));
        }
    }
    sums.map(clip8)
}

#[inline(always)]
fn vertical(source: Picture<'_>, weights: &Weights, out: &mut [u8]) {
    let row_bytes = 3 * source.width;
    for (y, to) in out.chunks_exact_mut(row_bytes).enumerate() {
        let (start, window) = weights.window(y);
        let (lanes, rest) = to.as_chunks_mut::<LANE_BYTES>();
        let rest_start = row_bytes - rest.len();
        for (index, lane) in lanes.iter_mut().enumerate() {
            *lane = lane_sum(source, start, window, index * LANE_BYTES);
        }
        for (index, byte) in rest.iter_mut().enumerate() {
            *byte = byte_sum(source, start, window, rest_start + index);
        }
    }
}

#[inline(always)]
fn lane_sum(source: Picture<'_>, start: usize, window: &[i32], at: usize) -> [u8; LANE_BYTES] {
    let mut sums = [1_i32 << (PRECISION_BITS - 1); LANE_BYTES];
    for (row, &weight) in window.iter().enumerate() {
        let bytes = &source.pixels[(start + row) * source.stride + at..][..LANE_BYTES];
        for (sum, &byte) in sums.iter_mut().zip(bytes) {
            *sum = sum.wrapping_add(i32::from(byte).wrapping_mul(weight));
        }
    }
    sums.map(clip8)
}

fn byte_sum(source: Picture<'_>, start: usize, window: &[i32], at: usize) -> u8 {
    let mut sum = 1_i32 << (PRECISION_BITS - 1);
    for (row, &weight) in window.iter().enumerate() {
        let byte = source.pixels[(start + row) * source.stride + at];
        sum = sum.wrapping_add(i32::from(byte).wrapping_mul(weight));
    }
    clip8(sum)
}

#[inline(always)]
fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut random = crate::PythonRandom::new(7);
        (0..bytes).map(|_| random.getrandbits(8) as u8).collect()
    }

    fn resized(source: Picture<'_>, width: usize, height: usize, how: Resize) -> Vec<u8> {
        let mut out = Vec::new();
        resize_into(source, width, height, how, &mut out);
        out
    }

    /// The formula of the file's head, pixel by pixel.
    fn plainly(source: Picture<'_>, width: usize, height: usize) -> Vec<u8> {
        let across = Weights::new(source.width, width, Resize::Exact);
        let down = Weights::new(source.height, height, Resize::Exact);
        let sum = |(start, window): (usize, &[i32]), byte: &dyn Fn(usize) -> u8| {
            let taps = window.iter().enumerate();
            clip8(taps.fold(1 << 21, |sum, (i, w)| sum + i32::from(byte(start + i)) * w))
        };
        let mut narrow = vec![0; 3 * width * source.height];
        for (at, to) in narrow.iter_mut().enumerate() {
            let (y, x, c) = (at / 3 / width, at / 3 % width, at % 3);
            *to = sum(across.window(x), &|x| source.row(y)[3 * x + c]);
        }
        let column = |at: usize, y: usize| narrow[3 * width * y + at % (3 * width)];
        (0..3 * width * height)
            .map(|at| sum(down.window(at / 3 / width), &|y| column(at, y)))
            .collect()
    }

    #[test]
    fn strips_and_lanes_change_nothing() {
        for (width, height, size) in [(61, 37, 32), (20, 19, 50), (13, 100, 13), (100, 13, 13)] {
            let pixels = noise(3 * width * height);
            let source = Picture::packed(width, height, &pixels);
            let expect = if width == size || height == size {
                None
            } else {
                Some(plainly(source, size, size))
            };
            let got = resized(source, size, size, Resize::Exact);
            assert_eq!(got.len(), 3 * size * size);
            assert!(expect.is_none_or(|expect| expect == got), "{width} x {height} to {size}");
        }
    }

    #[test]
    fn padded_rows_change_nothing() {
        let (width, height, stride) = (17, 9, 3 * 17 + 29);
        let padded = noise(stride * height);
        let packed: Vec<u8> =
            padded.chunks(stride).flat_map(|row| &row[..3 * width]).copied().collect();
        let got =
            resized(Picture { width, height, stride, pixels: &padded }, 11, 12, Resize::Exact);
        assert_eq!(got, resized(Picture::packed(width, height, &packed), 11, 12, Resize::Exact));
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let pixels = vec![200; 3 * 40 * 30];
        for how in [Resize::Exact, Resize::Fast] {
            let got = resized(Picture::packed(40, 30, &pixels), 64, 7, how);
            assert!(got.iter().all(|&byte| byte == 200));
        }
    }
}
