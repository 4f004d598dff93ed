//! The language model.

pub mod attention_map;
pub mod cache;
pub mod cost;
pub mod qwen2;
pub mod rope;
pub mod vst;
