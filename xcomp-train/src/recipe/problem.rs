//! What can be wrong with a recipe, each with its place.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;
use crate::hub::HubError;

/// One thing wrong with a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The table it concerns.
    pub table: String,
    /// The key it concerns; empty for the table itself.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
    /// 1-based line of the file: the key's, else its table's; none for a `--set`.
    pub line: Option<usize>,
}

impl Problem {
    /// A value of the wrong kind.
    pub(super) fn value(
        table: &str,
        key: &str,
        value: &toml::Value,
        error: &toml::de::Error,
    ) -> Self {
        let message = format!("[{table}] {key} = {value}: {}", error.message().trim());
        Self { table: table.into(), key: key.into(), message, line: None }
    }

    /// A value that does not go with the rest of the recipe.
    pub(crate) fn key(table: &str, key: &str, message: impl fmt::Display) -> Self {
        let message = format!("[{table}] {key}: {message}");
        Self { table: table.into(), key: key.into(), message, line: None }
    }
}

/// All problems found so far.
pub(crate) type Problems = Vec<Problem>;

/// A recipe that cannot be run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "a variant's line and its message say what the fields hold")]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is not TOML.
    #[error("{path}:{line}: not TOML: {message}")]
    Syntax { path: PathBuf, line: usize, message: String },
    /// A `--set` that is not `table.key=value`.
    #[error("--set {given}: write it as table.key=value, for example --set train.max_steps=20")]
    Set { given: String },
    /// Keys or values are wrong; all of them are listed.
    #[error("{}", listing(path, problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
    /// Something that it names is still on the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
}

impl From<RecipeError> for Error {
    fn from(error: RecipeError) -> Self {
        Self::Recipe(error.into())
    }
}

fn listing(path: &std::path::Path, problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.line {
        Some(line) => format!("{}:{line}: {}", path.display(), problem.message),
        None => format!("{}: {}", path.display(), problem.message),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
