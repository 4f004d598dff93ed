//! A key of a recipe and a table, as their documentation takes them.

use serde::Serialize;

use super::words::Word;

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Key {
    /// Its name.
    pub key: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// The kind of its value.
    pub kind: String,
    /// Its words, if the kind is `word`.
    #[serde(skip_serializing_if = "<[Word]>::is_empty")]
    pub words: &'static [Word],
    /// What holds where a recipe does not say it; nothing if the key is then absent.
    pub default: Option<toml::Value>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// Its keys, in the order of the lock file.
    pub keys: Vec<Key>,
}
