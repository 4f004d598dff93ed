//! `xcomp eval`: a checkpoint on the questions of a benchmark.

use std::path::{Path, PathBuf};

use clap::Args;
use xcomp_model::generate::sample::Sampling;

use super::asking::{AskingArgs, Usual};
use super::export::plan_of_run;
use super::{Format, print_as};
use crate::answer::Answerer;
use crate::answer::select::ScoreMode;
use crate::error::{EXIT_STOPPED, Error};
use crate::eval::model::{AskSettings, ModelResponder};
use crate::eval::question::{max_new_tokens, read_questions};
use crate::eval::report::EvalReport;
use crate::eval::responses::{Record, answer_all};
use crate::eval::results::RESULTS;
use crate::export::{export, find_checkpoint};
use crate::machine::device::{Choice, open};
use crate::machine::files::write_atomically;
use crate::machine::stop::on_end_of_input;
use crate::recipe::Recipe;
use crate::recipe::tables::{AnswerBy, Benchmark, EvalTable};
use crate::show::progress::Progress;

/// The resolved recipe in the folder of a run.
const LOCK: &str = "recipe.lock.toml";

/// Arguments of `xcomp eval`; what is not given is as the recipe's `[eval]` says.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// A recipe whose [eval] names the checkpoint, the folder of a run (its newest checkpoint is exported first), or an exported folder.
    #[arg(value_name = "RECIPE|RUN|CHECKPOINT")]
    subject: PathBuf,
    /// Where responses and results go; a second call goes on there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Overrides a key of the recipe; repeatable.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
    /// The questions, JSON or parquet as published.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Folder of the videos.
    #[arg(long, value_name = "FOLDER")]
    videos: Option<PathBuf>,
    /// Folder of the subtitles that the questions name.
    #[arg(long, value_name = "FOLDER")]
    subtitles: Option<PathBuf>,
    /// Whose questions; told from the file without it.
    #[arg(long, value_enum)]
    benchmark: Option<Benchmark>,
    /// How the letter is got out of the model [default: generation].
    #[arg(long, value_enum)]
    by: Option<AnswerBy>,
    /// Only the first so many questions.
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    asking: AskingArgs,
    /// Where to compute: cpu, cuda[:i], vulkan[:i], auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Ends when standard input ends, for a program that starts evaluations; exit code 75. Responses so far are kept.
    #[arg(long)]
    until_input_ends: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<(), Error> {
    if args.until_input_ends {
        on_end_of_input(|| std::process::exit(EXIT_STOPPED.into()));
    }
    let eval = args.resolve()?;
    let subtitles = (!eval.subtitles.is_empty()).then(|| Path::new(&eval.subtitles));
    let (benchmark, mut questions) =
        read_questions(eval.questions.as_ref(), eval.benchmark, subtitles)?;
    questions.truncate(args.limit.unwrap_or(usize::MAX));
    let folder = exported(eval.checkpoint.as_ref())?;
    let answerer =
        Answerer::open_with_clips(&folder, args.asking.clip_frames(), &open(args.device)?)?;
    let answerer = args.asking.compressing(answerer)?;
    let ask = args.settings(&eval, benchmark, answerer.config().vision.clip_frames)?;
    let mut responder = ModelResponder::new(answerer, &folder, ask)?;
    if let Some(recipe) = args.recipe()? {
        responder = responder.keeping(&recipe.data)?;
    }

    let progress = Progress::new("questions", questions.len());
    let mut right = 0.0;
    let mut show = |index: usize, record: &Record| {
        right += record.score.unwrap_or(0.0);
        progress.at(index + 1);
        progress.note(&format!("{right} right"));
    };
    let records = answer_all(benchmark, &questions, &mut responder, &args.out, &mut show)?;
    drop(progress);
    let report = EvalReport::new(benchmark, &records, args.asking.seed);
    write_results(&args.out, &report, &records)?;
    print_as(args.format, &report)
}

impl EvalArgs {
    /// The recipe's `[eval]` with the arguments laid over it; it names checkpoint, questions and videos.
    fn resolve(&self) -> Result<EvalTable, Error> {
        let stated = self.stated()?;
        let path = |given: &Option<PathBuf>, stated: String| match given {
            Some(path) => path.to_string_lossy().into_owned(),
            None => stated,
        };
        let eval = EvalTable {
            questions: path(&self.questions, stated.questions),
            videos: path(&self.videos, stated.videos),
            subtitles: path(&self.subtitles, stated.subtitles),
            benchmark: self.benchmark.or(stated.benchmark),
            answer_by: self.by.unwrap_or(stated.answer_by),
            ..stated
        };
        for (key, value, way) in [
            ("checkpoint", &eval.checkpoint, "evaluate a run's folder or an exported folder"),
            ("questions", &eval.questions, "give --questions FILE"),
            ("videos", &eval.videos, "give --videos FOLDER"),
        ] {
            if value.is_empty() {
                let subject = self.subject.display();
                let message = format!("{subject} states no [eval] {key}; state it, or {way}");
                return Err(Error::Argument(message));
            }
        }
        Ok(eval)
    }

    /// The subject, or what it was trained by; an exported folder has none.
    fn recipe(&self) -> Result<Option<Recipe>, Error> {
        let lock = self.subject.join(LOCK);
        let file = if self.subject.is_file() { &self.subject } else { &lock };
        Ok(file.is_file().then(|| Recipe::load(file, &self.set)).transpose()?)
    }

    /// What the subject itself says.
    fn stated(&self) -> Result<EvalTable, Error> {
        let checkpoint = self.subject.to_string_lossy().into_owned();
        match self.recipe()? {
            Some(recipe) if self.subject.is_file() => return Ok(recipe.eval),
            Some(recipe) => return Ok(EvalTable { checkpoint, ..recipe.eval }),
            None => (),
        }
        if !self.set.is_empty() {
            let message = "an exported folder has no recipe, so --set has nothing to override";
            return Err(Error::Argument(message.into()));
        }
        Ok(EvalTable { checkpoint, ..EvalTable::default() })
    }

    fn settings(
        &self,
        eval: &EvalTable,
        benchmark: Benchmark,
        clip_frames: usize,
    ) -> Result<AskSettings, Error> {
        let usual = Usual {
            frames: eval.min_frames..=eval.max_frames,
            select: eval.select,
            repeat: eval.repeat,
            score: ScoreMode::Reference,
            max_new_tokens: eval.max_new_tokens.unwrap_or(max_new_tokens(benchmark)),
        };
        Ok(AskSettings {
            videos: eval.videos.clone().into(),
            frames: self.asking.frames(&usual, clip_frames)?,
            select: self.asking.select(&usual),
            by: eval.answer_by,
            answer: self.asking.answer(&usual, &Sampling::GREEDY),
        })
    }
}

/// The folder itself, or the export of a run's newest checkpoint, made if it is not there.
fn exported(folder: &Path) -> Result<PathBuf, Error> {
    if !folder.join(LOCK).is_file() {
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
    write_atomically(&out.join(RESULTS), &text)
}
