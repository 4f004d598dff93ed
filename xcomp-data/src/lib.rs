//! Host-side data of xcomp: mixture, annotations, media, frames, prompts, labels, and the stream of samples.
//!
//! Nothing here knows Burn: a sample is an [`Example`] of plain bytes and numbers.

pub mod annotation;
pub mod chat;
#[cfg(feature = "video")]
pub mod encode;
mod error;
pub mod example;
pub mod frames;
mod hash;
pub mod json_scan;
pub mod mixture;
mod mixture_file;
mod mt19937;
mod python;
pub mod resize;
mod strategy;
mod tokenize;

pub use annotation::{Media, Record, Turn};
pub use chat::{IGNORE, IMAGE_TOKEN, LabelRule, Prompt, render_chat, render_question};
pub use error::DataError;
pub use example::{Example, Frames};
pub use frames::{Choice, FrameOptions, FrameRule, TimeMessage};
pub use mixture::{Dataset, Mixture, MixtureOptions, ReadType};
pub use mt19937::PythonRandom;
pub use strategy::Strategy;
pub use tokenize::{SpecialIds, Tokenizer};
