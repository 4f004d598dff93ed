//! `xcomp demo`: makes its own material by code, trains on it with LP-Comp, and shows what was learnt.

pub mod base;
pub mod bpe;
pub mod error;
pub mod film;
pub mod mini;
pub mod question;
pub mod quiz;
pub mod run;
pub mod scene;
pub mod seeds;
pub mod story;
pub mod story_question;
pub mod things;
mod weights;
pub mod world;
