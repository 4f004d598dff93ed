//! How a family of models looks at videos, as data.

use super::{Sampling, TimeMessage};
use crate::resize::Fit;

/// Which frames, what is said of them, and how they become squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameStyle {
    /// Its name in a family of models.
    pub name: &'static str,
    /// By which rule frames are taken.
    pub sampling: Sampling,
    /// Frames per second that the rule asks for.
    pub fps: f64,
    /// Fewest and most frames of a video in the released evaluation.
    pub frames: (usize, usize),
    /// What the prompt says of them.
    pub time_message: TimeMessage,
    /// How pictures are brought to a square.
    pub fit: Fit,
}

/// All that are known.
const STYLES: [FrameStyle; 4] = [
    FrameStyle {
        name: "clips",
        sampling: Sampling::Clips,
        fps: 8.0,
        frames: (128, 1024),
        time_message: TimeMessage::Short,
        fit: Fit::Squeeze,
    },
    FrameStyle {
        name: "timed",
        sampling: Sampling::Uniform,
        fps: 1.0,
        frames: (64, 64),
        time_message: TimeMessage::Instruction,
        fit: Fit::Squeeze,
    },
    FrameStyle {
        name: "cropped",
        sampling: Sampling::Uniform,
        fps: 1.0,
        frames: (32, 32),
        time_message: TimeMessage::None,
        fit: Fit::Crop,
    },
    FrameStyle {
        name: "tiled",
        sampling: Sampling::Spread,
        fps: 1.0,
        frames: (128, 128),
        time_message: TimeMessage::None,
        fit: Fit::Tiles,
    },
];

impl FrameStyle {
    /// The style of this name, if it is known.
    pub fn named(name: &str) -> Option<Self> {
        STYLES.into_iter().find(|style| style.name == name)
    }
}
