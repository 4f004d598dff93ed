//! Windows of Video-XL as a run plans them: the recipe's ratios over the course of training, and what is drawn for a sample.

mod cost;

use std::fmt;

use serde::Serialize;
use xcomp_model::base::config::ModelConfig;
use xcomp_model::base::vst::VstConfig;
use xcomp_model::compress::layout::SequenceLayout;
use xcomp_model::compress::vst::{Parts, Purpose, RatioMix, VstError, VstPlan, VstRule};

use crate::error::Error;
use crate::machine::random::Random;
use crate::plan::Plan;
use crate::plan::cut::{Ends, Stated};
use crate::recipe::tables::{BackwardWord, RatioMixWord, RatioPhase, VstTable, WindowsWord};
use crate::recipe::tune::Part;
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
    /// Where they end while samples are learnt from, if not after so many tokens.
    cut: Option<Stated>,
    /// Where they end when the export answers.
    answering: Ends,
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
    /// Where they end while samples are learnt from.
    pub training: String,
    /// Where they end when the export answers.
    pub answering: String,
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
        let fixed = Ends::Tokens.to_string();
        if [&self.training, &self.answering].iter().any(|words| **words != fixed) {
            writeln!(f, "             training {}", self.training)?;
            writeln!(f, "             answers  {}", self.answering)?;
        }
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

impl VstTable {
    /// A part of the model as a run without windows tunes it: without learned tokens, which nothing asks for.
    pub fn awake(&self, part: Part) -> Part {
        match (self.windows, part) {
            (WindowsWord::None, Part::Llm) => Part::LlmWithoutVst,
            (_, part) => part,
        }
    }

    /// The windows of answers.
    pub fn answering(&self) -> WindowsWord {
        self.answer_windows.unwrap_or(self.windows)
    }

    /// Where they end when the export of a model answers; nothing if it has no learned tokens.
    pub fn answer_ends(&self, config: &ModelConfig) -> Option<Ends> {
        let own = config.llm.vst.as_ref()?;
        let window = self.window_tokens.unwrap_or(own.window);
        Some(Ends::of(self.answering(), self, window / config.tokens_per_frame()))
    }
}

impl Windows {
    /// Of a checked table; `None` if the model has no learned tokens, or is tuned without windows.
    pub fn new(table: &VstTable, config: &ModelConfig, seed: u64) -> Option<Self> {
        let own = config.llm.vst.as_ref()?;
        if table.windows == WindowsWord::None {
            return None;
        }
        let ratios = if table.ratios.is_empty() { &own.ratios } else { &table.ratios };
        let mut phases = table.curriculum.clone();
        if phases.is_empty() {
            phases.push(RatioPhase { until: 1.0, ratios: ratios.clone() });
        }
        let window = table.window_tokens.unwrap_or(own.window);
        let learning = Ends::of(table.windows, table, window / config.tokens_per_frame());
        Some(Self {
            backward: table.backward,
            window,
            mix: match table.ratio_mix {
                RatioMixWord::Step => RatioMix::Step,
                RatioMixWord::Instance => RatioMix::Instance,
                RatioMixWord::Sequence => RatioMix::Sequence,
            },
            phases,
            cut: learning.scenes().copied(),
            answering: table.answer_ends(config)?,
            seed,
        })
    }

    /// Whether class tokens of frames decide where windows end.
    pub fn looks_at_frames(&self) -> bool {
        self.cut.is_some()
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
        let training = self.cut.map(|cut| {
            let (middle, most) = (cut.middle(), cut.most());
            format!("{cut}; FLOPs are those of {middle} frames, memory that of {most}")
        });
        // Keys and values, two bytes each.
        let token = 4 * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim();
        WindowsReport {
            window_tokens: self.window,
            phases: self.phases.clone(),
            training: training.unwrap_or_else(|| Ends::Tokens.to_string()),
            answering: self.answering.to_string(),
            backward: self.backward.word(),
            longest_frames: LONGEST,
            longest_learned: learned,
            longest_bytes: (learned * token) as u64,
        }
    }

    /// The windows of the sample that `number` samples were taken before, at a share of the run.
    ///
    /// `gaps` has the similarities of the frames of each image and video, where [`Windows::looks_at_frames`].
    ///
    /// # Errors
    /// If the sample has text between its visuals or none behind them, or no ratio fits one of its windows.
    pub fn of(
        &self,
        sequence: &SequenceLayout,
        gaps: &[Vec<f64>],
        number: u64,
        progress: f64,
    ) -> Result<VstPlan, VstError> {
        let first = Random::named(self.seed, STREAM).bits();
        let mut random = Random::new(Random::behind(first, number).bits());
        let parts = Parts::of(sequence)?;
        let (rule, draw) = (self.rule(progress), &mut |ratios: &[usize]| random.pick(ratios));
        let plan = match self.cut {
            None => rule.plan(parts, Purpose::Training, draw)?,
            Some(cut) => {
                let windows = cut.rule().tokens(sequence, gaps);
                rule.plan_windows(parts, &windows, Purpose::Training, draw)?
            }
        };
        plan.require_kept()?;
        Ok(plan)
    }

    /// That a sample can be read in windows, whenever in the run it is taken and whatever is drawn for it.
    ///
    /// Ratios that fit one frame fit any number of them, so windows of fixed length stand for those that frames decide.
    ///
    /// # Errors
    /// As [`Windows::of`].
    pub fn require(&self, sequence: &SequenceLayout) -> Result<(), VstError> {
        let parts = Parts::of(sequence)?;
        for RatioPhase { ratios, .. } in &self.phases {
            let rule = VstRule { window: self.window, ratios: ratios.clone(), mix: self.mix };
            // One window may stay raw: as early as it can, or as late.
            let least = |ratios: &[usize]| ratios.iter().copied().min().unwrap_or(0);
            let largest = |ratios: &[usize]| ratios.iter().copied().max().unwrap_or(0);
            for mut draw in [&least as &dyn Fn(&[usize]) -> usize, &largest] {
                rule.plan(parts, Purpose::Training, &mut draw)?.require_kept()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use xcomp_model::compress::layout::VisualSpan;

    use super::*;

    pub(super) fn windows(phases: &[(f64, &[usize])]) -> Windows {
        let phase = |(until, ratios): &(f64, &[usize])| RatioPhase {
            until: *until,
            ratios: ratios.to_vec(),
        };
        Windows {
            backward: BackwardWord::Windows,
            window: 24,
            mix: RatioMix::Step,
            phases: phases.iter().map(phase).collect(),
            cut: None,
            answering: Ends::Tokens,
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

    #[test]
    fn a_sample_draws_the_same_ratios_whenever_it_is_taken() {
        let windows = windows(&[(1.0, &[2, 4, 8])]);
        let sequence = SequenceLayout::new(300, Some(VisualSpan::new(10, 12, 20)));
        let drawn = |number| windows.of(&sequence, &[], number, 0.0).unwrap();
        assert_eq!(drawn(5), drawn(5));
        assert!((0..20).any(|number| drawn(number) != drawn(5)));
    }
}
