//! What answering a question costs, from `config.json`, the arm and the words of the questions alone.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum as _;
use serde::Serialize;
use xcomp_data::{Choice, Template, TimeMessage, Tokenizer, render_question};
use xcomp_model::base::config::ModelConfig;
use xcomp_model::compress::schedule::CompressionPlan;
use xcomp_model::cost::matmul;
use xcomp_model::decoder::qwen2::DecoderLayer;
use xcomp_model::question::frame_select::SelectRule;
use xcomp_model::question::qc_comp::Scope;

use super::material::Material;
use super::sweep::{Arm, Sweep};
use crate::error::Error;
use crate::eval::question::{Question, read_questions};
use crate::plan::model_config;
use crate::plan::survey::{frame_style, recipe_template};
use crate::recipe::Recipe;
use crate::recipe::tables::{Benchmark, EvalTable};

/// Bytes of a number in the cache: bf16.
const KV_BYTES: u64 = 2;

/// What one question costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QuestionCost {
    /// FLOPs of the language model up to the first token of the answer, those by which frames are chosen with them.
    pub llm_flops: f64,
    /// Bytes of keys and values that the answer is written over, in bf16.
    pub kv_bytes: u64,
}

/// How long the prompts of a sweep are, for the model of its recipe.
#[derive(Debug)]
pub struct Prompts {
    config: ModelConfig,
    /// Text tokens of a question in the mean, by the frames that arms look at.
    text_tokens: BTreeMap<usize, usize>,
}

impl Prompts {
    /// Of the sweep's recipe and questions.
    ///
    /// # Errors
    /// If they cannot be read, or a claim is about a task that no question has.
    pub fn of(sweep: &Sweep, material: &Material) -> Result<Self, Error> {
        let set = [&sweep.head.set[..], &material.settings()].concat();
        let recipe = Recipe::load(&sweep.head.recipe, &set)?;
        recipe.require("model", &["tokenizer"])?;
        let config = model_config(Path::new(&recipe.model.config), &recipe.compression)?;
        let template = recipe_template(&recipe.model, config.family);
        let tokenizer = Tokenizer::open(Path::new(&recipe.model.tokenizer), &template)?;
        let questions = questions(sweep, material)?;
        let kind = frame_style(config.family).time_message;
        let mut text_tokens = BTreeMap::new();
        for frames in sweep.arms.iter().flat_map(|arm| &arm.frames) {
            if !text_tokens.contains_key(frames) {
                let message = message(*frames, kind);
                let mean = mean_tokens(&questions, &message, &template, &tokenizer)?;
                text_tokens.insert(*frames, mean);
            }
        }
        Ok(Self { config, text_tokens })
    }

    /// What a question costs an arm that looks at so many frames and reads them in one pass; `None` where they are not known.
    pub fn cost(
        &self,
        arm: &Arm,
        compression: &CompressionPlan,
        frames: Option<usize>,
    ) -> Option<QuestionCost> {
        let frames = frames?;
        let work =
            Work { config: &self.config, compression, text: *self.text_tokens.get(&frames)? };
        let layers = self.config.llm.num_hidden_layers;
        let choice = Chosen::of(arm, frames, layers);
        let scoring = choice.rule.map_or(0.0, |rule| {
            let passes = rule.chunk_starts(frames).len() as f64;
            passes * work.layers(rule.chunk_frames(), *rule.layers.end())
        });
        let llm = &self.config.llm;
        let head = matmul(1, llm.hidden_size, llm.vocab_size);
        Some(QuestionCost {
            llm_flops: scoring + work.layers(choice.frames, layers) + head,
            kv_bytes: work.kv_bytes(choice.frames),
        })
    }
}

/// The questions of a sweep.
///
/// # Errors
/// If they cannot be read, or a claim is about a task that no question has.
fn questions(sweep: &Sweep, material: &Material) -> Result<Vec<Question>, Error> {
    let asked = |flag| of_flag(&sweep.head.ask, flag);
    let benchmark = asked("--benchmark").and_then(|word| Benchmark::from_str(word, true).ok());
    let subtitles = asked("--subtitles").map(Path::new);
    let questions = read_questions(material.examination().0, benchmark, subtitles)?.asked;
    let known = |task: &&String| questions.iter().any(|one| one.tasks.contains(task));
    let claims = sweep.tables.iter().flat_map(|table| &table.claim);
    if let Some(task) = claims.flat_map(|claim| &claim.tasks).find(|task| !known(task)) {
        let path = sweep.path.display();
        return Err(Error::Argument(format!(
            "{path}: a claim is about the task `{task}`, of which there is no question"
        )));
    }
    Ok(questions)
}

/// What a prompt says of a video of so many frames, one a second.
fn message(frames: usize, kind: TimeMessage) -> String {
    let duration_s = frames as f64;
    Choice { indices: (0..frames).collect(), first: 0, fps: 1.0, duration_s }.message(kind)
}

/// Text tokens of a question in the mean.
fn mean_tokens(
    questions: &[Question],
    message: &str,
    template: &Template,
    tokenizer: &Tokenizer,
) -> Result<usize, Error> {
    let mut all = 0;
    for question in questions {
        let ids = render_question(template, tokenizer, &question.prompt, message)?;
        all += ids.len() - 1; // the marker of the video
    }
    Ok(all / questions.len().max(1))
}

