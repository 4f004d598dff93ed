//! Videos that are read in windows before they are asked about.

use burn::tensor::Tensor;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstRule};
use xcomp_model::generate::Prefix;

use super::Answerer;
use crate::error::Error;

/// The largest of the ratios that a model states: with one ratio an answer depends on nothing that is drawn.
pub(super) fn usual_ratio(config: &ModelConfig) -> Option<usize> {
    config.llm.vst.as_ref()?.ratios.iter().copied().max()
}

impl Answerer {
    /// Visual tokens for each learned one, if videos are read in windows.
    pub fn ratio(&self) -> Option<usize> {
        self.ratio
    }

    /// The same model, answering with so many visual tokens for each learned one; 0 keeps all of them.
    ///
    /// # Errors
    /// If the model has no learned tokens.
    pub fn with_ratio(self, ratio: usize) -> Result<Self, Error> {
        match self.ratio {
            Some(_) => Ok(Self { ratio: Some(ratio), ..self }),
            None => Err(Error::Argument(format!(
                "--ratio {ratio}: a {} does not read videos in windows; leave it out",
                self.config.family.name
            ))),
        }
    }

    /// Reads what stands before a question; any ratio fits, as what one window leaves over the next one takes.
    pub(super) fn read_in_windows(&self, x: &Tensor<3>, layout: &Layout, ratio: usize) -> Prefix {
        let own = self.config.llm.vst.as_ref().expect("a ratio belongs to learned tokens");
        let rule = VstRule { window: own.window, ratios: vec![ratio], mix: RatioMix::Step };
        let parts = Parts::of(&layout.sequences[0]).expect("one video");
        // The question follows: of its tokens nothing depends here.
        let parts = Parts { tail: 1, ..parts };
        let plan = rule.plan(parts, Purpose::Answering, &mut |_| ratio).expect("one ratio fits");
        Prefix::in_windows(&self.model.llm, &plan, |rows| x.clone().slice_dim(1, rows))
    }
}
