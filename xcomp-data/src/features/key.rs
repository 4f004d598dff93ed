//! Keys: hashes over everything that decides the features of a sample.

use sha2::{Digest, Sha256};

use crate::frames::{FrameOptions, TimeMessage};
use crate::media::picture::JPEG_DECODER;
use crate::media::read::Source;

/// Version of the numbers that media become: which frames are taken, and what their pixels are.
///
/// Raise it with every change of the code that moves one of them: features of other versions are not found.
/// What pins the numbers: the golden cases `h_*` and the decoding tests.
const FRAMES: u32 = 2;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::content::content_of;
    use crate::features::store::{Store, StoreOptions};
    use crate::frames::Truncated;
    use crate::mixture::ReadType;
    use crate::mixture::annotation::Media;

    /// The keys of a picture and of a part of a video, as stores on disk have them.
    #[test]
    fn keys_stay_as_they_are_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { max_bytes: 1 << 20, now: std::time::UNIX_EPOCH };
        let store = Store::open(&folder.path().join("store"), options).unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"one").unwrap();
        let key = |media, read_type, part| {
            let source = Source { media, path: path.clone(), read_type, part };
            let content = content_of(&store, &source).unwrap();
            crate::hash::hex(&of_features(&[7; 32], &content, &source, &FrameOptions::default()))
        };
        let keys = [
            key(Media::Image, None, None),
            key(Media::Video, Some(ReadType::Img), Some((1.0, 2.5))),
        ];
        assert_eq!(
            keys,
            [
                "1cb56a4d0e328505cbb3d4dcbf1907b0acf85fd46063c48c0a37f5d5b475760b",
                "e0926a0c3bc6a5a84dec68177423a30006b5eb404a8e459792b9fdfe12fac65c",
            ]
        );
    }

    /// What is padded is not found where it has to be refused.
    #[test]
    fn padded_pictures_have_keys_of_their_own() {
        let source =
            Source { media: Media::Image, path: "a.png".into(), read_type: None, part: None };
        let key = |truncated| {
            let options = FrameOptions { truncated, ..FrameOptions::default() };
            of_features(&[7; 32], &[8; 32], &source, &options)
        };
        assert_ne!(key(Truncated::Refuse), key(Truncated::Pad));
    }
}
