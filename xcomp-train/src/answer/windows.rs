//! Videos that are read in windows before they are asked about.

use burn::tensor::Tensor;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::layout::Layout;
use xcomp_model::compress::reduce::Reduce;
use xcomp_model::compress::vst::dynamic::similarities;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstError, VstRule};
use xcomp_model::generate::Prefix;

use super::{Answerer, EncodedMedia};
use crate::data::features::class_to_host;
use crate::error::Error;
use crate::plan::cut::{Ends, Stated};
use crate::recipe::tables::{VstTable, WindowsWord};

/// The largest of the ratios that a model states: with one ratio an answer depends on nothing that is drawn.
fn usual_ratio(config: &ModelConfig) -> Option<usize> {
    config.llm.vst.as_ref()?.ratios.iter().copied().max()
}

impl Answerer {
    /// The same model, its windows ending so, if it has learned tokens for them.
    pub(super) fn ending(self, ends: Ends) -> Self {
        let usual = usual_ratio(&self.config);
        let ratio = if ends == Ends::Nowhere { None } else { self.ratio.or(usual) };
        Self { ratio, ends: if usual.is_some() { ends } else { Ends::Nowhere }, ..self }
    }

    /// That its compression fits the way it reads.
    ///
    /// # Errors
    /// If it reads in windows and its layers would drop tokens.
    pub fn fit(self) -> Result<Self, Error> {
        let plan = &self.compression;
        let drops = (0..plan.layers()).any(|layer| *plan.reduce(layer) != Reduce::Keep);
        if self.ratio.is_some() && drops {
            return Err(Error::Argument(format!(
                "a {} that reads videos in windows drops no tokens between layers: leave the compression out, or the windows, by --windows none",
                self.config.family.name
            )));
        }
        Ok(self)
    }

    /// Visual tokens for each learned one, if videos are read in windows.
    pub fn ratio(&self) -> Option<usize> {
        self.ratio
    }

    /// The same model, answering with so many visual tokens for each learned one; 0 keeps all of them.
    ///
    /// # Errors
    /// If the model has no learned tokens, or the ratio is larger than its windows.
    pub fn with_ratio(self, ratio: usize) -> Result<Self, Error> {
        match self.ratio {
            Some(_) if ratio > self.window() => Err(Error::Argument(format!(
                "--ratio {ratio}: a window has {} tokens, of which nothing would stay; give a smaller one",
                self.window()
            ))),
            Some(_) => Ok(Self { ratio: Some(ratio), ..self }),
            None if self.window() > 0 => Err(Error::Argument(format!(
                "--ratio {ratio}: the windows of this model are off; leave it out, or add --windows fixed"
            ))),
            None => Err(Error::Argument(format!(
                "--ratio {ratio}: a {} does not read videos in windows; leave it out",
                self.config.family.name
            ))),
        }
    }

    /// The same model, without windows, or with windows that end after so many tokens or where the scene changes; by the rule that the folder states, or the usual one.
    ///
    /// # Errors
    /// If the model has no learned tokens.
    pub fn with_windows(self, windows: WindowsWord) -> Result<Self, Error> {
        if self.window() == 0 {
            return Err(Error::Argument(format!(
                "--windows {}: a {} does not read videos in windows; leave it out",
                windows.word(),
                self.config.family.name
            )));
        }
        let most = self.window() / self.config.tokens_per_frame();
        let ends = match (windows, self.ends) {
            (WindowsWord::Dynamic, own @ Ends::Scenes(_)) => own,
            _ => Ends::of(windows, &VstTable::default(), most),
        };
        Ok(self.ending(ends))
    }

    /// Where its windows end, if not after so many tokens.
    pub fn cut(&self) -> Option<&Stated> {
        self.ends.scenes()
    }

    fn window(&self) -> usize {
        self.config.llm.vst.as_ref().map_or(0, |own| own.window)
    }

    /// Similarities of consecutive frames.
    fn gaps(&self, seen: &EncodedMedia) -> Vec<f64> {
        let class = seen.encoded.class.clone().expect("class tokens where windows follow frames");
        similarities(&class_to_host(class), self.config.vision.hidden_size)
    }

    /// Reads what stands before a question; what one window leaves over of a ratio the next one takes.
    ///
    /// # Errors
    /// If nothing of a short video would stay under this ratio.
    pub(super) fn read_in_windows(
        &self,
        x: &Tensor<3>,
        layout: &Layout,
        ratio: usize,
        seen: &EncodedMedia,
    ) -> Result<Prefix, Error> {
        let rule = VstRule { window: self.window(), ratios: vec![ratio], mix: RatioMix::Step };
        let wrong = |error: VstError| Error::Argument(format!("ratio {ratio}: {error}"));
        let parts = Parts::of(&layout.sequences[0]).map_err(wrong)?;
        // The question follows: of its tokens nothing depends here.
        let parts = Parts { tail: 1, ..parts };
        let plan = match self.cut() {
            None => rule.plan(parts, Purpose::Answering, &mut |_| ratio),
            Some(cut) => {
                let windows = cut.rule().tokens(&layout.sequences[0], &[self.gaps(seen)]);
                rule.plan_windows(parts, &windows, Purpose::Answering, &mut |_| ratio)
            }
        };
        let plan = plan.map_err(wrong)?;
        if ratio > 0 {
            plan.require_kept().map_err(wrong)?;
        }
        seen.kept.get_or_init(|| plan.visual_kept());
        Ok(Prefix::in_windows(&self.model.llm, &plan, |rows| x.clone().slice_dim(1, rows)))
    }
}
