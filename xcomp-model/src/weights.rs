//! Weights in the released layout: one `model.safetensors`, or shards with an index.
//!
//! A model is read and written in [`Part`]s, modules with the names that their family gives them. Tensors have
//! `PyTorch`'s shapes, so nothing is transposed. The only folder of this crate that touches files, next to `base/config`.

mod dtype;
mod files;
mod load;
mod model;
mod outgoing;
mod parameters;
mod save;
mod stored;
#[cfg(test)]
mod tests;

pub use dtype::WeightDtype;
pub use load::{Loaded, Part, load, take};
pub use parameters::{Change, Look, Named, Parameter, Weights, parameters};
pub use save::{SaveOptions, Saved, SavedPart, copy, copy_to_file, save};
pub use stored::StoredWeights;

/// The file of an unsharded model.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The index of a sharded model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
