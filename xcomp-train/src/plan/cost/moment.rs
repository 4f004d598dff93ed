//! What lies on the device in one moment of a step, by part.

use serde::Serialize;
use xcomp_model::cost::Blocks;

/// Where in a step the peak is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The pixels of a clip are laid out.
    #[default]
    Pixels,
    /// The tokens of a clip are merged.
    Merge,
    /// Tokens go through the connector's MLP, those too that are pooled away behind it.
    Connect,
    /// The loss goes back to the last layer.
    Loss,
    /// The backward of this 0-based decoder layer.
    Backward(usize),
    /// Gradients become one set.
    Collect,
    /// The optimizer moves the largest tensor.
    Update,
}

/// Bytes of each part at the peak of a step; they sum to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// When that is.
    pub moment: Moment,
    /// Tuned weights, f32 masters.
    pub tuned_weights: u64,
    /// Frozen weights.
    pub frozen_weights: u64,
    /// Gradients, f32: those summed so far and those of this micro-step.
    pub gradients: u64,
    /// First and second moments, f32.
    pub moments: u64,
    /// Activations that the backward needs.
    pub activations: u64,
    /// Rows of logits.
    pub logits: u64,
    /// What comes and goes within the moment.
    pub work: u64,
    /// Raw frames, merged tokens, and the tower's working set for the clips that go through it together.
    pub frames: u64,
    /// The process's own pages and threads, and what its allocator keeps of other moments; 0 on a GPU.
    pub process: u64,
}

impl Memory {
    /// All of it.
    pub fn peak(&self) -> u64 {
        let weights = self.tuned_weights + self.frozen_weights + self.gradients + self.moments;
        weights + self.of_samples() + self.process
    }

    /// What the samples take, not the weights.
    pub fn of_samples(&self) -> u64 {
        self.activations + self.logits + self.work + self.frames
    }
}

/// A moment of a step, by part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    pub(super) moment: Moment,
    pub(super) tuned_weights: Blocks,
    pub(super) frozen_weights: Blocks,
    pub(super) gradients: Blocks,
    pub(super) moments: Blocks,
    pub(super) activations: Blocks,
    pub(super) logits: Blocks,
    pub(super) work: Blocks,
    pub(super) frames: Blocks,
}

impl Parts {
    pub(super) fn all(&self) -> Blocks {
        let weights = self.tuned_weights + self.frozen_weights + self.gradients + self.moments;
        weights + self.activations + self.logits + self.work + self.frames
    }

    pub(super) fn memory(&self, process: u64) -> Memory {
        Memory {
            moment: self.moment,
            tuned_weights: self.tuned_weights.bytes(),
            frozen_weights: self.frozen_weights.bytes(),
            gradients: self.gradients.bytes(),
            moments: self.moments.bytes(),
            activations: self.activations.bytes(),
            logits: self.logits.bytes(),
            work: self.work.bytes(),
            frames: self.frames.bytes(),
            process,
        }
    }
}
