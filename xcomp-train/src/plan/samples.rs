//! How many samples a run has, and how large.

use xcomp_model::base::config::ModelConfig;

use crate::plan::cost::SampleSize;
use crate::plan::padding::Padding;
use crate::recipe::Recipe;

/// How many samples there are, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples {
    /// Samples of an epoch.
    pub count: usize,
    /// Whether they were counted in the mixture, or are the recipe's expectation.
    pub counted: bool,
    /// The mean sample.
    pub mean: SampleSize,
    /// The largest sample of the mixture; where its frames are not known, the largest that the recipe allows.
    pub worst: SampleSize,
    /// Whether these sizes are those of the mixture, or the recipe's expectation.
    pub measured: bool,
    /// What padding adds to forwards of several samples, where the mixture is there.
    pub padding: Option<Padding>,
}

impl Samples {
    /// As the recipe expects them; `counted` is their number where the mixture is there.
    pub(super) fn expected(recipe: &Recipe, config: &ModelConfig, counted: Option<usize>) -> Self {
        let data = &recipe.data;
        let mean = SampleSize {
            frames: data.expected_frames,
            text_tokens: data.expected_text_tokens,
            supervised_tokens: data.expected_supervised_tokens,
        };
        let room = recipe.model.model_max_length / config.tokens_per_frame();
        let frames = data.max_frames.min(room.max(1));
        Self {
            count: counted.unwrap_or(data.expected_samples),
            counted: counted.is_some(),
            mean,
            worst: SampleSize { frames, ..mean },
            measured: false,
            padding: None,
        }
    }
}
