//! Pictures whose files end too early: refused, or padded as Pillow 13.0.0 does under `ImageFile.LOAD_TRUNCATED_IMAGES = True`.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

use std::path::{Path, PathBuf};

use xcomp_data::media::picture::{Rgb, read_picture};
use xcomp_data::{DataError, Limits, Truncated};

#[path = "common/png.rs"]
mod png;
use png::chunk;

fn read(path: &Path, truncated: Truncated) -> Result<Rgb, DataError> {
    read_picture(path, &Limits::default(), truncated)
}

/// The first bytes of a file of `tests/jpeg`, in a file of their own.
fn cut(folder: &Path, name: &str, kept: usize) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/jpeg/{name}.jpg"));
    let path = folder.join("cut.jpg");
    std::fs::write(&path, &std::fs::read(file).unwrap()[..kept]).unwrap();
    path
}

fn assert_refused(path: &Path, truncated: Truncated) {
    let message = read(path, truncated).unwrap_err().to_string();
    assert!(message.contains("truncated") && message.contains("cut"), "{message}");
}

/// File, bytes kept, and the first 16 bytes of the SHA-256 of what Pillow's `convert("RGB")` gives.
#[cfg(feature = "turbojpeg")]
const PADDED_BY_PILLOW: [(&str, usize, &str); 13] = [
    ("baseline_420", 684, "9a0ac5efb56133a38924c6abf00e38d7"),
    ("baseline_420", 1024, "c3a747e7486a5f856c047b74713f7124"),
    ("baseline_420", 1534, "829ab218f38507a299be87b58481b0e8"),
    ("baseline_444", 1027, "b86912e01535ed3bbd1227420071fa4e"),
    ("baseline_444", 2391, "68a1d0889ae65c908ea4408194a611a8"),
    ("baseline_422", 1014, "751fa13e9d545bf43cb5db5fdd18ed91"),
    ("grey", 508, "81f17e22f2b6143a000030abad4fd45d"),
    ("restarts_420", 1120, "8604b18548cb3701c3535478a8a70dbd"),
    ("cmyk", 1236, "7dc9b35588bb405ff49d6d05b1fb5f8c"),
    ("ycck_444", 1425, "ac1616ae908ac15edf5aef6818ab272d"),
    ("progressive_444_restarts", 683, "1c8154c889a61e5d7554729bb18dcf1a"),
    ("progressive_444_restarts", 1250, "a9b99995561e2e135ed69bf748d30db3"),
    ("progressive_444_restarts", 2041, "3541d5f93ab25f014cfcbe2a0ef91562"),
];

#[cfg(feature = "turbojpeg")]
#[test]
fn jpegs_are_padded_as_by_pillow() {
    use sha2::{Digest, Sha256};
    let folder = tempfile::tempdir().unwrap();
    for (name, kept, expect) in PADDED_BY_PILLOW {
        let path = cut(folder.path(), name, kept);
        let picture = read(&path, Truncated::Pad).unwrap();
        let digest = xcomp_data::hash::hex(&Sha256::digest(&picture.pixels)[..16]);
        assert_eq!(digest, expect, "{name} at {kept}");
        assert_refused(&path, Truncated::Refuse);
    }
}

/// Pillow gives black here; the scans before the cut say more.
#[cfg(feature = "turbojpeg")]
#[test]
fn a_segment_that_is_cut_takes_nothing_from_the_scans_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let name = "progressive_grey";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/jpeg/{name}.jpg"));
    let bytes = std::fs::read(file).unwrap();
    let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
    let table = scan + 2 + bytes[scan + 2..].windows(2).position(|p| p == [0xff, 0xc4]).unwrap();
    let whole = read(&cut(folder.path(), name, table), Truncated::Pad).unwrap();
    assert!(whole.pixels.iter().any(|value| *value != whole.pixels[0]), "one colour");
    for more in 1..12 {
        let path = cut(folder.path(), name, table + more);
        assert!(read(&path, Truncated::Pad).unwrap() == whole, "{more} bytes of the segment");
    }
}

