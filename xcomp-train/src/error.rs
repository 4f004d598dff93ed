//! Everything that ends the program, and with which exit code.
//!
//! Every folder uses this one, so it names none of them: a folder with an error type of its own boxes it by a `From` beside the type.

use std::path::PathBuf;

use xcomp_data::DataError;
use xcomp_model::compress::schedule::ScheduleError;
use xcomp_model::error::ModelError;

/// An error type of a folder above this file.
pub(crate) type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// Exit code: recipe, arguments, or a configuration, checkpoint or weights that they name cannot be used.
pub const EXIT_RECIPE: u8 = 2;
/// Exit code: the data cannot be used.
pub const EXIT_DATA: u8 = 3;
/// Exit code: a loss or a gradient is not finite.
pub const EXIT_NON_FINITE: u8 = 4;
/// Exit code: out of memory.
pub const EXIT_MEMORY: u8 = 5;
/// Exit code: stopped early with a resumable checkpoint.
pub const EXIT_STOPPED: u8 = 75;
/// Ranks of a distributed run that do not answer each other.
pub const EXIT_PEERS: u8 = 6;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "a variant's line and its message say what the fields hold")]
pub enum Error {
    /// The recipe is wrong: a `RecipeError`.
    #[error(transparent)]
    Recipe(Boxed),
    /// The compression does not fit the model.
    #[error("{path}: {source}")]
    Schedule { path: PathBuf, source: ScheduleError },
    /// The recipe does not fit the model or the data.
    #[error("{path}: {message}")]
    Mismatch { path: PathBuf, message: String },
    /// A word on the command line that cannot be used.
    #[error("{0}")]
    Argument(String),
    /// A name of the hub that cannot be used: a `HubError`.
    #[error(transparent)]
    Hub(Boxed),
    /// The hub or the network between: a `HubError`.
    #[error(transparent)]
    Network(Boxed),
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
    Checkpoint { path: PathBuf, message: String },
    /// Not enough space on a disk.
    #[error("{path}: {what} needs {needed} bytes, {free} are free; {advice}")]
    DiskFull { path: PathBuf, what: String, needed: u64, free: u64, advice: String },
    /// A loss or gradient that is not finite.
    #[error("step {step}: {what} is not finite; {hint}")]
    NonFinite { step: usize, what: &'static str, hint: String },
    /// Stopped on request, with a checkpoint to go on from.
    #[error(
        "stopped after step {step} of {steps} by {why}; the same command goes on from there (run folder {run})"
    )]
    Stopped { step: usize, steps: usize, why: &'static str, run: PathBuf },
    /// A sweep that was stopped on request.
    #[error(
        "stopped by {why} with {done} of {all} runs finished; the same command goes on from there ({out})"
    )]
    SweepStopped { why: &'static str, done: usize, all: usize, out: PathBuf },
    /// A sweep some of whose runs failed.
    #[error("{} runs failed, what the others came to is kept; see\n  {}", logs.len(), lines(logs))]
    RunsFailed { logs: Vec<PathBuf> },
    /// A checkpoint of a run that differs in what decides its numbers.
    #[error("{path} belongs to another run:\n  {}\nrestore these, or give another --out", differences.join("\n  "))]
    OtherRun { path: PathBuf, differences: Vec<String> },
    /// A mixture with samples that cannot be used.
    #[error("{broken} of {samples} samples cannot be used")]
    BrokenSamples { broken: usize, samples: usize },
    /// The stream ended before the run.
    #[error(
        "the model's scores for {what} are not finite: its weights are damaged, or its numbers overflow in this precision"
    )]
    Scores { what: String },
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
    File { action: &'static str, path: PathBuf, source: std::io::Error },
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n  ")
}

impl Error {
    /// What the process exits with: 2 what was named cannot be used, 3 data, 4 not finite, 5 memory, 75 stopped, 1 the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Model(error) if refused_by_disk(error) => 1,
            Error::Recipe(_)
            | Error::Schedule { .. }
            | Error::Mismatch { .. }
            | Error::OtherRun { .. }
            | Error::Argument(_)
            | Error::Hub(_)
            | Error::Model(_)
            | Error::Checkpoint { .. } => EXIT_RECIPE,
            Error::Data(_) | Error::Collate(_) | Error::BrokenSamples { .. } | Error::OutOfData => {
                EXIT_DATA
            }
            Error::NonFinite { .. } | Error::Scores { .. } => EXIT_NON_FINITE,
            Error::Memory(_) => EXIT_MEMORY,
            Error::Stopped { .. } | Error::SweepStopped { .. } => EXIT_STOPPED,
            Error::Demo(_)
            | Error::Network(_)
            | Error::File { .. }
            | Error::RunsFailed { .. }
            | Error::DiskFull { .. } => 1,
        }
    }
}

/// Whether the system would not read or write a file of weights that is there: then nothing is wrong with the weights.
fn refused_by_disk(error: &ModelError) -> bool {
    matches!(error, ModelError::Io { source, .. } if source.kind() != std::io::ErrorKind::NotFound)
}
