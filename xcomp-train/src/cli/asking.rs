//! The arguments of every verb that asks about videos: how a video is looked at, how an answer is written.

use std::ops::RangeInclusive;
use std::path::Path;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use xcomp_model::generate::sample::Sampling;
use xcomp_model::question::qc_comp::Scope;

use crate::answer::select::{ScoreMode, SelectOptions};
use crate::answer::{AnswerOptions, Answerer};
use crate::error::Error;
use crate::plan::compression_plan;
use crate::recipe::answer_compression;

/// What a verb, or its recipe, does where the command line says nothing.
#[derive(Debug, Clone)]
pub(super) struct Usual {
    pub(super) frames: RangeInclusive<usize>,
    pub(super) select: Option<usize>,
    pub(super) repeat: usize,
    pub(super) score: ScoreMode,
    pub(super) max_new_tokens: usize,
}

/// How a video is looked at and an answer is written.
#[derive(Debug, Args)]
pub(super) struct AskingArgs {
    /// Frames to look at: one number, or fewest-most [default: 128-1024].
    #[arg(long, value_name = "N|MIN-MAX")]
    frames: Option<String>,
    /// Frames that the question chooses out of those looked at (QC-Comp); all without it.
    #[arg(long, value_name = "K")]
    select: Option<usize>,
    /// Passes over the video for the choice, each shifted; more is finer and slower [default: 2].
    #[arg(long, value_name = "D")]
    repeat: Option<usize>,
    /// Whose rules score frames [default: clean for one question, reference for a benchmark].
    #[arg(long, value_enum)]
    score: Option<ScoreMode>,
    /// One softmax over the whole chunk instead of windows of 8 clips (Table 4 of the paper).
    #[arg(long)]
    global: bool,
    /// Lets a word of the question see only the words before it while frames are scored.
    #[arg(long)]
    causal: bool,
    /// Frames of a clip in the tower instead of those of config.json: 4 or 8.
    #[arg(long, value_name = "4|8", value_parser = ["4", "8"])]
    clip_frames: Option<String>,
    /// Compresses by these keys of [compression], say `schedule=none`, and not as the checkpoint was tuned; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    compression: Vec<String>,
    /// Most tokens of an answer [default: 64 for one question, 16 or 32 for a benchmark, as released].
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Ends an answer before this text; repeatable.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Randomness of an answer; 0 always takes the best token [default: as the folder says for one question, 0 for a benchmark].
    #[arg(long)]
    temperature: Option<f32>,
    /// Draw among the best so many tokens; 0 for all [default: as temperature].
    #[arg(long)]
    top_k: Option<usize>,
    /// Draw among the best tokens of this probability [default: as temperature].
    #[arg(long)]
    top_p: Option<f32>,
    /// Makes tokens already written less likely if above 1; the released evaluation has 1.1 [default: as temperature].
    #[arg(long)]
    repetition_penalty: Option<f32>,
    /// Fixes all that is drawn.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
}

impl AskingArgs {
    pub(super) fn clip_frames(&self) -> Option<usize> {
        self.clip_frames.as_deref().map(|word| word.parse().expect("it is 4 or 8"))
    }

    /// The model under the compression that the arguments ask for.
    pub(super) fn compressing(&self, answerer: Answerer) -> Result<Answerer, Error> {
        if self.compression.is_empty() {
            return Ok(answerer);
        }
        let table = answer_compression(&self.compression)?;
        let plan = compression_plan(&table, answerer.config(), Path::new("--compression"))?;
        Ok(answerer.with_compression(plan))
    }

    /// Fewest and most frames, whole clips of `clip_frames`.
    pub(super) fn frames(
        &self,
        usual: &Usual,
        clip_frames: usize,
    ) -> Result<RangeInclusive<usize>, Error> {
        let (fewest, most) = (usual.frames.start(), usual.frames.end());
        let usual = || format!("{fewest}-{most}");
        frame_range(&self.frames.clone().unwrap_or_else(usual), clip_frames)
    }

    pub(super) fn select(&self, usual: &Usual) -> Option<SelectOptions> {
        let count = self.select.or(usual.select)?;
        Some(SelectOptions {
            count,
            n_repeat: self.repeat.unwrap_or(usual.repeat),
            mode: self.score.unwrap_or(usual.score),
            scope: if self.global { Scope::Global } else { Scope::WINDOWS },
            causal: self.causal,
        })
    }

    /// How an answer is written; `sampling` holds where the command line says nothing.
    pub(super) fn answer(&self, usual: &Usual, sampling: &Sampling) -> AnswerOptions {
        AnswerOptions {
            max_new_tokens: self.max_new_tokens.unwrap_or(usual.max_new_tokens),
            stop: self.stop.clone(),
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(sampling.temperature),
                top_k: self.top_k.unwrap_or(sampling.top_k),
                top_p: self.top_p.unwrap_or(sampling.top_p),
                repetition_penalty: self.repetition_penalty.unwrap_or(sampling.repetition_penalty),
            },
            seed: self.seed,
        }
    }
}

/// Whole clips between the two numbers.
fn frame_range(word: &str, clip: usize) -> Result<RangeInclusive<usize>, Error> {
    let wrong = || {
        Error::Argument(format!(
            "cannot look at `{word}` frames: give a number or fewest-most, multiples of {clip}"
        ))
    };
    let (fewest, most) = word.split_once('-').unwrap_or((word, word));
    let number =
        |word: &str| word.parse::<usize>().ok().filter(|n| *n > 0 && n.is_multiple_of(clip));
    match (number(fewest), number(most)) {
        (Some(fewest), Some(most)) if fewest <= most => Ok(fewest..=most),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_numbers_are_whole_clips() {
        assert_eq!(frame_range("64", 8).unwrap(), 64..=64);
        assert_eq!(frame_range("16-64", 8).unwrap(), 16..=64);
        for wrong in ["", "0", "12", "64-16", "a"] {
            assert!(frame_range(wrong, 8).is_err(), "{wrong}");
        }
    }
}
