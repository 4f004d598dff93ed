//! Keys: hashes over everything that decides the features of a sample.

use sha2::{Digest, Sha256};

use crate::frames::{FrameOptions, TimeMessage};
use crate::media::picture::JPEG_DECODER;
use crate::media::read::Source;

/// Version of the numbers that media become: which frames are taken, and what their pixels are.
///
/// Raise it with every change of the code that moves one of them: features of other versions are not found.
/// What pins the numbers: the golden cases `h_*` and the decoding tests.
const FRAMES: u32 = 1;
/// Where JPEG pictures are not decoded to Pillow's bytes, the decoder's name is part of every key.
const OTHER_JPEG: Option<&str> =
    if cfg!(feature = "turbojpeg") { None } else { Some(JPEG_DECODER) };

/// Names a record of the store.
pub type Key = [u8; 32];

/// What turns frames into features, described part by part.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    hasher: Sha256,
}

impl Encoder {
    /// Adds a part: weights, code, sizes, formats.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        add(&mut self.hasher, name.as_bytes());
        add(&mut self.hasher, value);
        self
    }

    pub(super) fn key(&self) -> Key {
        self.hasher.clone().finalize().into()
    }
}

/// The key of the features of a source: the frames that are chosen follow from its bytes and the options.
pub(super) fn of_features(
    encoder: &Key,
    content: &Key,
    source: &Source,
    options: &FrameOptions,
) -> Key {
    // What the prompt says of a video does not change its frames.
    let options = FrameOptions { time_message: TimeMessage::None, ..options.clone() };
    let options = serde_json::to_string(&options).expect("options are plain data");
    let part = source.part.map(|(start, end)| (start.to_bits(), end.to_bits()));
    let how = format!("{:?} {:?} {part:?}", source.media, source.read_type);
    let mut hasher = Sha256::new();
    let version = FRAMES.to_le_bytes();
    let parts =
        [b"features".as_slice(), encoder, content, options.as_bytes(), how.as_bytes(), &version];
    for part in parts.into_iter().chain(OTHER_JPEG.map(str::as_bytes)) {
        add(&mut hasher, part);
    }
    hasher.finalize().into()
}

/// Lengths keep parts apart.
pub(super) fn add(hasher: &mut Sha256, part: &[u8]) {
    hasher.update((part.len() as u64).to_le_bytes());
    hasher.update(part);
}
