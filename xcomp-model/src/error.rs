//! What can be wrong with a model's files.

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
        path: std::path::PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
