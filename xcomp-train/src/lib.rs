//! The xcomp program: recipes, plans, the training loop, checkpoints, reports.
//!
//! The only crate that meets arguments, devices, the clock and the disk layout.

#[cfg(feature = "video")]
pub mod demo;
pub mod lr;
pub mod recipe;
pub mod tune;
