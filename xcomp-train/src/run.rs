//! A whole run: its folder, what it writes and shows, and what is done with it afterwards.

pub mod cache_fill;
mod events;
pub mod folder;
pub mod footing;
pub mod launch;
pub mod list;
pub mod metrics;
pub mod name;
pub mod progress;
pub mod released;
pub mod replay;
