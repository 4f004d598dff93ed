//! Pillow's antialiased resize of 8-bit RGB, bit for bit, and a coarser, faster one.
//!
//! Pillow (`Resample.c`): a horizontal pass, rounded to 8 bits, then a vertical one; weights are normalised in f64 and fixed to 22 bits.
#![expect(
    clippy::inline_always,
    reason = "passes must be compiled with the features of their caller"
)]

mod any_res;
mod fit;
mod weights;

use serde::{Deserialize, Serialize};

pub use self::any_res::{Canvas, MOST_TILES, canvases};
pub use self::fit::{Fit, Fitter, LONGEST_CROPPED};
use self::weights::{PRECISION_BITS, Weights};
use crate::ffi::{LANES, Sums, Work, fastest};

/// Sums start at one half, so that cutting off the fraction rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Rows that the horizontal pass takes at once.
const STRIP_ROWS: usize = 8;
/// Registers that the sums of one column fill.
const BLOCKS: usize = STRIP_ROWS * 3 / LANES;

/// The pixels of one column of a strip, from the top.
type Column = [[u8; LANES]; BLOCKS];

/// How pictures are brought to the size of the vision tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Pillow's antialiased bicubic, bit for bit: what the released model was trained with.
    #[default]
    Exact,
    /// Antialiased bilinear: half the weights, for trials.
    ///
    /// On a film at 854 x 480, brought to 448 pixels, it differs from `exact` by 0.6 of 255 levels on average and by at most 25, and
    /// takes about 40 % less time (printed and bounded by the test `fast_costs_accuracy`).
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

/// Resizes to `width` x `height` and appends the packed result to `out`; a [`Resizer`] does many faster.
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
    Resizer::new(width, height, how).resize_into(source, out);
}

/// Resizes pictures to one size; keeps weights and buffers from one to the next.
pub struct Resizer {
    width: usize,
    height: usize,
    how: Resize,
    across: Weights,
    down: Weights,
    narrow: Vec<u8>,
    strip: Vec<Column>,
    turned: Vec<Column>,
}

impl Resizer {
    /// Resizes to `width` x `height`.
    ///
    /// # Panics
    /// When one of them is 0.
    pub fn new(width: usize, height: usize, how: Resize) -> Self {
        assert!(width > 0 && height > 0, "no empty pictures");
        Self {
            width,
            height,
            how,
            across: Weights::default(),
            down: Weights::default(),
            narrow: Vec::new(),
            strip: Vec::new(),
            turned: vec![Column::default(); width],
        }
    }

    /// Appends the packed result to `out`.
    ///
    /// # Panics
    /// When a side of the source is 0.
    pub fn resize_into(&mut self, source: Picture<'_>, out: &mut Vec<u8>) {
        assert!(source.width > 0 && source.height > 0, "no empty pictures");
        self.across.prepare(source.width, self.width, self.how);
        self.down.prepare(source.height, self.height, self.how);
        let narrow = if source.width == self.width {
            source
        } else {
            self.narrow.resize(3 * self.width * source.height, 0);
            self.strip.resize(source.width, Column::default());
            let (strip, turned) = (&mut self.strip[..], &mut self.turned[..]);
            fastest(Horizontal {
                source,
                weights: &self.across,
                strip,
                turned,
                out: &mut self.narrow,
            });
            Picture::packed(self.width, source.height, &self.narrow)
        };
        if source.height == self.height {
            (0..self.height).for_each(|y| out.extend_from_slice(narrow.row(y)));
            return;
        }
        let start = out.len();
        out.resize(start + 3 * self.width * self.height, 0);
        fastest(Vertical { source: narrow, weights: &self.down, out: &mut out[start..] });
    }
}

/// One pass of a resize.
struct Horizontal<'a> {
    source: Picture<'a>,
    weights: &'a Weights,
    /// Rows of the source, turned: one column after the other.
    strip: &'a mut [Column],
    /// The same of the result.
    turned: &'a mut [Column],
    out: &'a mut [u8],
}

/// The other one.
struct Vertical<'a> {
    source: Picture<'a>,
    weights: &'a Weights,
    out: &'a mut [u8],
}

