//! Kinds of PNG, BMP and WebP: what is written here bit by bit is read as it was meant, as Pillow does; see `tests/jpeg.rs` for JPEG.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

use std::path::Path;

use xcomp_data::media::picture::{Rgb, read_picture};
use xcomp_data::{Limits, Truncated};

#[path = "common/png.rs"]
mod png;
use png::chunk;

const WIDTH: usize = 13;
const HEIGHT: usize = 11;

fn read(path: &Path) -> Rgb {
    read_picture(path, &Limits::default(), Truncated::Refuse).unwrap()
}

/// A number of so many bits, another for each place and channel.
fn sample(x: usize, y: usize, channel: usize, bits: usize) -> usize {
    let mixed = (x + 1000 * y + 100_000 * channel + 7).wrapping_mul(2_654_435_761);
    (mixed >> 11) & ((1 << bits) - 1)
}

/// Bits from the highest on, rows filled up to whole multiples of `unit` bytes.
fn packed(numbers: impl Iterator<Item = usize>, bits: usize, unit: usize) -> Vec<u8> {
    let ones = numbers.flat_map(|number| (0..bits).rev().map(move |bit| (number >> bit & 1) as u8));
    let ones: Vec<u8> = ones.collect();
    let mut row: Vec<u8> = ones
        .chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at)))
        .collect();
    row.resize(row.len().next_multiple_of(unit), 0);
    row
}

/// One block that is stored as it is.
fn zlib(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (a + b) % 65521)
    });
    let head = [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat();
    [&head[..], data, &(b << 16 | a).to_be_bytes()].concat()
}

/// First column and row, and steps, of the seven passes of an interlaced PNG.
const PASSES: [[usize; 4]; 7] = [
    [0, 0, 8, 8],
    [4, 0, 8, 8],
    [0, 4, 4, 8],
    [2, 0, 4, 4],
    [0, 2, 2, 4],
    [1, 0, 2, 2],
    [0, 1, 1, 2],
];

/// A PNG of every sample; what stands between its header and its rows comes along.
fn png(bits: usize, colour: u8, channels: usize, interlaced: bool, between: &[u8]) -> Vec<u8> {
    let passes: &[[usize; 4]] = if interlaced { &PASSES } else { &[[0, 0, 1, 1]] };
    let mut rows = vec![];
    for &[left, top, across, down] in passes.iter().filter(|[left, ..]| *left < WIDTH) {
        for y in (top..HEIGHT).step_by(down) {
            let numbers = (left..WIDTH)
                .step_by(across)
                .flat_map(|x| (0..channels).map(move |channel| sample(x, y, channel, bits)));
            rows.push(0); // no filter
            rows.extend(packed(numbers, bits, 1));
        }
    }
    let size = [(WIDTH as u32).to_be_bytes(), (HEIGHT as u32).to_be_bytes()].concat();
    let kind = [bits as u8, colour, 0, 0, u8::from(interlaced)];
    let header = chunk(b"IHDR", &[&size[..], &kind].concat());
    let end = [chunk(b"IDAT", &zlib(&rows)), chunk(b"IEND", b"")].concat();
    [b"\x89PNG\r\n\x1a\n", &header[..], between, &end].concat()
}

/// Every pixel in rows from the top.
fn pixels(of: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
    let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    places.flat_map(|(x, y)| of(x, y)).collect()
}

