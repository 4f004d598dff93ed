//! A sample as the model gets it.

use std::sync::Arc;

use crate::features::{FeatureSlot, Features};
use crate::frames::Choice;
use crate::mixture::annotation::Media;

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

/// What the model sees of a sample.
#[derive(Debug, Clone)]
pub enum Visual {
    /// Its pictures, one for an image, whole clips for a video; and where their features belong, if those are kept.
    Frames(Frames, Option<FeatureSlot>),
    /// What the tower made of them before; no picture was read.
    Features(Features),
}

/// One sample, ready to be uploaded: pictures and labelled tokens.
#[derive(Debug, Clone)]
pub struct Example {
    /// Pictures, or their features.
    pub visual: Visual,
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

impl Example {
    /// Its pictures; `None` if their features were there.
    pub fn frames(&self) -> Option<&Frames> {
        match &self.visual {
            Visual::Frames(frames, _) => Some(frames),
            Visual::Features(_) => None,
        }
    }
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
