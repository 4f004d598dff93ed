//! What can go wrong between a mixture file and an [`Example`](crate::Example).

use std::path::PathBuf;

/// An error of the data side; each message names the file and what to do about it.
#[expect(missing_docs, reason = "fields are named in the message")]
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// A file of events is not what it should be.
    #[error("events {path}, line {line}: {message}")]
    Events { path: PathBuf, line: usize, message: String },
    /// The mixture is not the YAML that it should be.
    #[error("mixture {path} is not valid: {message}")]
    Yaml { path: PathBuf, message: String },
    /// A dataset of the mixture has a setting that cannot be followed.
    #[error("mixture {path}, dataset `{dataset}`: {message}")]
    Dataset { path: PathBuf, dataset: String, message: String },
    /// An annotation file is not valid JSON, or a record lacks what a record needs.
    #[error("annotation {path}, byte {offset}: {message}")]
    Json { path: PathBuf, offset: u64, message: String },
    /// An annotation file has no record.
    #[error("annotation {path} holds no record; remove it from the mixture or fill it")]
    EmptyAnnotation { path: PathBuf },
    /// Nothing is left to train on.
    #[error(
        "mixture {path} yields no sample: every record was dropped by sampling or by modality \
         (one image or one video per record is kept){notes}"
    )]
    EmptyMixture { path: PathBuf, notes: String },
    /// None of the first media files of a dataset exists.
    #[error(
        "dataset {annotation}: none of the first {tried} media files exists (first: {first}); \
         check data_root in {mixture}"
    )]
    MissingMedia { mixture: PathBuf, annotation: PathBuf, tried: usize, first: PathBuf },
    /// The tokenizer file cannot be used.
    #[error("cannot load tokenizer {path}: {message}; give a Hugging Face tokenizer.json")]
    Tokenizer { path: PathBuf, message: String },
    /// The tokenizer lacks a token that the chat template needs.
    #[error("tokenizer {path} has no token `{token}`, which the chat template of the model needs")]
    MissingToken { path: PathBuf, token: String },
    /// A conversation cannot be rendered.
    #[error("record `{id}`: {message}")]
    Prompt { id: String, message: String },
    /// A sample has more tokens than the recipe allows.
    #[error(
        "record `{id}` has {tokens} tokens, model_max_length is {limit}; lower [data] max_frames, or say in [data] too_long what it does"
    )]
    TooLong { id: String, tokens: usize, limit: usize },
    /// A text has a token that the model does not know.
    #[error(
        "{what} has the token {token}, the model's vocabulary has {rows} entries; is model.tokenizer that of the model?"
    )]
    Token { what: String, token: i32, rows: usize },
    /// A media file has no picture to decode.
    #[error("{path} has no video stream; it cannot be used as a video")]
    NoVideoStream { path: PathBuf },
    /// A media file cannot be decoded.
    #[error("cannot decode {path}: {message}")]
    Decode { path: PathBuf, message: String },
    /// A video is too short to fill one clip.
    #[error("{path} has {frames} frames, fewer than one clip of {clip_frames}")]
    TooShort { path: PathBuf, frames: usize, clip_frames: usize },
    /// A picture is larger than the limit.
    #[error(
        "{path} is {width} x {height} pixels, above the limit of {limit} pixels; shrink it or raise max_pixels"
    )]
    TooLarge { path: PathBuf, width: u64, height: u64, limit: u64 },
    /// Reading took longer than allowed, or was cancelled.
    #[error("{path}: gave up after {what}")]
    GaveUp { path: PathBuf, what: String },
    /// This build or this reader cannot read such a file.
    #[error("{path}: {message}")]
    Unsupported { path: PathBuf, message: String },
    /// Options that contradict each other.
    #[error("data options: {0}")]
    Options(String),
    /// A resumed run meets another mixture or seed than it was saved with.
    #[error(
        "cannot resume: the saved position belongs to {saved}, this run has {now}; restore the mixture, seed and sampling of the run, or start anew"
    )]
    WrongMixture { saved: String, now: String },
    /// The position says that every epoch has been handed out, or the queue of workers broke.
    #[error("internal: {0}")]
    Internal(String),
    /// Too many samples could not be read.
    #[error("stopped: {what}; last: {last}")]
    TooManyBad { what: String, last: String },
    /// A sample and all of its neighbours failed, or the policy is `fail`.
    #[error("sample {index} of {source_tag} cannot be read: {message}")]
    BadSample { index: usize, source_tag: String, message: String },
}

impl DataError {
    /// An error for a file that could not be read.
    pub(crate) fn read(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}
