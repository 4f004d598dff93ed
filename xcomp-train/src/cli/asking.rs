//! The arguments of every verb that asks about videos: how a video is looked at, how an answer is written.

use std::ops::RangeInclusive;
use std::path::Path;

use burn::tensor::Device;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use xcomp_model::generate::sample::Sampling;
use xcomp_model::question::qc_comp::Scope;

use crate::answer::asking::Asking;
use crate::answer::precision::Precision;
use crate::answer::select::{ScoreMode, SelectOptions};
use crate::answer::{AnswerOptions, Answerer};
use crate::error::Error;
use crate::eval::question::max_new_tokens;
use crate::plan::compression_plan;
use crate::plan::survey::frame_style;
use crate::recipe::answer_compression;
use crate::recipe::tables::{Benchmark, EvalTable, WindowsWord};

/// Most tokens of an answer to one question.
const MAX_NEW_TOKENS: usize = 64;
/// The table of the recipe that says how a checkpoint compresses.
const COMPRESSION: &str = "compression.";

/// Who asks: it decides what neither recipe nor arguments say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    /// One question of a person: clean scores, drawn as the folder says.
    Person,
    /// The rules of a benchmark's released evaluation.
    Benchmark(Benchmark),
}

/// How a video is looked at and an answer is written.
#[derive(Debug, Args)]
pub(super) struct AskingArgs {
    /// Frames to look at: one number, or fewest-most [default: as the recipe says, else as the model's family is evaluated].
    #[arg(long, value_name = "N|MIN-MAX")]
    frames: Option<String>,
    /// Frames that the question chooses out of those looked at (QC-Comp); all without it.
    #[arg(long, value_name = "K")]
    select: Option<usize>,
    /// Passes over the video for the choice, each shifted; more is finer and slower [default: 2, or as the recipe says].
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
    /// Visual tokens for each learned one, where videos are read in windows; 0 keeps all [default: the largest of config.json].
    #[arg(long, value_name = "R")]
    ratio: Option<usize>,
    /// Tokens of a frame in the mean over the layers: any of the budgets that an elastic checkpoint was tuned to [default: as the checkpoint states, the largest of several].
    #[arg(long, value_name = "N", conflicts_with = "compression")]
    tokens: Option<f64>,
    /// Where windows end, for a model that reads videos in them [default: as config.json states].
    #[arg(long, value_enum)]
    windows: Option<WindowsWord>,
    /// Dtype of the weights; a GPU computes in it, a CPU in f32 [default: bf16 on a GPU, f32 on a CPU].
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Overrides a key; repeatable. `compression.KEY=VALUE` compresses otherwise than the checkpoint was tuned; other keys are those of the recipe, where there is one.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    /// Old spelling of --set compression.KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
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
    /// The keys of a recipe that the arguments override.
    pub(super) fn recipe_settings(&self) -> Vec<String> {
        let others = self.set.iter().filter(|given| !given.trim_start().starts_with(COMPRESSION));
        others.cloned().collect()
    }

    /// The folder's model, with the clips and under the compression that the arguments ask for.
    pub(super) fn open(&self, folder: &Path, device: &Device) -> Result<Answerer, Error> {
        let clip_frames = self.clip_frames.as_deref().map(|word| word.parse().expect("4 or 8"));
        let precision = self.dtype.unwrap_or(Precision::of(device));
        let answerer = Answerer::open_as(folder, clip_frames, precision, device)?;
        let answerer = match self.windows {
            Some(windows) => answerer.with_windows(windows)?,
            None => answerer,
        };
        let answerer = match self.ratio {
            Some(ratio) => answerer.with_ratio(ratio)?,
            None => answerer,
        };
        let given =
            self.set.iter().filter_map(|given| given.trim_start().strip_prefix(COMPRESSION));
        let settings: Vec<String> =
            self.compression.iter().cloned().chain(given.map(str::to_owned)).collect();
        match self.tokens {
            None if settings.is_empty() => return answerer.fit(),
            None => {}
            Some(tokens) if settings.is_empty() => return answerer.with_tokens(tokens, folder),
            Some(_) => {
                let settings = settings.join(", ");
                return Err(Error::Argument(format!(
                    "--tokens says how a frame is compressed: leave --set compression.{settings} out"
                )));
            }
        }
        let table = answer_compression(&settings)?;
        let plan = compression_plan(&table, answerer.config(), Path::new("--set"))?;
        answerer.with_compression(plan).fit()
    }

    /// What the recipe's `[eval]` and the arguments over it come to for this model.
    pub(super) fn resolve(
        &self,
        stated: &EvalTable,
        answerer: &Answerer,
        asker: Asker,
    ) -> Result<Asking, Error> {
        let (score, tokens, sampling) = match asker {
            Asker::Person => (ScoreMode::Clean, MAX_NEW_TOKENS, answerer.sampling()),
            Asker::Benchmark(benchmark) => {
                (ScoreMode::Reference, max_new_tokens(benchmark), &Sampling::GREEDY)
            }
        };
        let frames = self.frames.clone().unwrap_or_else(|| {
            let (fewest, most) = usual_frames(stated, frame_style(answerer.config().family).frames);
            format!("{fewest}-{most}")
        });
        let tokens = self.max_new_tokens.or(stated.max_new_tokens).unwrap_or(tokens);
        if tokens == 0 {
            return Err(Error::Argument("--max-new-tokens is at least 1".into()));
        }
        let wrong = |what: &str| Error::Argument(what.into());
        Ok(Asking {
            frames: frame_range(&frames, answerer.config().vision.clip_frames)?,
            select: self.select(stated, score),
            by: stated.answer_by,
            answer: AnswerOptions {
                max_new_tokens: tokens,
                stop: self.stop.clone(),
                sampling: self.sampling(sampling).checked().map_err(wrong)?,
                seed: self.seed,
            },
        })
    }

    fn select(&self, stated: &EvalTable, score: ScoreMode) -> Option<SelectOptions> {
        Some(SelectOptions {
            count: self.select.or(stated.select)?,
            n_repeat: self.repeat.unwrap_or(stated.repeat),
            mode: self.score.unwrap_or(score),
            scope: if self.global { Scope::Global } else { Scope::WINDOWS },
            causal: self.causal,
        })
    }

    fn sampling(&self, usual: &Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(usual.temperature),
            top_k: self.top_k.unwrap_or(usual.top_k),
            top_p: self.top_p.unwrap_or(usual.top_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
        }
    }
}

/// What the recipe states, or where it leaves both numbers as they are those of the model's family.
fn usual_frames(stated: &EvalTable, family: (usize, usize)) -> (usize, usize) {
    let (usual, stated) = (EvalTable::default(), (stated.min_frames, stated.max_frames));
    if stated == (usual.min_frames, usual.max_frames) { family } else { stated }
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
