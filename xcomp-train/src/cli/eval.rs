//! `xcomp eval`: a checkpoint on the questions of a benchmark.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::ask::frame_range;
use super::export::plan_of_run;
use super::{Format, print_as};
use crate::answer::select::{ScoreMode, SelectOptions};
use crate::answer::{AnswerOptions, Answerer};
use crate::device::{Choice, open};
use crate::error::Error;
use crate::eval::model::{AnswerBy, AskSettings, ModelResponder};
use crate::eval::question::{Benchmark, read_questions};
use crate::eval::report::EvalReport;
use crate::eval::responses::{Record, answer_all};
use crate::export::{export, find_checkpoint};
use crate::files::write_atomically;

/// Arguments of `xcomp eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// An exported folder, or the folder of a run, whose newest checkpoint is exported first.
    checkpoint: PathBuf,
    /// The questions, a JSON list as published.
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    /// Folder of the videos.
    #[arg(long, value_name = "FOLDER")]
    videos: PathBuf,
    /// Folder of the subtitles that the questions name.
    #[arg(long, value_name = "FOLDER")]
    subtitles: Option<PathBuf>,
    /// Where responses and results go; a second call goes on there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Whose questions; told from the file without it.
    #[arg(long, value_enum)]
    benchmark: Option<Benchmark>,
    /// How the letter is got out of the model.
    #[arg(long, value_enum, default_value = "generation")]
    by: AnswerBy,
    /// Only the first so many questions.
    #[arg(long)]
    limit: Option<usize>,
    /// Frames to look at: one number, or fewest-most.
    #[arg(long, value_name = "N|MIN-MAX")]
    frames: Option<String>,
    /// Frames that each question chooses out of those looked at; all without it.
    #[arg(long, value_name = "K")]
    select: Option<usize>,
    /// Passes over a video for the choice, each shifted.
    #[arg(long, value_name = "D", default_value_t = 2)]
    repeat: usize,
    /// Whose rules score frames.
    #[arg(long, value_enum, default_value = "reference")]
    score: ScoreMode,
    /// One softmax over the whole chunk instead of windows of 8 clips.
    #[arg(long)]
    global: bool,
    /// Frames of a clip in the tower instead of those of config.json.
    #[arg(long, value_name = "4|8", value_parser = ["4", "8"])]
    clip_frames: Option<String>,
    /// Most tokens of a response.
    #[arg(long, default_value_t = 16)]
    max_new_tokens: usize,
    /// Makes tokens already written less likely; 1.1 in the released evaluation.
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Fixes the intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to compute: cpu, cuda[:i], vulkan[:i], auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Error> {
    let (benchmark, mut questions) =
        read_questions(&args.questions, args.benchmark, args.subtitles.as_deref())?;
    questions.truncate(args.limit.unwrap_or(usize::MAX));
    let folder = exported(&args.checkpoint)?;
    let clip = args.clip_frames.as_deref().map(|word| word.parse().expect("it is 4 or 8"));
    let answerer = Answerer::open_with_clips(&folder, clip, &open(args.device)?)?;
    let ask = args.settings(answerer.config().vision.clip_frames)?;
    let mut responder = ModelResponder::new(answerer, &folder, ask)?;

    let total = questions.len();
    let mut right = 0.0;
    let mut show = |index: usize, record: &Record| {
        right += record.score.unwrap_or(0.0);
        let line = format!("{}/{total} {right} right | {}", index + 1, record.doc_id);
        writeln!(std::io::stderr(), "{line}").unwrap_or_default();
    };
    let records = answer_all(benchmark, &questions, &mut responder, &args.out, &mut show)?;
    let report = EvalReport::new(benchmark, &records, args.seed);
    write_results(&args.out, &report, &records)?;
    print_as(args.format, &report)
}

impl EvalArgs {
    fn settings(&self, clip_frames: usize) -> Result<AskSettings, Error> {
        let (fewest, most) = frame_range(self.frames.as_deref(), clip_frames)?;
        let mut answer =
            AnswerOptions { max_new_tokens: self.max_new_tokens, ..Default::default() };
        answer.sampling.repetition_penalty = self.repetition_penalty;
        let select = self.select.map(|count| SelectOptions {
            count,
            n_repeat: self.repeat,
            mode: self.score,
            scope: super::ask::scope(self.global),
            causal: false,
        });
        let videos = self.videos.clone();
        Ok(AskSettings { videos, frames: fewest..=most, select, by: self.by, answer })
    }
}

/// The folder itself, or the export of a run's newest checkpoint, made if it is not there.
fn exported(folder: &Path) -> Result<PathBuf, Error> {
    if !folder.join("recipe.lock.toml").is_file() {
        return Ok(folder.to_owned());
    }
    let saved = find_checkpoint(folder, None)?;
    let target = folder.join(format!("export-{}", saved.step));
    if !target.join("config.json").is_file() {
        export(&plan_of_run(folder, &[])?, &saved, &target, &open(Choice::Cpu)?)?;
    }
    Ok(target)
}

/// `results.json`: the report and a log for each question, in lmms-eval's layout.
fn write_results(out: &Path, report: &EvalReport, records: &[Record]) -> Result<(), Error> {
    let whole = serde_json::json!({ "results": report, "logs": records });
    let text = serde_json::to_vec_pretty(&whole).expect("plain data is JSON");
    write_atomically(&out.join("results.json"), &text)
}
