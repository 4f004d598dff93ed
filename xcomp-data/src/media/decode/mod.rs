//! Exact frames of video files through `FFmpeg`: a packet scan, then decoding that jumps where jumping pays.
//!
//! Frames are matched by their time stamps, never by counting, so every strategy gives the same pixels.

mod colour;
mod frames;
mod index;
mod open;
mod rotate;

pub use frames::Video;
pub use index::VideoIndex;
