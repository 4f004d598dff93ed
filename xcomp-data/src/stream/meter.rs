//! What a stream has done: for the log line that tells where time goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sample::example::Example;
use crate::stream::QuarantineEvent;

/// Counters of a stream since it was started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamMeter {
    /// Samples handed out.
    pub samples: u64,
    /// Frames handed out.
    pub frames: u64,
    /// Samples of which a video has the most frames that fit, where longer samples are to lose frames.
    pub limited: u64,
    /// Seconds that the trainer waited for samples.
    pub wait_s: f64,
    /// Seconds that all workers together spent on reading.
    pub decode_s: f64,
    /// Bytes of pictures that are ready or being read.
    pub queued_bytes: usize,
    /// The most there ever were.
    pub peak_bytes: usize,
    /// Unreadable samples of each dataset.
    pub bad: BTreeMap<Arc<str>, u64>,
}

impl StreamMeter {
    pub(super) fn count(&mut self, example: &Example) {
        self.samples += 1;
        self.frames += example.frame_count() as u64;
        self.limited += u64::from(example.limited);
    }

    pub(super) fn count_bad(&mut self, event: &QuarantineEvent) {
        *self.bad.entry(event.source.as_str().into()).or_default() += 1;
    }
}
