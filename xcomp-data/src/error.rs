//! What can go wrong between a mixture file and an [`Example`](crate::Example).

use std::path::PathBuf;

/// An error of the data side; each message names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mixture is not the YAML that it should be.
    #[error("mixture {path} is not valid: {message}")]
    Yaml {
        /// The mixture file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A dataset of the mixture has a setting that cannot be followed.
    #[error("mixture {path}, dataset `{dataset}`: {message}")]
    Dataset {
        /// The mixture file.
        path: PathBuf,
        /// The dataset's annotation as written.
        dataset: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// An annotation file is not valid JSON, or a record lacks what a record needs.
    #[error("annotation {path}, byte {offset}: {message}")]
    Json {
        /// The annotation file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong.
        message: String,
    },
    /// An annotation file has no record.
    #[error("annotation {path} holds no record; remove it from the mixture or fill it")]
    EmptyAnnotation {
        /// The annotation file.
        path: PathBuf,
    },
    /// Nothing is left to train on.
    #[error(
        "mixture {path} yields no sample: every record was dropped by sampling or by modality \
         (one image or one video per record is kept)"
    )]
    EmptyMixture {
        /// The mixture file.
        path: PathBuf,
    },
    /// None of the first media files of a dataset exists.
    #[error(
        "dataset {annotation}: none of the first {tried} media files exists (first: {first}); \
         check data_root in {mixture}"
    )]
    MissingMedia {
        /// The mixture file.
        mixture: PathBuf,
        /// The annotation file.
        annotation: PathBuf,
        /// How many paths were tried.
        tried: usize,
        /// The first of them.
        first: PathBuf,
    },
    /// An annotation points outside its `data_root`.
    #[error(
        "annotation {annotation}, record `{id}`: media path `{media}` leaves data_root (absolute \
         or `..`); fix it, or allow outside paths in the recipe"
    )]
    OutsideRoot {
        /// The annotation file.
        annotation: PathBuf,
        /// The record.
        id: String,
        /// The path as written.
        media: String,
    },
    /// The tokenizer file cannot be used.
    #[error("cannot load tokenizer {path}: {message}; give a Hugging Face tokenizer.json")]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The tokenizer lacks a token that the chat template needs.
    #[error("tokenizer {path} has no token `{token}`, which the Qwen chat template needs")]
    MissingToken {
        /// The tokenizer file.
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// A conversation cannot be rendered.
    #[error("record `{id}`: {message}")]
    Prompt {
        /// The record.
        id: String,
        /// What is wrong with its conversation.
        message: String,
    },
    /// A media file has no picture to decode.
    #[error("{path} has no video stream; it cannot be used as a video")]
    NoVideoStream {
        /// The media file.
        path: PathBuf,
    },
    /// A media file cannot be decoded.
    #[error("cannot decode {path}: {message}")]
    Decode {
        /// The media file.
        path: PathBuf,
        /// What the decoder said.
        message: String,
    },
    /// A video is too short to fill one clip.
    #[error("{path} has {frames} frames, fewer than one clip of {clip_frames}")]
    TooShort {
        /// The media file or folder.
        path: PathBuf,
        /// Frames in it.
        frames: usize,
        /// Frames of a clip.
        clip_frames: usize,
    },
    /// A picture is larger than the limit.
    #[error(
        "{path} is {width} x {height} pixels, above the limit of {limit} pixels; shrink it or raise max_pixels"
    )]
    TooLarge {
        /// The media file.
        path: PathBuf,
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
        /// Allowed pixels.
        limit: u64,
    },
    /// Reading took longer than allowed, or was cancelled.
    #[error("{path}: gave up after {what}")]
    GaveUp {
        /// The media file.
        path: PathBuf,
        /// Which limit was reached.
        what: String,
    },
    /// This build or this reader cannot read such a file.
    #[error("{path}: {message}")]
    Unsupported {
        /// The media file.
        path: PathBuf,
        /// Why, and what can.
        message: String,
    },
    /// Options that contradict each other.
    #[error("data options: {0}")]
    Options(String),
    /// A resumed run meets another mixture or seed than it was saved with.
    #[error(
        "cannot resume: the saved position belongs to {saved}, this run has {now}; restore the mixture, seed and sampling of the run, or start anew"
    )]
    WrongMixture {
        /// Hash and seed of the position.
        saved: String,
        /// Hash and seed of the stream.
        now: String,
    },
    /// The position says that every epoch has been handed out, or the queue of workers broke.
    #[error("internal: {0}")]
    Internal(String),
    /// Too many samples could not be read.
    #[error("stopped: {what}; last: {last}")]
    TooManyBad {
        /// Which threshold was passed.
        what: String,
        /// The last error.
        last: String,
    },
    /// A sample and all of its neighbours failed, or the policy is `fail`.
    #[error("sample {index} of {source_tag} cannot be read: {message}")]
    BadSample {
        /// Index in the mixture.
        index: usize,
        /// Its dataset.
        source_tag: String,
        /// The underlying error.
        message: String,
    },
}

impl DataError {
    /// An error for a file that could not be read.
    pub(crate) fn read(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}
