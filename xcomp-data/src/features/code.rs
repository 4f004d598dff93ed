//! The code that turns media into frames, as text: features that are kept belong to this code.

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        /// Files that decide which frames are taken and what their pixels are, by path.
        pub(super) const FRAME_CODE: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../", $path)))),*];
    };
}

files!(
    "decode/colour.rs",
    "decode/frames.rs",
    "decode/index.rs",
    "decode/mod.rs",
    "decode/open.rs",
    "decode/rotate.rs",
    "frames.rs",
    "jpeg/bits.rs",
    "jpeg/mod.rs",
    "jpeg/pixels.rs",
    "jpeg/scan.rs",
    "load.rs",
    "picture.rs",
    "python.rs",
    "read/gif.rs",
    "read/mod.rs",
    "read/noise.rs",
    "read/pictures.rs",
    "read/video.rs",
    "resize.rs",
    "resize/weights.rs",
);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_that_makes_frames_is_listed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for folder in ["decode", "jpeg", "read", "resize"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                assert!(FRAME_CODE.iter().any(|(listed, _)| *listed == name), "{name}");
            }
        }
    }
}