#[test]
fn a_jpeg_without_a_scan_is_refused_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kept) in [("baseline_420", 200), ("progressive_420", 150), ("arithmetic_420", 500)] {
        assert_refused(&cut(folder.path(), name, kept), Truncated::Pad);
    }
}

const WIDTH: usize = 5;
const HEIGHT: usize = 4;

/// The head of a PNG file, as far as its first row, and its rows, which are stored as they are; what follows is missing.
fn png(depth: u8, colour: u8, palette: &[u8], rows: &[u8]) -> Vec<u8> {
    let size = [(WIDTH as u32).to_be_bytes(), (HEIGHT as u32).to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&size[..], &[depth, colour, 0, 0, 0]].concat());
    let palette = if palette.is_empty() { vec![] } else { chunk(b"PLTE", palette) };
    let length = 1000_u32.to_be_bytes(); // of more than is there
    let stored = [0x78, 1, 1, 200, 0, !200, 0xff]; // a block of 200 bytes, not compressed
    [b"\x89PNG\r\n\x1a\n", &header[..], &palette, &length, b"IDAT", &stored, rows].concat()
}

/// The pixel that bytes make.
type Shown<'a> = &'a dyn Fn(&[u8]) -> [u8; 3];

/// Rows that are not whole are black; in a palette that is its first colour.
#[test]
fn pngs_are_padded_with_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.png");
    let palette = [7, 8, 9, 10, 20, 30, 40, 50, 60];
    let value = |at: usize| (at * 37 % 251) as u8 + 1;
    // Depth, colour, palette, bytes of a pixel, and the pixel that they make.
    let kinds: [(u8, u8, &[u8], usize, Shown<'_>); 5] = [
        (8, 2, &[], 3, &|pixel| [pixel[0], pixel[1], pixel[2]]),
        (8, 0, &[], 1, &|pixel| [pixel[0]; 3]),
        (8, 6, &[], 4, &|pixel| [pixel[0], pixel[1], pixel[2]]),
        (16, 2, &[], 6, &|pixel| [pixel[0], pixel[2], pixel[4]]),
        (8, 3, &palette, 1, &|pixel| {
            let at = 3 * usize::from(pixel[0]);
            [palette[at], palette[at + 1], palette[at + 2]]
        }),
    ];
    for (depth, colour, palette, size, shown) in kinds {
        let number = |at| if palette.is_empty() { value(at) } else { value(at) % 3 };
        let pixels: Vec<u8> = (0..WIDTH * HEIGHT * size).map(number).collect();
        let rows = pixels.chunks(WIDTH * size).flat_map(|row| [&[0], row].concat());
        let rows: Vec<u8> = rows.collect();
        for kept in 0..HEIGHT * (WIDTH * size + 1) {
            std::fs::write(&path, png(depth, colour, palette, &rows[..kept])).unwrap();
            let picture = read(&path, Truncated::Pad).unwrap();
            let whole = kept / (WIDTH * size + 1) * WIDTH;
            let ground = palette.first_chunk().copied().unwrap_or([0; 3]);
            let expect: Vec<u8> = pixels
                .chunks(size)
                .enumerate()
                .flat_map(|(at, pixel)| if at < whole { shown(pixel) } else { ground })
                .collect();
            assert_eq!(picture.pixels, expect, "{depth} bits, colour {colour}, {kept} bytes");
            assert_refused(&path, Truncated::Refuse);
        }
    }
}

/// Pillow pads no WebP either; of GIF and BMP it does.
#[test]
fn other_kinds_are_refused_all_the_same() {
    use image::{DynamicImage, ImageFormat};
    let folder = tempfile::tempdir().unwrap();
    let picture = DynamicImage::new_rgb8(40, 30);
    for format in [ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        let bytes = bytes.into_inner();
        let path = folder.path().join("cut");
        std::fs::write(&path, &bytes[..bytes.len() * 3 / 5]).unwrap();
        for truncated in [Truncated::Refuse, Truncated::Pad] {
            assert!(read(&path, truncated).is_err(), "{format:?} {truncated:?}");
        }
    }
}
