//! How records become samples, and how they are looked at before.

use std::sync::Arc;

use crate::Tokenizer;
use crate::features::FeatureCache;
use crate::frames::FrameOptions;
use crate::media::limits::Limits;
use crate::mixture::visual_rule::VisualRule;
use crate::prompt::template::{CHATML, Template};
use crate::prompt::templates::{LabelRule, Prompt};

/// How records become samples.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The language model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// How turns are written.
    pub template: Template,
    /// Which frames, and how large.
    pub frames: FrameOptions,
    /// Which positions are trained on.
    pub labels: LabelRule,
    /// How many images and videos a sample may show.
    pub visuals: VisualRule,
    /// Visual tokens of a frame before the first layer.
    pub tokens_per_frame: usize,
    /// Tokens behind all frames of an image or video.
    pub tokens_behind_frames: usize,
    /// Longest sequence in tokens, before compression.
    pub max_tokens: usize,
    /// What a longer sample does.
    pub too_long: TooLong,
    /// Rows of the model's embedding: a sample with another token is broken.
    pub vocabulary: usize,
    /// What one media file may cost.
    pub limits: Limits,
    /// What the tower made of frames before.
    pub features: Option<Arc<FeatureCache>>,
    /// What the model asks of a sample besides: one that does not fit is broken.
    pub fits: Option<Arc<dyn Fits>>,
}

/// What a model asks of a sample that nobody else knows.
pub trait Fits: std::fmt::Debug + Send + Sync {
    /// Looks at its prompt and the frames of each image and video.
    ///
    /// # Errors
    /// What does not fit, in words.
    fn check(&self, prompt: &Prompt, frames: &[usize]) -> Result<(), String>;
}

impl LoadOptions {
    /// The released script's settings with this tokenizer.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            tokenizer,
            template: CHATML,
            frames: FrameOptions::default(),
            labels: LabelRule::default(),
            visuals: VisualRule::default(),
            tokens_per_frame: 0,
            tokens_behind_frames: 0,
            max_tokens: usize::MAX,
            too_long: TooLong::default(),
            vocabulary: usize::MAX,
            limits: Limits::default(),
            features: None,
            fits: None,
        }
    }
}

/// What a sample does that has more tokens than a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLong {
    /// It is a broken sample.
    #[default]
    Skip,
    /// Its videos are taken with fewer frames, evenly spread as ever; it is broken where one clip is too much.
    DropFrames,
    /// The stream ends with an error, whatever the policy on broken samples.
    Stop,
}

/// How records and their media are looked at.
#[derive(Debug, Clone)]
pub struct LintOptions {
    /// How records would become samples.
    pub load: LoadOptions,
    /// Whether the first wanted frame of each file is decoded, not only its packets read.
    pub decode: bool,
    /// Threads; 0 means one a core.
    pub threads: usize,
}
