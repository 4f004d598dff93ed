//! What can be wrong with a model's files.

use std::path::PathBuf;

/// A model's configuration or weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// `config.json` lacks a key.
    #[error("config.json: `{key}` is missing")]
    ConfigMissing {
        /// The key.
        key: &'static str,
    },
    /// A value of `config.json` is impossible.
    #[error("config.json: `{key}` is {found}, expected {expected}")]
    ConfigInvalid {
        /// The key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: String,
    },
    /// The language model's part of `config.json` lacks a key or has one of another type.
    #[error("config.json: {message}")]
    ConfigLlm {
        /// What is wrong, with the key.
        message: String,
    },
    /// A `config.json` cannot be used.
    #[error("model config {path}: {source}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A folder holds no weights.
    #[error("{folder} has neither model.safetensors nor model.safetensors.index.json")]
    WeightsAbsent {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder holds a single file and an index: one of them is stale.
    #[error("{folder} has both model.safetensors and model.safetensors.index.json, expected one")]
    WeightsAmbiguous {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A weight file has fewer or more bytes than its header promises.
    #[error("{path} is truncated or damaged: it has {found} bytes, its header promises {expected}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
    /// A weight file has no readable header.
    #[error("{path} is not a safetensors file: {reason}")]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The index of a sharded model is wrong.
    #[error("{path} is not a usable index: {reason}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor of the model is not among the weights.
    #[error("tensor `{name}` of shape {expected:?} is missing in {folder}{}", others(*more))]
    TensorMissing {
        /// Its name, in the checkpoint's layout.
        name: String,
        /// The folder of weights.
        folder: PathBuf,
        /// The shape the model expects.
        expected: Vec<usize>,
        /// How many further tensors are missing.
        more: usize,
    },
    /// A tensor among the weights has no place in the model.
    #[error("tensor `{name}` of shape {found:?} in {path} belongs to no part of the model{}", others(*more))]
    TensorUnused {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Its shape.
        found: Vec<usize>,
        /// How many further tensors are unused.
        more: usize,
    },
    /// A tensor is stored twice.
    #[error("tensor `{name}` is stored twice: in {first} and in {second}")]
    TensorDuplicated {
        /// Its name.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other; the same if its header names the tensor twice.
        second: PathBuf,
    },
    /// A tensor has another shape than the model expects.
    #[error("tensor `{name}` in {path} has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// The shape it has.
        found: Vec<usize>,
        /// The shape the model expects.
        expected: Vec<usize>,
    },
    /// A tensor holds no floating-point numbers of a known kind.
    #[error("tensor `{name}` in {path} has dtype {found}, expected F32, F16 or BF16")]
    TensorDtype {
        /// Its name.
        name: String,
        /// The file.
        path: PathBuf,
        /// The dtype it has.
        found: String,
    },
    /// A tensor cannot be brought into the model or out of it.
    #[error("tensor `{name}`, {path}: {reason}")]
    TensorUnreadable {
        /// Its name.
        name: String,
        /// The file it comes from or goes to.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A tensor holds infinities or NaN in the dtype it is to be written in.
    #[error("tensor `{name}` is not finite as {dtype}: it is not written to {path}")]
    TensorNotFinite {
        /// Its name.
        name: String,
        /// The dtype asked for.
        dtype: &'static str,
        /// The file.
        path: PathBuf,
    },
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}
