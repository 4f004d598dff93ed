//! From a conversation to token ids and labels.

pub mod templates;
pub(crate) mod tokenize;
