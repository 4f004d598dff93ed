//! `xcomp demo`: makes its own material by code, trains on it with LP-Comp, and shows what was learnt.

pub mod attributes;
pub mod base;
pub mod bpe;
pub mod clip;
pub mod error;
pub mod ideal;
pub mod mini;
mod needles;
pub mod question;
pub mod quiz;
pub mod run;
pub mod scene;
pub mod seeds;
pub mod story;
pub mod story_question;
mod vico;
pub mod weights;
pub mod world;
