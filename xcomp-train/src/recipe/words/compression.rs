//! Words of `[compression]` and `[vst]`.

use serde::{Deserialize, Serialize};

use super::{Value, Word};

words! {
    /// How frames lose tokens over the decoder layers.
    ScheduleKind {
        /// Never.
        None = "none",
        /// The released code.
        Cosine = "cosine",
        /// The released code, but that layer 1 gets all tokens: for frames of more than 160.
        CosineFullFirst = "cosine_full_first",
        /// Eq. 1 of the paper as printed.
        Ceil = "ceil",
        /// Algorithm B of the supplement as printed.
        AlgorithmB = "algorithm_b",
        /// The last of every stride, at `step_layers`.
        Step = "step",
        /// The mean of every stride, at `step_layers`.
        Pool = "pool",
        /// The share of the video that is attended to most, at `step_layers` (VideoChat-Flash, `PyramidDrop`).
        Rank = "rank",
        /// The share of the video that was attended to most, once, when a question is answered; never in training.
        FastV = "fastv",
        /// `uniform_tokens` in every layer.
        Uniform = "uniform",
        /// `tokens`, one number per layer.
        List = "list",
        /// The released cosine, steeper or flatter, so that a frame has as many tokens in the mean over the layers as the one entry of `budgets` says.
        Budget = "budget",
        /// As `budget`, with one of `budgets` drawn for every sample: one checkpoint that answers at any of them (`--tokens`).
        Elastic = "elastic",
    }
}

words! {
    /// Which tokens of a frame survive a drop.
    Keep {
        /// The last ones.
        Suffix = "suffix",
        /// An evenly spread subset.
        Uniform = "uniform",
    }
}

words! {
    /// The order in which merged tokens form the groups that are frames to the compression.
    GroupOrderWord {
        /// As token merging leaves them, as the released code: a group is not a frame.
        Reference = "reference",
        /// By time and place in the clip.
        Frame = "frame",
    }
}

words! {
    /// How one of several ratios is found.
    RatioMixWord {
        /// Drawn for every window, as the released scripts.
        Step = "step",
        /// Drawn once for every sample.
        Instance = "instance",
        /// One after the other in every sample.
        Sequence = "sequence",
    }
}

words! {
    /// How much of a sample that is read in windows is on a tape at a time.
    BackwardWord {
        /// One window: all are run once more on the way back, last to first.
        Windows = "windows",
        /// All of it, as the released code: for small models.
        Tape = "tape",
    }
}

words! {
    /// Where windows end.
    #[derive(clap::ValueEnum)]
    WindowsWord {
        /// After so many visual tokens, as the released code.
        Fixed = "fixed",
        /// Where the scene changes: at deep gaps in the similarity of frames (Video-XL, section 3.3).
        Dynamic = "dynamic",
        /// Nowhere: all tokens in one pass, without learned ones, as in models that have none.
        None = "none",
    }
}

words! {
    /// What the similarity of two frames is measured against.
    DepthWord {
        /// The largest of all before it and of all behind it (Eq. 3).
        Whole = "whole",
        /// The nearest peaks on both sides (`VideoLLaMB`).
        HillClimb = "hill_climb",
    }
}

/// A part of a run, and the ratios that windows have in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatioPhase {
    /// The share of the run where it ends.
    pub until: f64,
    /// Its ratios.
    pub ratios: Vec<usize>,
}

impl Value for RatioPhase {
    fn kind() -> String {
        "table".into()
    }
}
