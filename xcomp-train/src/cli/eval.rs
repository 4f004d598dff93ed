//! `xcomp eval`: a checkpoint on the questions of a benchmark.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{DeviceArg, FormatArg, PartArg, default_out};
use super::asking::{Asker, AskingArgs};
use super::export::plan_of_run;
use crate::error::{EXIT_STOPPED, Error};
use crate::eval::model::{ModelResponder, without_video};
use crate::eval::question::{Questions, read_questions};
use crate::eval::report::{EvalReport, named};
use crate::eval::responses::{Missing, Record, answer_all, part_folder};
use crate::eval::results::RESULTS;
use crate::export::{export, find_checkpoint};
use crate::hub::Hub;
use crate::machine::device::{Choice, open};
use crate::machine::files::write_atomically;
use crate::machine::memory::peak_rss_bytes;
use crate::machine::stop::on_end_of_input;
use crate::recipe::Recipe;
use crate::recipe::tables::{AnswerBy, Benchmark, EvalTable};
use crate::run::folder::RECIPE;
use crate::show::progress::{Progress, say};

/// Arguments of `xcomp eval`; what is not given is as the recipe's `[eval]` says.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// A recipe whose [eval] names the checkpoint, the folder of a run (its newest checkpoint is exported first), or an exported folder.
    #[arg(value_name = "RECIPE|RUN|CHECKPOINT")]
    subject: PathBuf,
    /// Where responses and results go; a second call goes on there [default: runs/NAME-eval, with the name of the recipe or folder].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The questions, JSON, JSON lines or parquet as published.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Folder of the videos.
    #[arg(long, value_name = "FOLDER")]
    videos: Option<PathBuf>,
    /// What questions do whose video is missing, or that contradict themselves.
    #[arg(long, value_enum, default_value = "stop")]
    missing: Missing,
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
    part: PartArg,
    #[command(flatten)]
    asking: AskingArgs,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
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
    let Questions { benchmark, asked: mut questions, mut unasked } =
        read_questions(eval.questions.as_ref(), eval.benchmark, subtitles)?;
    questions.truncate(args.limit.unwrap_or(usize::MAX));
    if let Some(share) = args.part.share {
        let mut taken = share.takes(questions.iter().map(|one| one.video.clone())).into_iter();
        questions.retain(|_| taken.next() == Some(true));
        unasked.clear(); // the whole counts them
    }
    unasked.extend(without_video(eval.videos.as_ref(), &mut questions));
    if args.missing == Missing::Stop && !unasked.is_empty() {
        let message = format!(
            "{} questions cannot be asked, none was; --missing skip leaves them out and counts them:{}",
            unasked.len(),
            named(&unasked)
        );
        return Err(Error::Argument(message));
    }
    let folder = exported(&Hub::of_environment().local(eval.checkpoint.as_ref())?)?;
    let whole = args.out.clone().unwrap_or_else(|| default_out(&args.subject, "-eval"));
    let out = args.part.share.map_or(whole.clone(), |share| part_folder(&whole, share));
    let answerer = args.asking.open(&folder, &args.device.open()?)?;
    let asking = args.asking.resolve(&eval, &answerer, Asker::Benchmark(benchmark))?;
    let mut responder = ModelResponder::new(answerer, &folder, eval.videos.as_ref(), asking)?;
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
    let mut answers =
        answer_all(benchmark, &questions, args.missing, &mut responder, &out, &mut show)?;
    drop(progress);
    let (asked, read) = (answers.records.len(), responder.prefills());
    let peak = peak_rss_bytes() >> 20;
    say(&format!(
        "{asked} answers; visual tokens went through the decoder {read} times for them; peak memory {peak} MiB"
    ));
    answers.unasked.splice(..0, unasked);
    let report = EvalReport::new(benchmark, &answers);
    write_results(&out, &report, &answers.records)?;
    args.format.print(&report)
}

impl EvalArgs {
    /// The recipe's `[eval]` with the arguments laid over it; it names checkpoint, questions and videos.
    fn resolve(&self) -> Result<EvalTable, Error> {
        let (stated, hub) = (self.stated()?, Hub::of_environment());
        let path = |given: &Option<PathBuf>, stated: String| match given {
            Some(path) => Ok(hub.local(path)?.to_string_lossy().into_owned()),
            None => Ok::<_, Error>(stated),
        };
        let eval = EvalTable {
            questions: path(&self.questions, stated.questions)?,
            videos: path(&self.videos, stated.videos)?,
            subtitles: path(&self.subtitles, stated.subtitles)?,
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
        let lock = self.subject.join(RECIPE);
        let file = if self.subject.is_file() { &self.subject } else { &lock };
        Ok(file
            .is_file()
            .then(|| Recipe::load(file, &self.asking.recipe_settings()))
            .transpose()?)
    }

    /// What the subject itself says.
    fn stated(&self) -> Result<EvalTable, Error> {
        let checkpoint = self.subject.to_string_lossy().into_owned();
        match self.recipe()? {
            Some(recipe) if self.subject.is_file() => {
                recipe.require("eval", EvalTable::KEYS)?;
                return Ok(recipe.eval);
            }
            Some(recipe) => return Ok(EvalTable { checkpoint, ..recipe.eval }),
            None => (),
        }
        if !self.asking.recipe_settings().is_empty() {
            let message = "an exported folder has no recipe, so --set has nothing to override but compression.KEY";
            return Err(Error::Argument(message.into()));
        }
        Ok(EvalTable { checkpoint, ..EvalTable::default() })
    }
}

/// The folder itself, or the export of a run's newest checkpoint, made if it is not there.
fn exported(folder: &Path) -> Result<PathBuf, Error> {
    if !folder.join(RECIPE).is_file() {
        return Ok(folder.to_owned());
    }
    let saved = find_checkpoint(folder, None)?;
    let target = folder.join(format!("export-{}", saved.step));
    if !target.join("config.json").is_file() {
        export(&plan_of_run(folder, &[])?, &saved, &target, &open(Choice::Cpu)?.device)?;
    }
    Ok(target)
}

/// `results.json`: the report and a log for each question, in lmms-eval's layout.
fn write_results(out: &Path, report: &EvalReport, records: &[Record]) -> Result<(), Error> {
    let whole = serde_json::json!({ "results": report, "logs": records });
    let text = serde_json::to_vec_pretty(&whole).expect("plain data is JSON");
    write_atomically(&out.join(RESULTS), &text)
}
