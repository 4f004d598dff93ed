//! Keys of a `config.json`, checked as they are read.

use serde_json::Value;

use crate::error::ModelError;

/// A positive integer.
pub(super) fn count(config: &Value, key: &'static str) -> Result<usize, ModelError> {
    let value = config.get(key).ok_or_else(|| missing(key))?;
    match value.as_u64() {
        Some(count @ 1..) => Ok(count as usize),
        _ => Err(invalid(key, value, "a positive integer")),
    }
}

/// That a key is absent or has this value.
pub(super) fn only(config: &Value, key: &'static str, wanted: &Value) -> Result<(), ModelError> {
    match config.get(key).filter(|value| !value.is_null() && *value != wanted) {
        Some(found) => Err(invalid(key, found, &wanted.to_string())),
        None => Ok(()),
    }
}

/// That `part` divides `whole`.
pub(super) fn divides(
    key: &'static str,
    part: usize,
    whole_key: &str,
    whole: usize,
) -> Result<(), ModelError> {
    if part > 0 && whole > 0 && whole.is_multiple_of(part) {
        return Ok(());
    }
    Err(invalid(key, &part.into(), &format!("a divisor of {whole_key}, which is {whole}")))
}

pub(super) fn missing(key: &'static str) -> ModelError {
    ModelError::ConfigMissing { key }
}

pub(super) fn invalid(key: &'static str, found: &Value, expected: &str) -> ModelError {
    ModelError::ConfigInvalid { key, found: found.to_string(), expected: expected.to_owned() }
}
