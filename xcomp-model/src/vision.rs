//! Vision towers, and frames on their way into them.

pub mod frames;
pub mod positions;
pub mod umt;
