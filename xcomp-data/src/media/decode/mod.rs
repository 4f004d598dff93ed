//! Exact frames of video files through `FFmpeg`: a packet scan, then decoding that jumps where jumping pays.
//!
//! Frames are matched by their time stamps, so every strategy gives the same pixels; where stamps are missing or start again, frames are counted.

mod colour;
mod frames;
mod index;
mod open;
mod rotate;
mod stamps;

pub use frames::Video;
pub use index::VideoIndex;
