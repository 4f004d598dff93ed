//! Placeholder while the workspace is laid out.

#[cfg(feature = "video")]
pub mod encode;
