//! How an exported folder says that it compresses.

use std::path::Path;

use serde_json::Value;
use xcomp_model::error::ModelError;

use crate::error::Error;
use crate::recipe::tables::{CompressionTable, ScheduleKind};
use crate::recipe::{COMPRESSION_BLOCK, checked_compression};

/// The compression that a folder's `config.json` states.
pub(super) fn compression_of(path: &Path) -> Result<CompressionTable, Error> {
    let wrong = |source| ModelError::ConfigFile { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.into()))?;
    let whole: Value = serde_json::from_str(&text).map_err(|error| wrong(error.into()))?;
    let table = match whole.get(COMPRESSION_BLOCK) {
        Some(block) => {
            serde_json::from_value(block.clone()).map_err(|error| wrong(error.into()))?
        }
        None => CompressionTable { schedule: ScheduleKind::None, ..CompressionTable::default() },
    };
    Ok(checked_compression(table, path, vec![])?)
}
