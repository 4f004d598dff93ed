//! Host-side data of xcomp: mixture, annotations, media, frames, prompts, labels, and the stream of samples.
//!
//! Nothing here knows Burn: a sample is an [`Example`] of plain bytes and numbers.

mod error;
pub mod features;
mod ffi;
pub mod frames;
pub mod hash;
pub mod lines;
pub mod lock;
pub mod media;
pub mod mixture;
mod open;
pub mod prompt;
pub mod python;
pub mod report;
pub mod resize;
pub mod sample;
pub mod stream;
pub mod vico;

pub use error::DataError;
pub use features::{Encoder, FeatureCache, FeatureSlot, FeatureValues, Features};
pub use ffi::{give_back_freed_memory, keep_freed_memory};
pub use frames::style::FrameStyle;
pub use frames::{Choice, FrameOptions, FrameRule, Sampling, TimeMessage, Truncated};
pub use media::limits::{Limits, Watch};
pub use mixture::annotation::{LeftOut, Media, MediaFile, Record, is_confined};
pub use mixture::share::Share;
pub use mixture::strategy::Strategy;
pub use mixture::turns::{SystemTurn, Turn};
pub use mixture::visual_rule::VisualRule;
pub use mixture::{Dataset, Mixture, MixtureOptions, ReadType};
pub use prompt::template::{CHATML, PLAIN, Template, VICUNA, VIDEO_XL};
pub use prompt::templates::{IGNORE, IMAGE_TOKEN, LabelRule, Prompt, render_chat, render_question};
pub use prompt::tokenize::Tokenizer;
pub use python::mt19937::PythonRandom;
pub use report::{StatsOptions, lint, show, stats};
pub use resize::{Fit, Resize};
pub use sample::example::{Example, Frames, Visual, VisualData};
pub use sample::load::{frames_of, load_example, load_kept_media, load_media, outside};
pub use sample::options::{Fits, LintOptions, LoadOptions, TooLong};
pub use stream::{
    BadSample, BadSamplePolicy, Order, Position, QuarantineEvent, Stream, StreamMeter,
    StreamOptions, stream,
};