impl Work for Horizontal<'_> {
    /// Takes strips of rows, turned so that the rows of one column lie side by side.
    #[inline(always)]
    fn run<S: Sums>(self) {
        let row_bytes = 3 * self.turned.len();
        for (strip, out) in self.out.chunks_mut(row_bytes * STRIP_ROWS).enumerate() {
            let top = strip * STRIP_ROWS;
            for row in 0..STRIP_ROWS.min(self.source.height - top) {
                turn_in(self.source.row(top + row), row, self.strip);
            }
            for (x, turned) in self.turned.iter_mut().enumerate() {
                let (start, window) = self.weights.window(x);
                *turned = column_sum::<S>(&self.strip[start..start + window.len()], window);
            }
            for (row, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                turn_out(self.turned, row, out);
            }
        }
    }
}

impl Work for Vertical<'_> {
    #[inline(always)]
    fn run<S: Sums>(self) {
        let row_bytes = 3 * self.source.width;
        for (y, out) in self.out.chunks_exact_mut(row_bytes).enumerate() {
            let (start, window) = self.weights.window(y);
            let (blocks, rest) = out.as_chunks_mut::<LANES>();
            let rest_at = row_bytes - rest.len();
            for (index, block) in blocks.iter_mut().enumerate() {
                *block = block_sum::<S>(self.source, start, window, index * LANES);
            }
            for (index, byte) in rest.iter_mut().enumerate() {
                *byte = byte_sum(self.source, start, window, rest_at + index);
            }
        }
    }
}

#[inline(always)]
fn turn_in(pixels: &[u8], row: usize, strip: &mut [Column]) {
    for (column, pixel) in strip.iter_mut().zip(pixels.as_chunks::<3>().0) {
        column.as_flattened_mut()[3 * row..3 * row + 3].copy_from_slice(pixel);
    }
}

#[inline(always)]
fn turn_out(turned: &[Column], row: usize, out: &mut [u8]) {
    for (pixel, column) in out.as_chunks_mut::<3>().0.iter_mut().zip(turned) {
        pixel.copy_from_slice(&column.as_flattened()[3 * row..3 * row + 3]);
    }
}

#[inline(always)]
fn column_sum<S: Sums>(columns: &[Column], window: &[i32]) -> Column {
    let mut sums = [S::start(HALF); BLOCKS];
    for (column, &weight) in columns.iter().zip(window) {
        for (sums, bytes) in sums.iter_mut().zip(column) {
            *sums = sums.add(*bytes, weight);
        }
    }
    sums.map(S::clip::<PRECISION_BITS>)
}

#[inline(always)]
fn block_sum<S: Sums>(source: Picture<'_>, start: usize, window: &[i32], at: usize) -> [u8; LANES] {
    let mut sums = S::start(HALF);
    let mut place = start * source.stride + at;
    for &weight in window {
        let bytes = source.pixels[place..].first_chunk::<LANES>();
        sums = sums.add(*bytes.expect("a block lies inside its row"), weight);
        place += source.stride;
    }
    sums.clip::<PRECISION_BITS>()
}

/// What is left at the end of a row.
fn byte_sum(source: Picture<'_>, start: usize, window: &[i32], at: usize) -> u8 {
    let byte = |row: usize| i32::from(source.pixels[(start + row) * source.stride + at]);
    let taps = window.iter().enumerate();
    clip8(taps.fold(HALF, |sum, (row, weight)| sum.wrapping_add(byte(row).wrapping_mul(*weight))))
}

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
    fn every_cpu_gives_the_same_sums() {
        let bytes = noise(LANES * 9);
        let (columns, _) = bytes.as_chunks::<LANES>();
        let weights = [5_000_000, -900_000, 4_194_304, 77, -3, 123_456, 1, 0, -1_000_000];
        let sums = columns.iter().zip(weights);
        let plain = sums.fold(crate::ffi::PlainSums::start(HALF), |sums, (bytes, weight)| {
            sums.add(*bytes, weight)
        });
        let expect: Vec<u8> = (0..LANES)
            .map(|lane| {
                let taps = columns.iter().zip(weights);
                clip8(taps.fold(HALF, |sum, (bytes, weight)| sum + i32::from(bytes[lane]) * weight))
            })
            .collect();
        assert_eq!(plain.clip::<PRECISION_BITS>().as_slice(), expect);
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
