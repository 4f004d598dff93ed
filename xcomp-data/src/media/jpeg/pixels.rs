//! Coefficients to samples, small components to full size, YCbCr to RGB: each rounded as libjpeg rounds.

use super::{Block, Component, Decoder};
use crate::media::picture::Rgb;

/// Samples of one component.
struct Plane {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

/// All components together.
pub(super) fn assemble(decoder: &Decoder) -> Option<Rgb> {
    let (width, height) = (decoder.width, decoder.height);
    let mut planes = Vec::new();
    for component in &decoder.components {
        let plane = plane_of(component, &decoder.tables[component.table]?);
        planes.push(enlarge(plane, width, height)?);
    }
    let mut pixels = Vec::with_capacity(3 * width * height);
    match &planes[..] {
        [grey] => pixels.extend(grey.iter().flat_map(|&sample| [sample; 3])),
        [y, cb, cr] if is_ycbcr(decoder) => {
            let samples = y.iter().zip(cb).zip(cr);
            pixels.extend(samples.flat_map(|((&y, &cb), &cr)| to_rgb(y, cb, cr)));
        }
        [r, g, b] => {
            let samples = r.iter().zip(g).zip(b);
            pixels.extend(samples.flat_map(|((&r, &g), &b)| [r, g, b]));
        }
        _ => return None,
    }
    Some(Rgb { width, height, pixels })
}

/// As libjpeg guesses: markers first, then the names of the components.
fn is_ycbcr(decoder: &Decoder) -> bool {
    let ids: Vec<u8> = decoder.components.iter().map(|component| component.id).collect();
    match (decoder.jfif, decoder.adobe) {
        (true, _) => true,
        (false, Some(transform)) => transform != 0,
        (false, None) => ids != *b"RGB",
    }
}

fn to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    // 1.402, 0.34414, 0.71414 and 1.772 in 16 bits of fraction.
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}

fn plane_of(component: &Component, table: &[u16; 64]) -> Plane {
    let (width, height, stride) = (component.width, component.height, component.stride);
    let mut samples = vec![0; width * height];
    for (at, block) in component.blocks.iter().enumerate() {
        let (left, top) = (at % stride * 8, at / stride * 8);
        if left >= width || top >= height {
            continue;
        }
        let block = inverse_transform(block, table);
        let columns = (width - left).min(8);
        for (row, values) in block.chunks_exact(8).take(height - top).enumerate() {
            samples[(top + row) * width + left..][..columns].copy_from_slice(&values[..columns]);
        }
    }
    Plane { width, height, samples }
}

/// To the size of the picture: 1:1, 2:1 across, or 2:1 both ways, with libjpeg's triangle filter.
fn enlarge(plane: Plane, width: usize, height: usize) -> Option<Vec<u8>> {
    let (narrow, low) = (plane.width, plane.height);
    if (narrow, low) == (width, height) {
        return Some(plane.samples);
    }
    let row = |y: usize| &plane.samples[y * narrow..][..narrow];
    // libjpeg repeats samples of pictures that are this narrow.
    if narrow <= 2 || narrow != width.div_ceil(2) {
        return None;
    }
    let mut out = Vec::with_capacity(width * height);
    if low == height {
        (0..height).for_each(|y| enlarge_row(row(y), width, &mut out));
        return Some(out);
    }
    let mut sums = vec![0; narrow];
    for y in 0..height {
        let near = row(y / 2);
        let far =
            row(if y % 2 == 0 { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(low - 1) });
        for (sum, (near, far)) in sums.iter_mut().zip(near.iter().zip(far)) {
            *sum = 3 * i32::from(*near) + i32::from(*far);
        }
        enlarge_sums(&sums, width, &mut out);
    }
    Some(out)
}

/// Each sample twice, a quarter mixed from the neighbour on that side.
fn enlarge_row(row: &[u8], width: usize, out: &mut Vec<u8>) {
    let last = row.len() - 1;
    let at = |x: usize| i32::from(row[x]);
    out.extend((0..width).map(|x| {
        let here = x / 2;
        match x % 2 {
            0 if here == 0 => row[0],
            0 => ((3 * at(here) + at(here - 1) + 1) >> 2) as u8,
            _ if here == last => row[last],
            _ => ((3 * at(here) + at(here + 1) + 2) >> 2) as u8,
        }
    }));
}

/// The same for sums of two rows, four times as large.
fn enlarge_sums(sums: &[i32], width: usize, out: &mut Vec<u8>) {
    let last = sums.len() - 1;
    out.extend((0..width).map(|x| {
        let here = x / 2;
        let value = match x % 2 {
            0 if here == 0 => (4 * sums[0] + 8) >> 4,
            0 => (3 * sums[here] + sums[here - 1] + 8) >> 4,
            _ if here == last => (4 * sums[last] + 7) >> 4,
            _ => (3 * sums[here] + sums[here + 1] + 7) >> 4,
        };
        value as u8
    }));
}

/// libjpeg's accurate integer transform (`jidctint.c`: Loeffler, Ligtenberg and Moschytz).
fn inverse_transform(block: &Block, table: &[u16; 64]) -> [u8; 64] {
    let mut work = [0_i64; 64];
    for x in 0..8 {
        let column =
            std::array::from_fn(|y| i64::from(block[8 * y + x]) * i64::from(table[8 * y + x]));
        for (y, value) in transform(&column, 11).into_iter().enumerate() {
            work[8 * y + x] = value;
        }
    }
    let mut samples = [0; 64];
    for (row, out) in work.as_chunks::<8>().0.iter().zip(samples.chunks_exact_mut(8)) {
        for (sample, value) in out.iter_mut().zip(transform(row, 18)) {
            *sample = (value + 128).clamp(0, 255) as u8;
        }
    }
    samples
}

/// Eight values; `shift` bits of fraction are rounded away.
fn transform(v: &[i64; 8], shift: u32) -> [i64; 8] {
    // Cosines in 13 bits of fraction, named as in jidctint.c.
    let z1 = (v[2] + v[6]) * 4433;
    let (t2, t3) = (z1 - v[6] * 15_137, z1 + v[2] * 6270);
    let (t0, t1) = ((v[0] + v[4]) << 13, (v[0] - v[4]) << 13);
    let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];

    let z5 = (v[7] + v[3] + v[5] + v[1]) * 9633;
    let z1 = -(v[7] + v[1]) * 7373;
    let z2 = -(v[5] + v[3]) * 20_995;
    let z3 = -(v[7] + v[3]) * 16_069 + z5;
    let z4 = -(v[5] + v[1]) * 3196 + z5;
    let odd = [
        v[1] * 12_299 + z1 + z4,
        v[3] * 25_172 + z2 + z3,
        v[5] * 16_819 + z2 + z4,
        v[7] * 2446 + z1 + z3,
    ];
    let round = |value: i64| (value + (1 << (shift - 1))) >> shift;
    std::array::from_fn(|at| match at {
        0..4 => round(even[at] + odd[at]),
        _ => round(even[7 - at] - odd[7 - at]),
    })
}
