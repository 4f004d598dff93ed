//! Everything that ends the program, and with which exit code.
//!
//! Every folder uses this one, so it names none of them: a folder with an error type of its own boxes it by a `From` beside the type.

use std::path::PathBuf;

use xcomp_data::DataError;
use xcomp_model::compress::schedule::ScheduleError;
use xcomp_model::error::ModelError;

/// An error type of a folder above this file.
pub(crate) type Boxed = Box<dyn std::error::Error + Send + Sync>;

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
    /// The recipe is wrong: a `RecipeError`.
    #[error(transparent)]
    Recipe(Boxed),
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
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An example that does not fit the model: a `CollateError`.
    #[error(transparent)]
    Collate(Boxed),
    /// A checkpoint that cannot be used.
    #[error("{path}: {message}")]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// Why, and what to do.
        message: String,
    },
    /// Not enough space for a checkpoint.
    #[error(
        "{path}: a checkpoint needs {needed} bytes, {free} are free; make room, the last checkpoint is intact"
    )]
    DiskFull {
        /// Folder of the run.
        path: PathBuf,
        /// Bytes of the checkpoint.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A loss or gradient that is not finite.
    #[error("step {step}: {what} is not finite; {hint}")]
    NonFinite {
        /// 1-based step.
        step: usize,
        /// `loss` or `gradient`.
        what: &'static str,
        /// What to do.
        hint: String,
    },
    /// Stopped on request, with a checkpoint to go on from.
    #[error(
        "stopped after step {step} of {steps} by {why}; the same command goes on from there (run folder {run})"
    )]
    Stopped {
        /// Steps taken.
        step: usize,
        /// Steps planned.
        steps: usize,
        /// What asked for it.
        why: &'static str,
        /// Folder of the run.
        run: PathBuf,
    },
    /// A sweep that was stopped on request.
    #[error(
        "stopped by {why} with {done} of {all} runs finished; the same command goes on from there ({out})"
    )]
    SweepStopped {
        /// What asked for it.
        why: &'static str,
        /// Runs with all their examinations.
        done: usize,
        /// Runs of the sweep.
        all: usize,
        /// Folder of the sweep.
        out: PathBuf,
    },
    /// A sweep some of whose runs failed.
    #[error("{} runs failed, the report holds the others; see\n  {}", logs.len(), lines(logs))]
    RunsFailed {
        /// Their logs.
        logs: Vec<PathBuf>,
    },
    /// A checkpoint of a run that differs in what decides its numbers.
    #[error("{path} belongs to another run:\n  {}\nrestore these, or give another --out", differences.join("\n  "))]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// A line for each difference.
        differences: Vec<String>,
    },
    /// A sample that does not fit the model.
    #[error(
        "sample {id} of {source_tag} has {tokens} tokens, model_max_length is {limit}; lower [data] max_frames or leave the sample out"
    )]
    TooLong {
        /// The sample.
        id: String,
        /// Its dataset.
        source_tag: String,
        /// Its tokens.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// A mixture with samples that cannot be used.
    #[error("{broken} of {samples} samples cannot be used")]
    BrokenSamples {
        /// How many.
        broken: usize,
        /// Of how many.
        samples: usize,
    },
    /// The stream ended before the run.
    #[error("the data ended before the last step; every sample of the mixture may be broken")]
    OutOfData,
    /// Memory ran out.
    #[error("out of memory: {0}")]
    Memory(String),
    /// The demo: a `DemoError`.
    #[error(transparent)]
    Demo(Boxed),
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

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n  ")
}

impl Error {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Recipe(_)
            | Error::Schedule { .. }
            | Error::Mismatch { .. }
            | Error::OtherRun { .. }
            | Error::Argument(_)
            | Error::Model(ModelError::ConfigFile { .. }) => EXIT_RECIPE,
            Error::Data(_)
            | Error::Collate(_)
            | Error::TooLong { .. }
            | Error::BrokenSamples { .. }
            | Error::OutOfData => EXIT_DATA,
            Error::NonFinite { .. } => EXIT_NON_FINITE,
            Error::Memory(_) => EXIT_MEMORY,
            Error::Stopped { .. } | Error::SweepStopped { .. } => EXIT_STOPPED,
            Error::Demo(_)
            | Error::Model(_)
            | Error::File { .. }
            | Error::Checkpoint { .. }
            | Error::RunsFailed { .. }
            | Error::DiskFull { .. } => 1,
        }
    }
}
