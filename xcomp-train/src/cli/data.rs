//! `xcomp data lint|stats|show|cache`: the mixture of a recipe, before it is trained on.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use xcomp_data::report::{
    LintReport, Span, StatsReport, contact_sheet, lint, show, stats, write_png,
};
use xcomp_data::{LintOptions, StatsOptions};
use xcomp_model::base::config::ModelConfig;

use super::args::{DeviceArg, FormatArg, PartArg, RecipeArgs};
use super::vico::{self, VicoArgs};
use crate::data::Data;
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::cost::SampleSize;
use crate::plan::survey::{frame_options, recipe_template};
use crate::run::cache_fill::{Task, fill};
use crate::show::progress::{Progress, during};

/// Samples of each dataset that `stats` tokenizes.
const MAX_TOKENIZED: usize = 200;
/// A contact sheet is so many pictures wide.
const SHEET_COLUMNS: usize = 8;
/// Each so many pixels.
const SHEET_TILE: usize = 160;

/// Arguments of `xcomp data`.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    report: Report,
}

#[derive(Debug, Subcommand)]
enum Report {
    /// Opens every media file once and lists what cannot be used; exit code 3 if anything.
    Lint(LintArgs),
    /// Counts samples, frames, tokens and FLOPs by dataset.
    Stats(Common),
    /// Shows one sample as the model gets it.
    Show(ShowArgs),
    /// Runs the frozen tower over every sample once and keeps its features, so that training needs no media.
    Cache(CacheArgs),
    /// Turns time-ordered events of videos into questions about their order, an annotation file for a mixture (VICO).
    Vico(VicoArgs),
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    common: Common,
    /// Index of the sample in the mixture.
    #[arg(long, default_value_t = 0)]
    index: usize,
    /// Writes its pictures as one PNG.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LintArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    part: PartArg,
}

#[derive(Debug, Args)]
struct CacheArgs {
    #[command(flatten)]
    common: Common,
    /// Makes nothing: reads every record, drops what is damaged, says what is missing; exit code 3 if anything.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    part: PartArg,
    #[command(flatten)]
    device: DeviceArg,
}

pub(super) fn run(args: &DataArgs) -> Result<(), Error> {
    match &args.report {
        Report::Lint(args) => run_lint(args),
        Report::Stats(common) => run_stats(common),
        Report::Show(args) => run_show(args),
        Report::Cache(args) => run_cache(args),
        Report::Vico(args) => vico::run(args),
    }
}

/// The recipe's plan and its data.
fn open(common: &Common) -> Result<(Plan, Data), Error> {
    let recipe = common.recipe.load()?;
    let config = ModelConfig::from_file(recipe.model.config.as_ref())?;
    let data = Data::open(&recipe, &config, None)?;
    // A mixture may be looked at before it fills a step.
    let plan = Plan::new(recipe, Some(data.mixture.len()))?;
    Ok((plan, data))
}

fn run_lint(LintArgs { common, part }: &LintArgs) -> Result<(), Error> {
    let (plan, data) = open(common)?;
    let data = data.share(part.share);
    let (load, threads) = (data.load_options().clone(), plan.recipe.data.workers);
    let options = LintOptions { load, decode: true, threads };
    let progress = Progress::new("media", data.mixture.len());
    let report = lint(&data.mixture, &options, &|done, all| progress.of(done, all))?;
    drop(progress);
    common.format.print_as(&lint_text(&report), &report)?;
    if report.is_clean() {
        return Ok(());
    }
    Err(Error::BrokenSamples { broken: report.broken, samples: report.samples })
}

fn lint_text(report: &LintReport) -> String {
    let mut text = format!(
        "{} samples over {} media, {} cannot be used\n",
        report.samples, report.media, report.broken
    );
    if report.limited > 0 {
        let limited = report.limited;
        line(
            &mut text,
            format_args!("{limited} have the most frames that fit into model_max_length"),
        );
    }
    for note in &report.notes {
        line(&mut text, format_args!("note: {note}"));
    }
    for finding in &report.findings {
        let (index, source, id) = (finding.index, &finding.source, &finding.id);
        line(&mut text, format_args!("sample {index} ({source}, {id}): {}", finding.reason));
    }
    text
}

