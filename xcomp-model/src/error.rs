//! What can be wrong with a model's files.

use std::path::PathBuf;

/// A model's configuration or weights cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message names every field")]
pub enum ModelError {
    /// `config.json` lacks a key.
    #[error("config.json: `{key}` is missing")]
    ConfigMissing { key: &'static str },
    /// A value of `config.json` is impossible.
    #[error("config.json: `{key}` is {found}, expected {expected}")]
    ConfigInvalid { key: &'static str, found: String, expected: String },
    /// The language model's part of `config.json` lacks a key or has one of another type.
    #[error("config.json: {message}")]
    ConfigLlm { message: String },
    /// A `config.json` cannot be used.
    #[error("model config {path}: {source}")]
    ConfigFile { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// A folder holds no weights.
    #[error("{folder} has neither model.safetensors nor model.safetensors.index.json")]
    WeightsAbsent { folder: PathBuf },
    /// A folder holds a single file and an index: one of them is stale.
    #[error("{folder} has both model.safetensors and model.safetensors.index.json, expected one")]
    WeightsAmbiguous { folder: PathBuf },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// A weight file has fewer or more bytes than its header promises.
    #[error("{path} is truncated or damaged: it has {found} bytes, its header promises {expected}")]
    Truncated { path: PathBuf, found: u64, expected: u64 },
    /// A weight file has no readable header.
    #[error("{path} is not a safetensors file: {reason}")]
    NotSafetensors { path: PathBuf, reason: String },
    /// The index of a sharded model is wrong.
    #[error("{path} is not a usable index: {reason}")]
    Index { path: PathBuf, reason: String },
    /// A tensor of the model is not among the weights.
    #[error("tensor `{name}` of shape {expected:?} is missing in {folder}{}", others(*more))]
    TensorMissing { name: String, folder: PathBuf, expected: Vec<usize>, more: usize },
    /// A tensor among the weights has no place in the model.
    #[error("tensor `{name}` of shape {found:?} in {path} belongs to no part of the model{}", others(*more))]
    TensorUnused { name: String, path: PathBuf, found: Vec<usize>, more: usize },
    /// A tensor is stored twice.
    #[error("tensor `{name}` is stored twice: in {first} and in {second}")]
    TensorDuplicated { name: String, first: PathBuf, second: PathBuf },
    /// A tensor has another shape than the model expects.
    #[error("tensor `{name}` in {path} has shape {found:?}, expected {expected:?}")]
    TensorShape { name: String, path: PathBuf, found: Vec<usize>, expected: Vec<usize> },
    /// A tensor holds no floating-point numbers of a known kind.
    #[error("tensor `{name}` in {path} has dtype {found}, expected F32, F16 or BF16")]
    TensorDtype { name: String, path: PathBuf, found: String },
    /// A tensor cannot be brought into the model or out of it.
    #[error("tensor `{name}`, {path}: {reason}")]
    TensorUnreadable { name: String, path: PathBuf, reason: String },
    /// A tensor holds infinities or NaN in the dtype it is to be written in.
    #[error("tensor `{name}` is not finite as {dtype}: it is not written to {path}")]
    TensorNotFinite { name: String, dtype: &'static str, path: PathBuf },
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}
