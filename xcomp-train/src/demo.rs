//! `xcomp demo`: makes its own material by code, trains on it with LP-Comp, and shows what was learnt.

pub mod bpe;
pub mod error;
pub mod question;
pub mod random;
pub mod scene;
pub mod world;
