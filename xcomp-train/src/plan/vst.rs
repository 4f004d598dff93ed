//! Windows of Video-XL as a run plans them: the recipe's ratios over the course of training, and what is drawn for a sample.

use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::layout::SequenceLayout;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstError, VstPlan, VstRule};

use crate::error::Error;
use crate::machine::random::Random;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::recipe::tables::{BackwardWord, RatioMixWord, RatioPhase, VstTable};

/// The name of the stream that ratios are drawn from.
const STREAM: &str = "vst ratios";

/// How a run reads its samples in windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Which gradients are held at a time.
    pub backward: BackwardWord,
    window: usize,
    mix: RatioMix,
    phases: Vec<RatioPhase>,
    seed: u64,
}

/// That a model reads its samples whole, as `what` does.
///
/// # Errors
/// If it reads them in windows.
pub fn require_whole(plan: &Plan, what: &str) -> Result<(), Error> {
    let family = plan.config.family.name;
    match plan.vst {
        None => Ok(()),
        Some(_) => Err(Error::Argument(format!(
            "{what} runs samples whole, and a {family} reads them in windows; look at metrics.jsonl of a run of a few steps instead"
        ))),
    }
}

impl Windows {
    /// Of a checked table; `None` if the model has no learned tokens.
    pub fn new(table: &VstTable, config: &ModelConfig, seed: u64) -> Option<Self> {
        let own = config.llm.vst.as_ref()?;
        let ratios = if table.ratios.is_empty() { &own.ratios } else { &table.ratios };
        let mut phases = table.curriculum.clone();
        if phases.is_empty() {
            phases.push(RatioPhase { until: 1.0, ratios: ratios.clone() });
        }
        Some(Self {
            backward: table.backward,
            window: table.window_tokens.unwrap_or(own.window),
            mix: match table.ratio_mix {
                RatioMixWord::Step => RatioMix::Step,
                RatioMixWord::Instance => RatioMix::Instance,
                RatioMixWord::Sequence => RatioMix::Sequence,
            },
            phases,
            seed,
        })
    }

    /// The rule at a share of the run.
    pub fn rule(&self, progress: f64) -> VstRule {
        let now = self.phases.iter().find(|phase| progress < phase.until).or(self.phases.last());
        let ratios = now.expect("there is a phase").ratios.clone();
        VstRule { window: self.window, ratios, mix: self.mix }
    }

    /// What of a sample of this size is on a tape at a time: a window with the most learned tokens, and the words that are learnt.
    pub fn at_once(&self, size: SampleSize, tokens_per_frame: usize) -> SampleSize {
        let tokens = self.window.min(size.frames * tokens_per_frame);
        let ratios = self.phases.iter().flat_map(|phase| phase.ratios.iter().copied());
        let least = ratios.filter(|ratio| *ratio > 0).min();
        let learned = least.map_or(0, |ratio| tokens / ratio);
        let text_tokens = learned.max(size.text_tokens.saturating_sub(tokens));
        SampleSize { frames: tokens.div_ceil(tokens_per_frame), text_tokens, ..size }
    }

    /// The windows of the sample that `number` samples were taken before, at a share of the run.
    ///
    /// # Errors
    /// If the sample has text between its visuals or none behind them, or no ratio fits one of its windows.
    pub fn of(
        &self,
        sequence: &SequenceLayout,
        number: u64,
        progress: f64,
    ) -> Result<VstPlan, VstError> {
        let first = Random::named(self.seed, STREAM).bits();
        let mut random = Random::new(Random::behind(first, number).bits());
        let parts = Parts::of(sequence)?;
        self.rule(progress).plan(parts, Purpose::Training, &mut |ratios| random.pick(ratios))
    }
}

#[cfg(test)]
mod tests {
    use xcomp_model::compress::layout::VisualSpan;

    use super::*;

    fn windows(phases: &[(f64, &[usize])]) -> Windows {
        let phase = |(until, ratios): &(f64, &[usize])| RatioPhase {
            until: *until,
            ratios: ratios.to_vec(),
        };
        Windows {
            backward: BackwardWord::Windows,
            window: 24,
            mix: RatioMix::Step,
            phases: phases.iter().map(phase).collect(),
            seed: 3,
        }
    }

    #[test]
    fn ratios_follow_the_phases() {
        let windows = windows(&[(0.5, &[2]), (1.0, &[4, 8])]);
        let ratios = |progress| windows.rule(progress).ratios;
        assert_eq!((ratios(0.0), ratios(0.49)), (vec![2], vec![2]));
        assert_eq!((ratios(0.5), ratios(1.0)), (vec![4, 8], vec![4, 8]));
    }

    #[test]
    fn a_sample_draws_the_same_ratios_whenever_it_is_taken() {
        let windows = windows(&[(1.0, &[2, 4, 8])]);
        let sequence = SequenceLayout::new(300, Some(VisualSpan::new(10, 12, 20)));
        let drawn = |number| windows.of(&sequence, number, 0.0).unwrap();
        assert_eq!(drawn(5), drawn(5));
        assert!((0..20).any(|number| drawn(number) != drawn(5)));
    }
}
