//! What differs between released models: sizes, names, pixels, templates.

pub mod config;
pub mod vision_config;
