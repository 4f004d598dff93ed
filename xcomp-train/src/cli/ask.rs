//! `xcomp ask`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use xcomp_data::{Choice as FrameChoice, Frames, Media, TimeMessage, load_media};
use xcomp_model::qc_comp::Scope;
use xcomp_model::sample::Sampling;

use super::{Format, print};
use crate::answer::clips::EncodedClips;
use crate::answer::select::{ScoreMode, SelectOptions, Selection};
use crate::answer::{AnswerOptions, Answerer, Seen, patient_limits};
use crate::device::{Choice, open};
use crate::error::Error;
use crate::files::write_atomically;
use crate::meter::peak_rss_bytes;
use crate::svg::Curve;

/// Fewest and most frames of the reference's evaluation.
const FRAMES: (usize, usize) = (128, 1024);

/// Arguments of `xcomp ask`.
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// An exported folder.
    checkpoint: PathBuf,
    /// A video, gif or image.
    video: PathBuf,
    /// The question.
    question: String,
    /// Frames to look at: one number, or fewest-most.
    #[arg(long, value_name = "N|MIN-MAX")]
    frames: Option<String>,
    /// Frames that the question chooses out of those looked at; all without it.
    #[arg(long, value_name = "K")]
    select: Option<usize>,
    /// Passes over the video for the choice, each shifted; more is finer and slower.
    #[arg(long, value_name = "D", default_value_t = 2)]
    repeat: usize,
    /// Whose rules score frames: clean takes the question's own words and any video, reference is the released evaluation.
    #[arg(long, value_enum, default_value = "clean")]
    score: ScoreMode,
    /// One softmax over the whole chunk instead of windows of 8 clips.
    #[arg(long)]
    global: bool,
    /// Lets a word of the question see only the words before it while frames are scored.
    #[arg(long)]
    causal: bool,
    /// Frames of a clip in the tower instead of those of config.json: 4 or 8.
    #[arg(long, value_name = "4|8", value_parser = ["4", "8"])]
    clip_frames: Option<String>,
    /// Writes the scores over time as an SVG picture.
    #[arg(long, value_name = "FILE", requires = "select")]
    plot: Option<PathBuf>,
    /// Most tokens of the answer.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Randomness of the answer; 0 always takes the best token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw among the best so many tokens; 0 for all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw among the best tokens of this probability.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Makes tokens already written less likely if above 1.
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to compute: cpu, cuda[:i], vulkan[:i], auto.
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// How the answer is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
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
    let clip = args.clip_frames.as_deref().map(|word| word.parse().expect("it is 4 or 8"));
    let answerer = Answerer::open_with_clips(&args.checkpoint, clip, &open(args.device)?)?;
    let (fewest, most) = frame_range(args.frames.as_deref(), answerer.config().vision.clip_frames)?;
    let options = answerer.frame_options(fewest..=most);
    let (frames, choice, media) = load_media(&args.video, None, &options, &patient_limits())?;
    let (seen, selection) = look(args, &answerer, frames, &choice, media)?;
    if let Some(path) = &args.plot {
        plot(path, &args.question, &choice, &selection)?;
    }

    let streams = matches!(args.format, Format::Text);
    let mut show = |text: &str| {
        if streams {
            let mut out = std::io::stdout();
            // The whole answer is printed again below if this fails.
            let _shown = write!(out, "{text}").and_then(|()| out.flush());
        }
    };
    let answer = answerer.answer(&seen, &args.question, &args.answer_options(), &mut show)?;
    let report = report(&answerer, &choice, &selection, answer);
    match args.format {
        Format::Json => {
            print(&serde_json::to_string_pretty(&report).expect("a report of plain data is JSON"))
        }
        Format::Text => print(&text(&report)),
    }
}

impl AskArgs {
    fn answer_options(&self) -> AnswerOptions {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
        };
        AnswerOptions { max_new_tokens: self.max_new_tokens, sampling, seed: self.seed }
    }

    fn select_options(&self, count: usize) -> SelectOptions {
        let scope = scope(self.global);
        let (n_repeat, mode, causal) = (self.repeat, self.score, self.causal);
        SelectOptions { count, n_repeat, mode, scope, causal }
    }
}

/// What a softmax spans.
pub(super) fn scope(global: bool) -> Scope {
    if global { Scope::Global } else { Scope::WINDOWS }
}

/// Runs the tower over the frames that count.
fn look(
    args: &AskArgs,
    answerer: &Answerer,
    frames: Frames,
    choice: &FrameChoice,
    media: Media,
) -> Result<(Seen, Selection), Error> {
    let all = Selection { frames: (0..frames.count).collect(), scores: vec![] };
    if media == Media::Image {
        return Ok((answerer.see(frames, choice, media)?, all));
    }
    let message = choice.message(TimeMessage::Short);
    let mut clips = EncodedClips::new(answerer, &frames);
    let selection = match args.select {
        Some(count) => {
            let options = args.select_options(count);
            answerer.select(&mut clips, &message, &args.question, &options)?
        }
        None => all,
    };
    let merged = clips.merged(&selection.frames)?;
    Ok((Seen { merged, message }, selection))
}

fn plot(
    path: &Path,
    question: &str,
    choice: &FrameChoice,
    selection: &Selection,
) -> Result<(), Error> {
    let points: Vec<(f64, f64)> = choice.times_s().zip(selection.scores.iter().copied()).collect();
    let curve = Curve {
        title: question,
        x_label: "time in s; chosen frames are marked",
        points: &points,
        marked: &selection.frames,
    };
    write_atomically(path, curve.svg().as_bytes())
}

fn report(
    answerer: &Answerer,
    choice: &FrameChoice,
    selection: &Selection,
    answer: String,
) -> Report {
    let plan = answerer.compression();
    let times: Vec<f64> = choice.times_s().collect();
    let frames = selection.frames.len();
    Report {
        answer,
        frames,
        frames_looked_at: choice.indices.len(),
        duration_s: choice.duration_s,
        times_s: selection.frames.iter().filter_map(|frame| times.get(*frame)).copied().collect(),
        visual_tokens_in: frames * plan.tokens_per_frame(),
        visual_tokens_out: frames * plan.tokens_per_layer().last().copied().unwrap_or(0),
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

/// Whole clips between the two numbers.
pub(super) fn frame_range(word: Option<&str>, clip: usize) -> Result<(usize, usize), Error> {
    let Some(word) = word else { return Ok(FRAMES) };
    let wrong = || {
        Error::Argument(format!(
            "--frames `{word}`: give a number or fewest-most, multiples of {clip}"
        ))
    };
    let (fewest, most) = word.split_once('-').unwrap_or((word, word));
    let number =
        |word: &str| word.parse::<usize>().ok().filter(|n| *n > 0 && n.is_multiple_of(clip));
    match (number(fewest), number(most)) {
        (Some(fewest), Some(most)) if fewest <= most => Ok((fewest, most)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_numbers_are_whole_clips() {
        assert_eq!(frame_range(None, 8).unwrap(), FRAMES);
        assert_eq!(frame_range(Some("64"), 8).unwrap(), (64, 64));
        assert_eq!(frame_range(Some("16-64"), 8).unwrap(), (16, 64));
        for wrong in ["", "0", "12", "64-16", "a"] {
            assert!(frame_range(Some(wrong), 8).is_err(), "{wrong}");
        }
    }
}
