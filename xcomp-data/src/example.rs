//! A sample as the model gets it.

use std::sync::Arc;

use crate::annotation::Media;
use crate::frames::Choice;

/// Pictures of one sample, RGB, `[count, size, size, 3]`, rows from the top.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Frames {
    /// One byte per channel; not yet normalised.
    pub pixels: Vec<u8>,
    /// Number of pictures.
    pub count: usize,
    /// Width and height of each, in pixels.
    pub size: usize,
}

/// One sample, ready to be uploaded: pictures and labelled tokens.
#[derive(Debug, Clone)]
pub struct Example {
    /// The pictures; one for an image, whole clips for a video.
    pub frames: Frames,
    /// What they are.
    pub media: Media,
    /// Token ids with one [`IMAGE_TOKEN`](crate::IMAGE_TOKEN).
    pub input_ids: Vec<i32>,
    /// Target of each position, or [`IGNORE`](crate::IGNORE).
    pub labels: Vec<i32>,
    /// Tokens of the system turn and the first human turn.
    pub first_turn: usize,
    /// Dataset that the sample comes from.
    pub source: Arc<str>,
    /// Its id in the annotation.
    pub id: String,
    /// Index in the mixture of the record that is shown.
    pub record: usize,
    /// Words of the conversation.
    pub words: usize,
    /// Which frames of the video these are.
    pub choice: Choice,
}

impl Frames {
    /// Bytes of one picture.
    pub fn frame_bytes(&self) -> usize {
        self.size * self.size * 3
    }

    /// The pictures one after the other.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.frame_bytes().max(1))
    }
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frames({} of {} x {})", self.count, self.size, self.size)
    }
}
