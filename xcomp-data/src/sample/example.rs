//! A sample as the model gets it.

use std::sync::Arc;

use crate::features::{FeatureSlot, Features};
use crate::frames::{Choice, TimeMessage};
use crate::mixture::annotation::Media;

/// Pictures of one visual, RGB, `[count, size, size, 3]`, rows from the top.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Frames {
    /// One byte per channel; not yet normalised.
    pub pixels: Vec<u8>,
    /// Number of pictures.
    pub count: usize,
    /// Width and height of each, in pixels.
    pub size: usize,
}

/// One image or video of a sample.
#[derive(Debug, Clone)]
pub struct Visual {
    /// Whether it is a picture or a video.
    pub media: Media,
    /// Which frames of the file these are.
    pub choice: Choice,
    /// Its pictures, or their features.
    pub data: VisualData,
}

/// What the model sees of a visual.
#[derive(Debug, Clone)]
pub enum VisualData {
    /// Its pictures, one for an image, whole clips for a video; and where their features belong, if those are kept.
    Frames(Frames, Option<FeatureSlot>),
    /// What the tower made of them before; no picture was read.
    Features(Features),
}

/// One sample, ready to be uploaded: what it shows, and labelled tokens.
#[derive(Debug, Clone)]
pub struct Example {
    /// What it shows, in the order of its conversation.
    pub visuals: Vec<Visual>,
    /// Token ids with an [`IMAGE_TOKEN`](crate::IMAGE_TOKEN) for each visual.
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
    /// Whether a video of it has the most frames that fit into the longest sequence, where longer samples are to lose frames.
    pub limited: bool,
}

impl Example {
    /// The pictures of its visuals, without those whose features were there.
    pub fn frames(&self) -> impl Iterator<Item = &Frames> {
        self.visuals.iter().filter_map(Visual::frames)
    }

    /// Frames of all its visuals; a picture is one.
    pub fn frame_count(&self) -> usize {
        self.visuals.iter().map(|visual| visual.choice.indices.len()).sum()
    }
}

impl Visual {
    /// Its pictures; `None` if their features were there.
    pub fn frames(&self) -> Option<&Frames> {
        match &self.data {
            VisualData::Frames(frames, _) => Some(frames),
            VisualData::Features(_) => None,
        }
    }

    /// What the prompt says of it after its `<image>`; nothing of a picture.
    pub fn message(&self, kind: TimeMessage) -> String {
        match self.media {
            Media::Image => String::new(),
            Media::Video => self.choice.message(kind),
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
