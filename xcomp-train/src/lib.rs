//! The xcomp program: recipes, plans, the training loop, checkpoints, reports.
//!
//! The only crate that meets arguments, devices, the clock and the disk layout.

pub mod ablate;
pub mod answer;
pub mod bench;
mod cli;
pub mod data;
#[cfg(feature = "video")]
pub mod demo;
pub mod error;
pub mod eval;
pub mod export;
pub mod hub;
pub mod machine;
pub mod peers;
pub mod plan;
pub mod recipe;
pub mod report;
pub mod run;
pub mod show;
pub mod train;

pub use cli::{main, run};
