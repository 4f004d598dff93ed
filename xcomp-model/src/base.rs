//! What differs between released models, as data: sizes, names of tensors, pixels, templates.

pub mod config;
pub mod connector;
pub mod family;
mod json;
pub mod llm;
pub mod videochat_flash;
pub mod vision;
