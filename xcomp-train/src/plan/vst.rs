//! Windows of Video-XL as a run plans them: the recipe's ratios over the course of training, and what is drawn for a sample.

use std::fmt;

use serde::Serialize;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::vst::VstConfig;
use xcomp_model::compress::layout::SequenceLayout;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstError, VstPlan, VstRule};

use crate::error::Error;
use crate::machine::random::Random;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::cost::flops::Flops;
use crate::recipe::tables::{BackwardWord, RatioMixWord, RatioPhase, VstTable};
use crate::show::numbers::{bytes, grouped};

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

/// Frames of the longest video that the paper asks about.
const LONGEST: usize = 2048;

/// How samples are read in windows, and what the longest video leaves behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowsReport {
    /// Visual tokens of a window.
    pub window_tokens: usize,
    /// Ratios by share of the run.
    pub phases: Vec<RatioPhase>,
    /// How much of a sample is on a tape at a time.
    pub backward: &'static str,
    /// Frames of the longest video.
    pub longest_frames: usize,
    /// Learned tokens that stay of it under the largest ratio.
    pub longest_learned: usize,
    /// Bytes of their keys and values in bf16.
    pub longest_bytes: u64,
}

impl fmt::Display for WindowsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = |RatioPhase { until, ratios }: &RatioPhase| format!("{ratios:?} until {until}");
        let phases: Vec<String> = self.phases.iter().map(phase).collect();
        writeln!(
            f,
            "windows      {} visual tokens each, ratios {}; backward = {}",
            grouped(self.window_tokens as u64),
            phases.join(", "),
            self.backward
        )?;
        write!(
            f,
            "             of {} frames {} learned tokens stay, {} of keys and values",
            grouped(self.longest_frames as u64),
            grouped(self.longest_learned as u64),
            bytes(self.longest_bytes)
        )
    }
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

    /// What a model is that was tuned so: its windows, and every ratio that it has met.
    pub fn tuned(&self, own: &VstConfig) -> VstConfig {
        let mut ratios: Vec<usize> = self.all_ratios().collect();
        ratios.sort_unstable();
        ratios.dedup();
        // Where the run has moved neither, the words of the base stay as they are.
        let mut known = own.ratios.clone();
        known.sort_unstable();
        let ratios = if known == ratios { own.ratios.clone() } else { ratios };
        VstConfig { window: self.window, ratios, ..own.clone() }
    }

    fn all_ratios(&self) -> impl Iterator<Item = usize> + '_ {
        self.phases.iter().flat_map(|phase| phase.ratios.iter().copied())
    }

    /// What is impossible about its ratios, for frames of so many tokens; nothing if all is well.
    pub fn impossible(&self, tokens_per_frame: usize) -> Option<String> {
        let window = self.window;
        if let Some(ratio) = self.all_ratios().find(|ratio| *ratio > window) {
            return Some(format!(
                "[vst] ratios: {ratio} is larger than a window of {window} tokens, of which nothing would stay"
            ));
        }
        let several = self.phases.iter().filter(|phase| phase.ratios.len() > 1);
        let fits = |ratios: &[usize], tokens: usize| {
            ratios.iter().any(|ratio| *ratio > 0 && tokens.is_multiple_of(*ratio))
        };
        several.into_iter().find_map(|RatioPhase { until, ratios }| {
            // The last window of a video holds some of its frames.
            let tokens = [window, tokens_per_frame].into_iter().find(|all| !fits(ratios, *all))?;
            Some(format!(
                "[vst] ratios {ratios:?} (until {until} of the run): none divides {tokens} visual tokens, so no window of so many can be read; give one that does, or one ratio alone"
            ))
        })
    }

    /// Learned tokens of a sample that stay behind all its windows, under the least of its ratios.
    pub fn most_learned(&self, size: SampleSize, tokens_per_frame: usize) -> usize {
        let least = self.all_ratios().filter(|ratio| *ratio > 0).min();
        least.map_or(0, |ratio| size.frames * tokens_per_frame / ratio)
    }

    /// The rule at a share of the run.
    pub fn rule(&self, progress: f64) -> VstRule {
        let now = self.phases.iter().find(|phase| progress < phase.until).or(self.phases.last());
        let ratios = now.expect("there is a phase").ratios.clone();
        VstRule { window: self.window, ratios, mix: self.mix }
    }

    /// What a plan says of them.
    pub fn report(&self, config: &ModelConfig) -> WindowsReport {
        let llm = &config.llm;
        let ratio = self.all_ratios().max().unwrap_or(0);
        let visual = LONGEST * config.tokens_per_frame();
        let learned = visual.checked_div(ratio).unwrap_or(visual);
        // Keys and values, two bytes each.
        let token = 4 * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim();
        WindowsReport {
            window_tokens: self.window,
            phases: self.phases.clone(),
            backward: self.backward.word(),
            longest_frames: LONGEST,
            longest_learned: learned,
            longest_bytes: (learned * token) as u64,
        }
    }

    /// Tokens of a sample's windows, learned ones too, and the pairs of them that attention sees (Eq. 8 of the paper), under the mean of its ratios.
    pub fn tokens_and_pairs(&self, size: SampleSize, tokens_per_frame: usize) -> (f64, f64) {
        let visual = size.frames * tokens_per_frame;
        let tail = size.text_tokens.clamp(1, self.window);
        let parts = Parts { prefix: size.text_tokens - tail.min(size.text_tokens), visual, tail };
        let (mut sums, mut from) = ((0.0, 0.0), 0.0);
        for RatioPhase { until, ratios } in &self.phases {
            let share = (until - from) / ratios.len() as f64;
            from = *until;
            for ratio in ratios {
                let rule = VstRule { window: self.window, ratios: vec![*ratio], mix: self.mix };
                let plan = rule.plan(parts, Purpose::Answering, &mut |_| *ratio);
                for segment in plan.iter().flat_map(|plan| &plan.segments) {
                    let (len, memory) = (segment.len() as f64, segment.memory as f64);
                    sums.0 += share * len;
                    sums.1 += share * (len * memory + len * (len + 1.0) / 2.0);
                }
            }
        }
        sums
    }

    /// The operations of a sample that is read in windows, from those of the same sample read whole.
    pub fn flops(&self, whole: Flops, size: SampleSize, tokens_per_frame: usize) -> Flops {
        let (tokens, pairs) = self.tokens_and_pairs(size, tokens_per_frame);
        let all = (size.frames * tokens_per_frame + size.text_tokens).max(1) as f64;
        let (more, fewer) = (tokens / all, pairs / (all * (all + 1.0) / 2.0));
        let llm_forward_matmul = whole.llm_forward_matmul * more;
        let llm_forward_attention = whole.llm_forward_attention * fewer;
        let again = match self.backward {
            BackwardWord::Windows => llm_forward_matmul + llm_forward_attention,
            BackwardWord::Tape => 0.0,
        };
        Flops {
            llm_forward_matmul,
            llm_forward_attention,
            llm_backward_matmul: whole.llm_backward_matmul * more,
            llm_backward_attention: whole.llm_backward_attention * fewer,
            attention_recompute: whole.attention_recompute * fewer,
            recompute: again,
            ..whole
        }
    }

    /// What of a sample of this size is on a tape at a time: a window with the most learned tokens, and the words that are learnt.
    pub fn at_once(&self, size: SampleSize, tokens_per_frame: usize) -> SampleSize {
        let tokens = self.window.min(size.frames * tokens_per_frame);
        let least = self.all_ratios().filter(|ratio| *ratio > 0).min();
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
        let rule = self.rule(progress);
        let plan = rule.plan(parts, Purpose::Training, &mut |ratios| random.pick(ratios))?;
        plan.require_kept()?;
        Ok(plan)
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
    fn ratios_that_no_window_can_take_are_told_before_the_run() {
        let told = |phases: &[(f64, &[usize])]| windows(phases).impossible(8).unwrap_or_default();
        assert_eq!(told(&[(1.0, &[2, 4])]), "");
        assert_eq!(told(&[(1.0, &[5])]), "", "what one ratio leaves over is carried on");
        assert!(told(&[(1.0, &[25])]).contains("25 is larger than a window of 24"));
        assert!(told(&[(0.5, &[2, 4]), (1.0, &[5, 7])]).contains("[5, 7] (until 1 of the run)"));
        assert!(told(&[(1.0, &[3, 6])]).contains("none divides 8 visual tokens"));
    }

    /// By hand: two windows of 24 tokens, 12 learned ones each, then 6 tokens of text.
    #[test]
    fn tokens_and_pairs_are_those_of_the_windows() {
        let size = SampleSize { frames: 2, text_tokens: 6, supervised_tokens: 1 };
        let (tokens, pairs) = windows(&[(1.0, &[2])]).tokens_and_pairs(size, 24);
        let seen = |len: f64, memory: f64| len * memory + len * (len + 1.0) / 2.0;
        assert!((tokens - (36.0 + 36.0 + 6.0)).abs() < 1e-9);
        let want = seen(36.0, 0.0) + seen(36.0, 12.0) + seen(6.0, 24.0);
        assert!((pairs - want).abs() < 1e-9, "{pairs} {want}");
        let mixed = windows(&[(0.5, &[2]), (1.0, &[4, 8])]).tokens_and_pairs(size, 24).0;
        assert!((mixed - (0.5 * 72.0 + 0.25 * 60.0 + 0.25 * 54.0 + 6.0)).abs() < 1e-9, "{mixed}");
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
