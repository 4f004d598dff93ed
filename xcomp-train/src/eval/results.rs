//! What an evaluation leaves behind: `results.json`.

use std::path::Path;

use serde::Deserialize;

use super::responses::Record;
use crate::error::Error;
use crate::machine::files::{at, read_text};

/// Its name in the folder of an evaluation; it is written last.
pub const RESULTS: &str = "results.json";

#[derive(Deserialize)]
struct Results {
    logs: Vec<Record>,
}

/// The answered questions of an evaluation.
///
/// # Errors
/// If they cannot be read.
pub fn read_results(folder: &Path) -> Result<Vec<Record>, Error> {
    let path = folder.join(RESULTS);
    let results: Results = serde_json::from_str(&read_text(&path)?)
        .map_err(|error| at("cannot read", &path)(error.into()))?;
    Ok(results.logs)
}
