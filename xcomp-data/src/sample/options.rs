//! How a sample is looked at before it is trained on.

use crate::frames::FrameOptions;
use crate::media::limits::Limits;

/// How records and their media are looked at.
#[derive(Debug, Clone)]
pub struct LintOptions {
    /// Which frames would be taken.
    pub frames: FrameOptions,
    /// What one media file may cost.
    pub limits: Limits,
    /// Whether the first wanted frame of each file is decoded, not only its packets read.
    pub decode: bool,
    /// Threads; 0 means one a core.
    pub threads: usize,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self {
            frames: FrameOptions::default(),
            limits: Limits::default(),
            decode: true,
            threads: 0,
        }
    }
}
