//! JPEG files of a drawn picture, and what Pillow 13.0.0 (libjpeg-turbo 3.2.0) reads from them.
//!
//! Pillow wrote the baseline ones at 4:4:4, 4:2:2 and 4:2:0, grey, `odd_*`, `rgb` (no change of colours), `cmyk` and `exif_rotated` (which
//! stays as it is stored); cjpeg 2.1.5 the other samplings, the arithmetic one and restarts at every group; `TurboJPEG` 2.1.5 `ycck_*`.
//! `cmyk_without_adobe` lacks its marker; `corrupt_440` has 30 wrong bytes, `corrupt_restart_422` one wrong marker, `extraneous` nine bytes too many.

use std::path::{Path, PathBuf};

use xcomp_data::media::picture::read_picture;
use xcomp_data::{Limits, Truncated};

/// A file of `tests/jpeg`, width and height, and the first 16 bytes of the SHA-256 of `Image.open(file).convert("RGB").tobytes()`.
const READ_BY_PILLOW: [(&str, (usize, usize), &str); 29] = [
    ("arithmetic_420", (37, 27), "3561df909bf4c804002d214a6ff83298"),
    ("baseline_410", (37, 27), "1f6f8cf9004b436bf52fad5626adabaf"),
    ("baseline_411", (37, 27), "ecc641150f6c60d9c5258a12e21c0ed8"),
    ("baseline_420", (67, 49), "42ad5d921bb63373b5d7b385aa4bf900"),
    ("baseline_422", (67, 49), "b175ecfcdcc0e540d5979508dce02ea9"),
    ("baseline_440", (37, 27), "6ab78a67d185265d4b4396a3d52a2bba"),
    ("baseline_441", (37, 27), "601e8b45eb25b94df11661294ec8236e"),
    ("baseline_444", (67, 49), "7c26a6f552f0b531b6a997e912fd9fd7"),
    ("cmyk", (37, 27), "3bd72b1e6209cd1bbb7e80785c386920"),
    ("cmyk_without_adobe", (37, 27), "3bd72b1e6209cd1bbb7e80785c386920"),
    ("corrupt_440", (37, 27), "1d57c8958ecc34df0a8f27557e549ae9"),
    ("corrupt_restart_422", (37, 27), "38d4840f3c6fd41e07fd5a4fcd58a1c8"),
    ("exif_rotated", (37, 27), "3561df909bf4c804002d214a6ff83298"),
    ("extraneous", (5, 17), "ee04598a352bed0be8a927d02f4bc844"),
    ("grey", (67, 49), "44236b157248477a8d3832f812a5035f"),
    ("odd_1x1_420", (1, 1), "86a45d2328677f8c400f926ae60db71f"),
    ("odd_2x3_420", (2, 3), "59c1a06add32fd169d6d392a0a250538"),
    ("odd_3x2_420", (3, 2), "76508223e0a9176486677e96e628b825"),
    ("odd_4x5_422", (4, 5), "14e0df1a8817cb2e4b80b8eac160948a"),
    ("odd_5x17_420", (5, 17), "ee04598a352bed0be8a927d02f4bc844"),
    ("progressive_420", (67, 49), "42ad5d921bb63373b5d7b385aa4bf900"),
    ("progressive_440", (37, 27), "6ab78a67d185265d4b4396a3d52a2bba"),
    ("progressive_444_restarts", (67, 49), "7c373d90dc2fedccc636207776655d9b"),
    ("progressive_grey", (67, 49), "44236b157248477a8d3832f812a5035f"),
    ("restarts_420", (67, 49), "8aa4d2bf04e780d8aa2f8f5472c5a417"),
    ("restarts_422", (37, 27), "38d4840f3c6fd41e07fd5a4fcd58a1c8"),
    ("rgb", (37, 27), "7f441710a7dc935810f1dbf4430e4ee5"),
    ("ycck_420", (37, 27), "fe2061b4a9c2932d20f8fa4d1736b12e"),
    ("ycck_444", (37, 27), "a4becfc5e859118884f250ede995bf0d"),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/jpeg/{name}.jpg"))
}

#[cfg(feature = "turbojpeg")]
#[test]
fn pictures_are_those_of_pillow() {
    use sha2::{Digest, Sha256};
    for (name, size, expect) in READ_BY_PILLOW {
        let picture = read_picture(&file(name), &Limits::default(), Truncated::Refuse).unwrap();
        assert_eq!((picture.width, picture.height), size, "{name}");
        let digest = xcomp_data::hash::hex(&Sha256::digest(&picture.pixels)[..16]);
        assert_eq!(digest, expect, "{name}");
    }
}

/// The other decoder knows no arithmetic coding.
#[cfg(not(feature = "turbojpeg"))]
#[test]
fn pictures_have_their_size() {
    for (name, size, _) in
        READ_BY_PILLOW.into_iter().filter(|(name, ..)| !name.contains("arithmetic"))
    {
        let picture = read_picture(&file(name), &Limits::default(), Truncated::Refuse).unwrap();
        assert_eq!((picture.width, picture.height), size, "{name}");
    }
}

/// A file that is cut off is given to the general decoder, which may refuse it (Pillow does).
#[test]
fn cut_files_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.jpg");
    for (name, ..) in READ_BY_PILLOW {
        let bytes = std::fs::read(file(name)).unwrap();
        for length in (0..bytes.len()).step_by(37) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            if let Ok(picture) = read_picture(&path, &Limits::default(), Truncated::Refuse) {
                let expect = 3 * picture.width * picture.height;
                assert_eq!(picture.pixels.len(), expect, "{name} at {length}");
            }
        }
    }
}
