//! One entry of the mixture, and how its media are read.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How the media of a dataset are read, `video_read_type` of the mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadType {
    /// Video files; frame rate from the container.
    Decord,
    /// Video files; frame rate from the number of frames and the duration.
    Av,
    /// Animated gifs, one frame a second.
    Gif,
    /// Folders of pictures.
    Img,
    /// The same as `img`.
    Frame,
    /// Parts of video files at one frame a second.
    Lazy,
    /// Noise instead of a video, for trying out.
    Fake,
}

/// One entry of the mixture.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its `tag`, or the stem of its annotation file.
    pub tag: Arc<str>,
    /// The annotation file.
    pub annotation: PathBuf,
    /// Where its media paths start.
    pub data_root: PathBuf,
    /// How its videos are read; `None` means by the file.
    pub read_type: Option<ReadType>,
    /// Records in the annotation file.
    pub total: usize,
    /// Records that sampling chose.
    pub chosen: usize,
}
