//! Between tower and language model: token merging and the projector.

pub mod projector;
pub mod token_merging;
