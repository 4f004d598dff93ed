//! Everything that ends the program, and with which exit code.

use std::path::PathBuf;

use xcomp_model::error::ModelError;
use xcomp_model::schedule::ScheduleError;

use crate::recipe::problem::RecipeError;

/// Exit code: the recipe or the arguments are wrong.
pub const EXIT_RECIPE: u8 = 2;
/// Exit code: the data cannot be used.
pub const EXIT_DATA: u8 = 3;
/// Exit code: a loss or a gradient is not finite.
pub const EXIT_NON_FINITE: u8 = 4;
/// Exit code: out of memory.
pub const EXIT_MEMORY: u8 = 5;
/// Exit code: stopped early with a resumable checkpoint.
pub const EXIT_STOPPED: u8 = 75;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The compression does not fit the model.
    #[error("{path}: {source}")]
    Schedule {
        /// The recipe.
        path: PathBuf,
        /// Why.
        source: ScheduleError,
    },
    /// The recipe does not fit the model or the data.
    #[error("{path}: {message}")]
    Mismatch {
        /// The recipe.
        path: PathBuf,
        /// What, and what to do.
        message: String,
    },
    /// A word on the command line that cannot be used.
    #[error("{0}")]
    Argument(String),
    /// The model's configuration or weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried, such as `cannot write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Recipe(_)
            | Error::Schedule { .. }
            | Error::Mismatch { .. }
            | Error::Argument(_)
            | Error::Model(ModelError::ConfigFile { .. }) => EXIT_RECIPE,
            Error::Model(_) | Error::File { .. } => 1,
        }
    }
}