#[test]
fn every_kind_of_png_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let check = |bytes: &[u8], what: &str, of: &dyn Fn(usize, usize) -> [u8; 3]| {
        std::fs::write(&path, bytes).unwrap();
        let picture = read(&path);
        assert_eq!((picture.width, picture.height), (WIDTH, HEIGHT), "{what}");
        assert!(picture.pixels == pixels(of), "{what}");
    };
    let palette: Vec<u8> = (0..48).map(|at| (at * 37 % 256) as u8).collect();
    // Grey or colour samples of 16 bits lose the low byte, but greys without alpha are limited, as in Pillow.
    let high = |bits: usize, number: usize| (number >> (bits - 8)) as u8;
    for interlaced in [false, true] {
        for bits in [1, 2, 4, 8, 16] {
            let most = (1 << bits) - 1;
            let grey = |x, y| {
                let number = sample(x, y, 0, bits);
                [if bits == 16 { number.min(255) } else { number * 255 / most } as u8; 3]
            };
            let what = |kind: &str| format!("{kind}, {bits} bits, interlaced {interlaced}");
            check(&png(bits, 0, 1, interlaced, &[]), &what("grey"), &grey);
            if bits < 16 {
                let transparent = chunk(b"tRNS", &[0, 1]);
                check(&png(bits, 0, 1, interlaced, &transparent), &what("transparent grey"), &grey);
            }
            if bits <= 4 {
                let indexed = |x, y| {
                    let at = 3 * sample(x, y, 0, bits);
                    [palette[at], palette[at + 1], palette[at + 2]]
                };
                let colours = chunk(b"PLTE", &palette[..3 << bits]);
                check(&png(bits, 3, 1, interlaced, &colours), &what("indexed"), &indexed);
                let both = [colours, chunk(b"tRNS", &[0, 128])].concat();
                check(&png(bits, 3, 1, interlaced, &both), &what("transparent"), &indexed);
            }
            if bits >= 8 {
                let of = |x, y, channel| high(bits, sample(x, y, channel, bits));
                let rgb = |x, y| [0, 1, 2].map(|channel| of(x, y, channel));
                let grey = |x, y| [of(x, y, 0); 3];
                check(&png(bits, 2, 3, interlaced, &[]), &what("colour"), &rgb);
                check(&png(bits, 6, 4, interlaced, &[]), &what("colour with alpha"), &rgb);
                check(&png(bits, 4, 2, interlaced, &[]), &what("grey with alpha"), &grey);
            }
        }
    }
}

/// A BMP with a header of 40 bytes, or one of 12 where there is no palette.
fn bmp(
    bits: u16,
    compression: u32,
    short: bool,
    height: i32,
    palette: &[u8],
    data: &[u8],
) -> Vec<u8> {
    let header = if short {
        let size = [(WIDTH as u16).to_le_bytes(), (HEIGHT as u16).to_le_bytes()].concat();
        [&12_u32.to_le_bytes()[..], &size, &1_u16.to_le_bytes(), &bits.to_le_bytes()].concat()
    } else {
        let size = [(WIDTH as i32).to_le_bytes(), height.to_le_bytes()].concat();
        let kind = [&1_u16.to_le_bytes()[..], &bits.to_le_bytes()].concat();
        let colours = (palette.len() as u32 / 4).to_le_bytes();
        let rest = [compression, data.len() as u32, 2835, 2835].map(u32::to_le_bytes).concat();
        [&40_u32.to_le_bytes()[..], &size, &kind, &rest, &colours, &[0; 4]].concat()
    };
    let start = 14 + header.len() + palette.len();
    let whole = ((start + data.len()) as u32).to_le_bytes();
    [b"BM", &whole[..], &[0; 4], &(start as u32).to_le_bytes(), &header, palette, data].concat()
}

