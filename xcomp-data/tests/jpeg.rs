//! JPEG files that Pillow 13.0.0 (libjpeg-turbo) wrote from a drawn picture, and what it reads from them.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};
use xcomp_data::Limits;
use xcomp_data::media::picture::read_picture;

/// A file of `tests/jpeg`, and the first 16 bytes of the SHA-256 of `Image.open(file).convert("RGB").tobytes()`.
const READ_BY_PILLOW: [(&str, &str); 8] = [
    ("baseline_420", "42ad5d921bb63373b5d7b385aa4bf900"),
    ("baseline_422", "b175ecfcdcc0e540d5979508dce02ea9"),
    ("baseline_444", "7c26a6f552f0b531b6a997e912fd9fd7"),
    ("progressive_420", "42ad5d921bb63373b5d7b385aa4bf900"),
    ("progressive_444_restarts", "7c373d90dc2fedccc636207776655d9b"),
    ("restarts_420", "8aa4d2bf04e780d8aa2f8f5472c5a417"),
    ("grey", "44236b157248477a8d3832f812a5035f"),
    ("progressive_grey", "44236b157248477a8d3832f812a5035f"),
];

#[test]
fn pictures_are_those_of_libjpeg() {
    for (name, expect) in READ_BY_PILLOW {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/jpeg/{name}.jpg"));
        let picture = read_picture(&path, &Limits::default()).unwrap();
        assert_eq!((picture.width, picture.height), (67, 49), "{name}");
        let mut digest = String::new();
        for byte in &Sha256::digest(&picture.pixels)[..16] {
            write!(digest, "{byte:02x}").unwrap();
        }
        assert_eq!(digest, expect, "{name}");
    }
}

/// A file that is cut off is read as far as it goes, or given to the general decoder, which may refuse it.
#[test]
fn cut_files_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in READ_BY_PILLOW {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/jpeg/{name}.jpg"));
        let bytes = std::fs::read(source).unwrap();
        let path = folder.path().join("cut.jpg");
        for length in (0..bytes.len()).step_by(37) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            if let Ok(picture) = read_picture(&path, &Limits::default()) {
                assert_eq!(
                    picture.pixels.len(),
                    3 * picture.width * picture.height,
                    "{name} at {length}"
                );
            }
        }
    }
}
