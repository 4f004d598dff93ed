//! What differs between released models, as data: sizes, names of tensors, pixels, templates.

pub mod config;
pub mod connector;
pub mod family;
mod json;
mod llava;
pub mod llava_next_video;
pub mod llava_video;
pub mod llm;
pub mod lora;
pub mod place;
pub mod role;
pub mod video_xl;
pub mod videochat_flash;
pub mod vision;
pub mod vst;
