//! What a model that reads in windows asks of a sample: said when the sample is read, so that the policy on broken samples holds.

use std::sync::Arc;

use xcomp_data::{Fits, IGNORE, IMAGE_TOKEN, Prompt as DataPrompt};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::connector::SpanShape;
use xcomp_model::splice::Prompt;

use crate::plan::vst::Windows;
use crate::recipe::Recipe;

/// The rule of a recipe's windows; nothing if the model reads samples whole.
pub(super) fn fits(recipe: &Recipe, config: &ModelConfig) -> Option<Arc<dyn Fits>> {
    let windows = Windows::new(&recipe.vst, config, recipe.train.seed)?;
    Some(Arc::new(FitsWindows { windows, shape: config.connector.span_shape() }))
}

#[derive(Debug)]
struct FitsWindows {
    windows: Windows,
    shape: SpanShape,
}

impl Fits for FitsWindows {
    fn check(&self, prompt: &DataPrompt, frames: &[usize]) -> Result<(), String> {
        if prompt.labels.iter().skip(1).all(|label| *label == IGNORE) {
            return Err("it has no token with a loss".into());
        }
        let ids = prompt.input_ids.clone();
        let visual_at: Vec<usize> = (0..ids.len()).filter(|at| ids[*at] == IMAGE_TOKEN).collect();
        if visual_at.len() != frames.len() {
            return Ok(()); // told where prompt and frames meet
        }
        let prompt = Prompt { labels: prompt.labels.clone(), ids, visual_at };
        let sequence = prompt.layout(frames, self.shape);
        self.windows.require(&sequence).map_err(|error| error.to_string())
    }
}