#[test]
fn every_kind_of_bmp_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bmp");
    let check = |bytes: &[u8], what: &str, of: &dyn Fn(usize, usize) -> [u8; 3]| {
        std::fs::write(&path, bytes).unwrap();
        let picture = read(&path);
        assert_eq!((picture.width, picture.height), (WIDTH, HEIGHT), "{what}");
        assert!(picture.pixels == pixels(of), "{what}");
    };
    let from_below = || (0..HEIGHT).rev();
    let height = HEIGHT as i32;
    let blue_first = |x: usize, y: usize| (0..3).map(move |channel| sample(x, y, channel, 8));
    let rgb = |x: usize, y: usize| [2, 1, 0].map(|channel| sample(x, y, channel, 8) as u8);
    let row = |y: usize| packed((0..WIDTH).flat_map(|x| blue_first(x, y)), 8, 4);
    let below: Vec<u8> = from_below().flat_map(row).collect();
    check(&bmp(24, 0, false, height, &[], &below), "24 bits", &rgb);
    check(&bmp(24, 0, true, height, &[], &below), "a short header", &rgb);
    let above: Vec<u8> = (0..HEIGHT).flat_map(row).collect();
    check(&bmp(24, 0, false, -height, &[], &above), "rows from the top", &rgb);
    let spare = |y: usize| packed((0..WIDTH).flat_map(|x| blue_first(x, y).chain([99])), 8, 4);
    let spare: Vec<u8> = from_below().flat_map(spare).collect();
    check(&bmp(32, 0, false, height, &[], &spare), "32 bits", &rgb);

    let palette: Vec<u8> =
        (0..1024).map(|at| if at % 4 == 3 { 0 } else { (at * 37 % 256) as u8 }).collect();
    for bits in [1, 4, 8] {
        let row = |y: usize| packed((0..WIDTH).map(|x| sample(x, y, 0, bits)), bits, 4);
        let rows: Vec<u8> = from_below().flat_map(row).collect();
        let indexed = |x: usize, y: usize| {
            let at = 4 * sample(x, y, 0, bits);
            [palette[at + 2], palette[at + 1], palette[at]]
        };
        let colours = &palette[..4 << bits];
        check(
            &bmp(bits as u16, 0, false, height, colours, &rows),
            &format!("{bits} bits"),
            &indexed,
        );
        if bits == 8 {
            // Runs of one, four literal ones in every row, the end of a row, the end of all.
            let row = |y: usize| {
                let number = move |x: usize| sample(x, y, 0, 8) as u8;
                let literal = [0, 4, number(0), number(1), number(2), number(3)];
                literal
                    .into_iter()
                    .chain((4..WIDTH).flat_map(move |x| [1, number(x)]))
                    .chain([0, 0])
            };
            let runs: Vec<u8> = from_below().flat_map(row).chain([0, 1]).collect();
            check(&bmp(8, 1, false, height, colours, &runs), "runs", &indexed);
        }
    }
}

/// A file of `tests/webp`, written by Pillow 13.0.0 (libwebp 1.6), its size, and the first 16 bytes of the SHA-256 of
/// `Image.open(file).convert("RGB").tobytes()`: of an animation the first frame, alpha dropped.
const WEBP: [(&str, (usize, usize), &str); 4] = [
    ("alpha_lossy", (40, 30), "f1db25ebab50e737e4066947315f0c3b"),
    ("animated", (40, 30), "80653f6ac6b02b5dc1f64f41fa664310"),
    ("lossless_3x2", (3, 2), "be790d19b1b2d408353894ddc0468f98"),
    ("lossy_41x31", (41, 31), "ef34160a7e3ab4d48a1a5f8216015194"),
];

#[test]
fn webp_pictures_are_those_of_pillow() {
    use sha2::{Digest, Sha256};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webp");
    for (name, size, expect) in WEBP {
        let picture = read(&folder.join(format!("{name}.webp")));
        assert_eq!((picture.width, picture.height), size, "{name}");
        let digest = xcomp_data::hash::hex(&Sha256::digest(&picture.pixels)[..16]);
        assert_eq!(digest, expect, "{name}");
    }
}

/// A picture is told by its bytes, whatever its name says.
#[test]
fn a_wrong_suffix_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = png(8, 2, 3, false, &[]);
    for name in ["a.png", "a.jpg", "a.WEBP", "a.bmp", "a"] {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let expect = pixels(|x, y| [0, 1, 2].map(|channel| sample(x, y, channel, 8) as u8));
        assert!(read(&path).pixels == expect, "{name}");
    }
}