fn run_stats(common: &Common) -> Result<(), Error> {
    let (plan, data) = open(common)?;
    let options = StatsOptions {
        template: recipe_template(&plan.recipe.model, plan.config.family),
        cost: cost_model(&plan),
        tokenizer: Some(data.tokenizer.clone()),
        max_tokenized: MAX_TOKENIZED,
        order: data.order(),
        seed: plan.recipe.train.seed,
        step_samples: plan.samples_per_step(),
        world: 1,
    };
    let report = during("counting", || stats(&data.mixture, &options))?;
    common.format.print_as(&stats_text(&report), &report)
}

/// The plan's FLOPs as a formula over frames and tokens, with a constant mean of tokens per frame over the layers.
fn cost_model(plan: &Plan) -> xcomp_data::stream::cost::CostModel {
    let flops = |frames: usize, text_tokens: usize| {
        plan.flops(SampleSize { frames, text_tokens, supervised_tokens: 0 })
    };
    let clip = plan.recipe.data.clip_frames;
    let (frame, token) = (flops(clip, 0), flops(0, 1));
    let per_token = token.llm_forward_matmul + token.llm_backward_matmul;
    let pairs = flops(0, 1000);
    xcomp_data::stream::cost::CostModel {
        per_frame: (frame.vision + frame.merge + frame.projector) / clip as f64,
        per_token,
        per_token_pair: (pairs.llm_forward_attention + pairs.llm_backward_attention) / 1e6,
        tokens_per_frame: plan.compression.mean_tokens(),
        frames: frame_options(&plan.recipe, &plan.config),
    }
}

fn stats_text(report: &StatsReport) -> String {
    let mut text = format!(
        "{} samples ({} images, {} videos), {:.3e} FLOPs an epoch, sha256 {}\n",
        report.samples, report.images, report.videos, report.flops, report.hash
    );
    for note in &report.notes {
        line(&mut text, format_args!("note: {note}"));
    }
    let head = [
        "dataset", "records", "used", "broken", "images", "videos", "frames", "p90", "tokens",
        "p90",
    ];
    line(&mut text, row(&head.map(String::from)));
    for source in &report.sources {
        let cells = [
            source.source.clone(),
            source.total.to_string(),
            source.samples.to_string(),
            source.broken.to_string(),
            source.images.to_string(),
            source.videos.to_string(),
            format!("{:.0}", source.frames.mean),
            source.frames.p90.to_string(),
            format!("{:.0}", source.text_tokens.mean),
            source.text_tokens.p90.to_string(),
        ];
        line(&mut text, row(&cells));
    }
    text
}

fn row(cells: &[String; 10]) -> String {
    let (name, rest) = cells.split_first().expect("ten cells");
    rest.iter().fold(format!("{name:<32}"), |row, cell| row + &format!("{cell:>9}"))
}

fn run_show(args: &ShowArgs) -> Result<(), Error> {
    let (_, data) = open(&args.common)?;
    let (report, example) = show(&data.mixture, args.index, data.load_options())?;
    if let Some(path) = &args.sheet {
        write_png(path, &contact_sheet(example.frames(), SHEET_COLUMNS, SHEET_TILE))?;
    }
    let paths = report.visuals.iter().map(|visual| visual.path.display().to_string());
    let mut text = format!(
        "sample {} ({}, {}): {}\n{} frames, {} tokens, {} supervised (shown in [[ ]])\n",
        report.index,
        report.source,
        report.id,
        paths.collect::<Vec<_>>().join(", "),
        example.frame_count(),
        report.tokens,
        report.supervised
    );
    let shown = |span: &Span| {
        if span.supervised { format!("[[{}]]", span.text) } else { span.text.clone() }
    };
    text.extend(report.spans.iter().map(shown));
    args.common.format.print_as(&text, &report)
}

fn run_cache(args: &CacheArgs) -> Result<(), Error> {
    let (plan, data) = open(&args.common)?;
    let (data, device) = (data.share(args.part.share), args.device.open()?);
    let samples = data.mixture.len();
    let task = if args.verify { Task::Verify } else { Task::Fill };
    let report = fill(&plan, &data, &device, task)?;
    args.common.format.print(&report)?;
    if report.is_clean() {
        return Ok(());
    }
    Err(Error::BrokenSamples { broken: report.missing, samples })
}

fn line(text: &mut String, line: impl std::fmt::Display) {
    writeln!(text, "{line}").expect("a string takes any text");
}