/// What the decoder works at.
struct Work<'a> {
    config: &'a ModelConfig,
    compression: &'a CompressionPlan,
    text: usize,
}

impl Work<'_> {
    fn tokens(&self, layer: usize, frames: usize) -> usize {
        self.compression.visual_tokens(layer, frames) + self.text
    }

    /// FLOPs of the first `count` layers over these frames and a question.
    fn layers(&self, frames: usize, count: usize) -> f64 {
        let of = |layer| DecoderLayer::flops(&self.config.llm, self.tokens(layer, frames)).all();
        (0..count).map(of).sum()
    }

    fn kv_bytes(&self, frames: usize) -> u64 {
        let llm = &self.config.llm;
        let tokens: usize =
            (0..llm.num_hidden_layers).map(|layer| self.tokens(layer, frames)).sum();
        2 * KV_BYTES * (tokens * llm.num_key_value_heads * llm.head_dim()) as u64
    }
}

/// The frames that a question is answered on, and how they are chosen.
struct Chosen {
    frames: usize,
    rule: Option<SelectRule>,
}

impl Chosen {
    fn of(arm: &Arm, looked_at: usize, layers: usize) -> Self {
        let number = |flag: &str, key: &str| -> Option<usize> {
            let key = format!("{key}=");
            let set = arm.eval.iter().rev().find_map(|word| word.strip_prefix(&key));
            of_flag(&arm.ask, flag).or(set)?.trim_matches('"').parse().ok()
        };
        let all = Self { frames: looked_at, rule: None };
        let Some(count) = number("--select", "eval.select").filter(|count| *count < looked_at)
        else {
            return all;
        };
        let repeat = number("--repeat", "eval.repeat").unwrap_or(EvalTable::default().repeat);
        let reference = SelectRule::reference(repeat);
        let clean =
            of_flag(&arm.ask, "--score") == Some("clean") && looked_at >= reference.clip_frames;
        let rule =
            if clean { SelectRule::any_length(looked_at, layers, repeat) } else { reference };
        if looked_at < rule.threshold_frames {
            return all;
        }
        let global = arm.ask.iter().any(|word| word == "--global");
        let scope = if global { Scope::Global } else { Scope::WINDOWS };
        Self { frames: count, rule: Some(SelectRule { scope, ..rule }) }
    }
}

/// What is given behind a flag, or behind its `=`; the last one counts.
pub fn of_flag<'a>(words: &'a [String], flag: &str) -> Option<&'a str> {
    let joined = |word: &'a String| word.strip_prefix(flag)?.strip_prefix('=');
    let behind =
        words.windows(2).filter(|two| two[0] == flag).map(|two| two[1].as_str()).next_back();
    words.iter().rev().find_map(joined).or(behind)
}

#[cfg(test)]
mod tests {
    use xcomp_model::compress::schedule::{KeepRule, Schedule};

    use super::*;
    use crate::plan::cost::released;

    fn work(schedule: &Schedule, frames: usize) -> (f64, u64) {
        let config = released::config();
        let compression = CompressionPlan::new(schedule, KeepRule::Suffix, 16, 28).unwrap();
        let work = Work { config: &config, compression: &compression, text: 100 };
        (work.layers(frames, 28), work.kv_bytes(frames))
    }

    /// By hand: 28 layers of 256 + 100 tokens, keys and values of 2 heads of 128 in bf16; products of a layer are
    /// 2 x (1536 x (1536 + 2 x 256) + 1536 x 1536 + 3 x 1536 x 8960) a token, attention 4 x 1536 for each of 356 x 357 / 2 pairs.
    #[test]
    fn a_question_costs_what_is_counted_by_hand() {
        let (flops, bytes) = work(&Schedule::None, 16);
        assert_eq!(bytes, 28 * 356 * 2 * 2 * 256);
        let want = 28.0 * (356.0 * 93_585_408.0 + 63_546.0 * 6144.0);
        assert!((flops / want - 1.0).abs() < 1e-9, "{flops} is not {want}");
        // A quarter of the tokens of four times the frames is as many.
        let quarter = work(&Schedule::Uniform(4), 64);
        assert_eq!((quarter.0.to_bits(), quarter.1), (flops.to_bits(), bytes));
    }

    #[test]
    fn chosen_frames_are_scored_before() {
        let arm = |ask: &[&str]| Arm {
            ask: ask.iter().map(|word| (*word).to_owned()).collect(),
            ..Arm::default()
        };
        let chosen = |ask: &[&str]| {
            let Chosen { frames, rule } = Chosen::of(&arm(ask), 32, 6);
            (frames, rule.map(|rule| (rule.chunk_starts(32).len(), rule.chunk_frames())))
        };
        assert_eq!(chosen(&[]), (32, None));
        assert_eq!(
            chosen(&["--select", "8"]),
            (32, None),
            "the released rule leaves short videos alone"
        );
        // Windows of 4 clips of 8 frames beyond both ends of 32.
        let windows = ["--select", "8", "--score", "clean", "--repeat", "2"];
        assert_eq!(chosen(&windows), (8, Some((2, 96))));
        assert_eq!(
            chosen(&["--select=8", "--score=clean", "--repeat=1", "--global"]),
            (8, Some((1, 32)))
        );
    }
}
