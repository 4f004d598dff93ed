//! What can go wrong in `xcomp demo`.

use std::path::{Path, PathBuf};

use xcomp_data::DataError;
use xcomp_data::media::encode::EncodeError;
use xcomp_model::error::ModelError;

use crate::error::Error;

/// An error of the demo; each message says which step and which file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "a variant's line and its message say what the fields hold")]
pub enum DemoError {
    /// A file of the demo's material cannot be written.
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    /// A file of the demo's material cannot be read back.
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// A picture or a file of events cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A share of samples that is none.
    #[error("vico_percent has {percent}; give percentages from 0 to 100")]
    Share { percent: usize },
    /// A clip cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The tokenizer cannot be trained or saved.
    #[error("cannot make the tokenizer {path}")]
    Tokenizer { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// The `config.json` of a model to be made describes none.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Sizes of the demo's model are given beside a whole `config.json`.
    #[error(
        "{} sizes the model; leave out hidden_size, num_hidden_layers and tokens_per_frame beside it",
        config.display()
    )]
    Sizes { config: PathBuf },
    /// A light that is nothing, or hides a shape.
    #[error("[world] light_side = {side}: give 1 to {} pixels", super::story::MOST_LIGHT_SIDE)]
    Light { side: usize },
    /// A world whose clips have no room for what happens in them.
    #[error(
        "[world]: no story fits into {frames} frames with a light of {lit}; give 4 frames at least, and a light of 1 to {}",
        frames.saturating_sub(2)
    )]
    Frames { frames: usize, lit: usize },
    /// Training did what it should not: the loss stayed up.
    #[error(
        "the loss went from {first:.3} to {last:.3}, not to half of it; this is a fault of the program"
    )]
    NotLearnt { first: f64, last: f64 },
}

impl From<DemoError> for Error {
    fn from(error: DemoError) -> Self {
        Self::Demo(error.into())
    }
}

impl DemoError {
    /// For `map_err` on the result of writing `path`.
    pub(super) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}
