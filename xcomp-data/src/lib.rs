//! Host-side data of xcomp: mixture, annotations, media, frames, prompts, labels, and the stream of samples.
//!
//! Nothing here knows Burn: a sample is an [`Example`] of plain bytes and numbers.

pub mod annotation;
pub mod chat;
pub mod cost;
#[cfg(feature = "video")]
pub mod decode;
#[cfg(feature = "video")]
pub mod encode;
mod error;
pub mod example;
pub mod features;
mod ffi;
pub mod frames;
pub mod hash;
mod index_cache;
mod jpeg;
pub mod json_scan;
mod limits;
mod load;
pub mod lock;
pub mod mixture;
mod mixture_file;
mod mt19937;
mod open;
pub mod picture;
mod python;
mod read;
pub mod report;
pub mod resize;
mod strategy;
pub mod stream;
mod tokenize;

pub use annotation::{Media, Record, Turn};
pub use chat::{IGNORE, IMAGE_TOKEN, LabelRule, Prompt, render_chat, render_question};
pub use error::DataError;
pub use example::{Example, Frames, Visual};
pub use features::{Encoder, FeatureCache, FeatureSlot, FeatureValues, Features};
pub use ffi::give_back_freed_memory;
pub use frames::{Choice, FrameOptions, FrameRule, TimeMessage};
pub use index_cache::IndexCache;
pub use limits::{Limits, Watch};
pub use load::{LoadOptions, load_example, load_kept_media, load_media};
pub use mixture::{Dataset, Mixture, MixtureOptions, ReadType};
pub use mt19937::PythonRandom;
pub use report::{LintOptions, StatsOptions, lint, show, stats};
pub use resize::Resize;
pub use strategy::Strategy;
pub use stream::{
    BadSample, BadSamplePolicy, Order, Position, QuarantineEvent, Stream, StreamMeter,
    StreamOptions, stream,
};
pub use tokenize::{SpecialIds, Tokenizer};
