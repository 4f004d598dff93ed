//! From a conversation to token ids and labels.

mod parts;
pub mod template;
pub mod templates;
pub(crate) mod tokenize;
mod whole;
