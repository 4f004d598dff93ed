//! `xcomp ask`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use xcomp_data::{Choice as FrameChoice, Frames, Media, load_media};

use super::args::{DeviceArg, FormatArg};
use super::asking::{Asker, AskingArgs};
use crate::answer::asking::Asking;
use crate::answer::clips::HeldClips;
use crate::answer::select::Selection;
use crate::answer::{Answerer, EncodedMedia, patient_limits};
use crate::error::Error;
use crate::hub::Hub;
use crate::machine::files::write_atomically;
use crate::machine::memory::peak_rss_bytes;
use crate::recipe::tables::EvalTable;
use crate::show::charts::chart::{Chart, Point, Series};
use crate::show::progress::{Progress, during};

/// Arguments of `xcomp ask`.
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// An exported folder, or the name of one on the hub that is fetched: hf:OWNER/NAME.
    checkpoint: PathBuf,
    /// A video, gif or image.
    video: PathBuf,
    /// The question.
    question: String,
    #[command(flatten)]
    asking: AskingArgs,
    /// Writes the scores over time as an SVG picture.
    #[arg(long, value_name = "FILE", requires = "select")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    format: FormatArg,
}

/// What an answer rests on.
#[derive(Debug, Serialize)]
struct Report {
    answer: String,
    frames: usize,
    frames_looked_at: usize,
    duration_s: f64,
    times_s: Vec<f64>,
    visual_tokens_in: usize,
    visual_tokens_out: usize,
    /// Most host memory this process held; it depends on the frames looked at, not on the length of the video.
    peak_memory_mib: u64,
}

pub(super) fn run(args: &AskArgs) -> Result<(), Error> {
    args.plot.as_deref().map_or(Ok(()), refuse_png)?;
    if let Some(given) = args.asking.recipe_settings().first() {
        let message = format!("--set {given}: a checkpoint has no recipe; set compression.KEY");
        return Err(Error::Argument(message));
    }
    let checkpoint = Hub::of_environment().local(&args.checkpoint)?;
    let answerer = args.asking.open(&checkpoint, &args.device.open()?)?;
    let asking = args.asking.resolve(&EvalTable::default(), &answerer, Asker::Person)?;
    let options = answerer.frame_options(asking.frames.clone());
    let read = || load_media(&args.video, None, &options, &patient_limits());
    let (frames, choice, media) = during("reading the video", read)?;
    let looking = Looking { answerer: &answerer, asking: &asking, question: &args.question };
    let (seen, selection) = looking.look(frames, &choice, media)?;
    if let Some(path) = &args.plot {
        plot(path, &args.question, &choice, &selection)?;
    }

    let streams = args.format.is_text();
    let mut waiting = Some(Progress::new("reading the question", None));
    let mut show = |text: &str| {
        waiting.take(); // before the first word
        if streams {
            let mut out = std::io::stdout();
            // The whole answer is printed again below if this fails.
            let _shown = write!(out, "{text}").and_then(|()| out.flush());
        }
    };
    let answer = answerer.answer(&seen, &args.question, &asking.answer, &mut show)?;
    let report = report(&answerer, &seen, &choice, &selection, answer);
    args.format.print_as(&text(&report), &report)
}

/// A question before a video.
struct Looking<'a> {
    answerer: &'a Answerer,
    asking: &'a Asking,
    question: &'a str,
}

impl Looking<'_> {
    /// Runs the tower over the frames that count.
    fn look(
        &self,
        frames: Frames,
        choice: &FrameChoice,
        media: Media,
    ) -> Result<(EncodedMedia, Selection), Error> {
        let all = Selection { frames: (0..frames.count).collect(), scores: vec![] };
        if media == Media::Image {
            return Ok((self.answerer.see(frames, choice, media)?, all));
        }
        let message = choice.message(self.answerer.time_message());
        let clip_frames = self.answerer.config().vision.clip_frames;
        let known = self.asking.select.is_none().then_some(frames.count / clip_frames);
        let progress = Progress::new("clips through the tower", known);
        let mut clips = self.answerer.clips(&frames, HeldClips::default()).shown(&progress);
        let selection = match &self.asking.select {
            Some(options) => self.answerer.select(&mut clips, &message, self.question, options)?,
            None => all,
        };
        let encoded = clips.encoded(&selection.frames)?;
        Ok((EncodedMedia::new(encoded, message), selection))
    }
}

/// Before anything is loaded: an SVG picture under the name of a PNG would not open.
fn refuse_png(path: &Path) -> Result<(), Error> {
    if path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("png")) {
        let svg = path.with_extension("svg");
        return Err(Error::Argument(format!(
            "--plot {}: pictures are written as SVG; name {}",
            path.display(),
            svg.display()
        )));
    }
    Ok(())
}

fn plot(
    path: &Path,
    question: &str,
    choice: &FrameChoice,
    selection: &Selection,
) -> Result<(), Error> {
    let times: Vec<f64> = choice.times_s().collect();
    let point = |(x, y): (&f64, &f64)| Point { x: *x, y: *y, interval: None };
    let points = times.iter().zip(&selection.scores).map(point).collect();
    let chart = Chart {
        title: question,
        x_label: "time in s; chosen frames are marked",
        y_label: "score",
        series: vec![Series { name: "frames".into(), points }],
        marked: selection.frames.iter().filter_map(|at| times.get(*at)).copied().collect(),
        ..Chart::default()
    };
    write_atomically(path, chart.svg().as_bytes())
}

fn report(
    answerer: &Answerer,
    seen: &EncodedMedia,
    choice: &FrameChoice,
    selection: &Selection,
    answer: String,
) -> Report {
    let plan = answerer.compression();
    let times: Vec<f64> = choice.times_s().collect();
    let [clips, clip_tokens, _] = seen.encoded.features.dims();
    let frames_in = clips * clip_tokens / answerer.config().connector.cached_tokens_per_frame();
    Report {
        answer,
        frames: selection.frames.len(),
        frames_looked_at: choice.indices.len(),
        duration_s: choice.duration_s,
        times_s: selection.frames.iter().filter_map(|frame| times.get(*frame)).copied().collect(),
        visual_tokens_in: frames_in * plan.tokens_per_frame(),
        visual_tokens_out: seen
            .kept()
            .unwrap_or_else(|| plan.visual_tokens(plan.layers() - 1, frames_in)),
        peak_memory_mib: peak_rss_bytes() >> 20,
    }
}

/// The line behind the answer that has been streamed.
fn text(report: &Report) -> String {
    let times = (report.times_s.first(), report.times_s.last());
    let span = match times {
        (Some(first), Some(last)) => format!(" from {first:.1} s to {last:.1} s"),
        _ => String::new(),
    };
    let text = format!(
        "\n[{} frames{span}; {} visual tokens enter the decoder, {} leave it; peak memory {} MiB]",
        report.frames, report.visual_tokens_in, report.visual_tokens_out, report.peak_memory_mib
    );
    if report.frames < report.frames_looked_at {
        let times: Vec<String> = report.times_s.iter().map(|time| format!("{time:.1}")).collect();
        let looked_at = report.frames_looked_at;
        let times = times.join(" ");
        return format!("{text}\n[chosen of {looked_at} at seconds {times}]");
    }
    text
}
