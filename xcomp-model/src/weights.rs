//! Weights in the released layout: one `model.safetensors`, or shards with an index.
//!
//! A model is read and written in [`Part`]s, modules under a name prefix. Module fields carry the
//! checkpoint's names and its `PyTorch` shapes, so nothing is renamed or transposed. The only
//! module of this crate that touches files, next to `config`.

mod files;
mod load;
mod model;
mod parameters;
mod save;
#[cfg(test)]
mod tests;

pub use load::{Loaded, Part, load};
pub use parameters::{Parameter, Weights, parameters};
pub use save::{SaveOptions, Saved, SavedPart, WeightDtype, save};

/// The language model: its fields are named from the root.
pub const LLM_PREFIX: &str = "";
/// The connector.
pub const PROJECTOR_PREFIX: &str = "model.mm_projector.";
/// The vision tower.
pub const VISION_PREFIX: &str = "model.vision_tower.vision_tower.encoder.";

/// The file of an unsharded model.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The index of a sharded model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
