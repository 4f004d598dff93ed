//! Media files: opened safely, decoded by readers behind one trait, and what one file may cost.

#[cfg(feature = "video")]
pub mod decode;
#[cfg(feature = "video")]
pub mod encode;
pub(crate) mod gif;
#[cfg(feature = "turbojpeg")]
pub(crate) mod jpeg;
pub(crate) mod jpeg_parts;
pub(crate) mod kind;
pub(crate) mod limits;
mod padded;
pub mod picture;
pub(crate) mod read;
pub(crate) mod rgb;
pub(crate) mod turn;
