//! The xcomp program: recipes, plans, the training loop, checkpoints, reports.
//!
//! The only crate that meets arguments, devices, the clock and the disk layout.

pub mod ablate;
pub mod answer;
pub mod bench;
pub mod checkpoint;
mod cli;
pub mod clip;
pub mod collate;
pub mod compare;
pub mod cost;
pub mod data;
#[cfg(feature = "video")]
pub mod demo;
pub mod device;
pub mod error;
pub mod eval;
pub mod export;
pub mod features;
pub mod files;
pub mod grads;
pub mod groups;
pub mod identity;
pub mod init;
pub mod learnability;
pub mod lr;
pub mod memory;
pub mod meter;
pub mod metrics;
pub mod micro_step;
pub mod named;
pub mod niah;
pub mod optim;
pub mod page;
pub mod plan;
pub mod progress;
pub mod random;
pub mod recipe;
pub mod replay;
pub mod resume;
pub mod room;
pub mod run;
pub mod run_dir;
pub mod saver;
pub mod state;
pub mod stop;
pub mod svg;
pub mod table;
pub mod trainer;
pub mod tune;

pub use cli::{main, run};
