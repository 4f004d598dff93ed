//! `xcomp ask`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use xcomp_data::{Limits, load_media};
use xcomp_model::sample::Sampling;

use super::{Format, print};
use crate::answer::{AnswerOptions, Answerer};
use crate::device::{Choice, open};
use crate::error::Error;

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
    duration_s: f64,
    times_s: Vec<f64>,
    visual_tokens_in: usize,
    visual_tokens_out: usize,
}

pub(super) fn run(args: &AskArgs) -> Result<(), Error> {
    let answerer = Answerer::open(&args.checkpoint, &open(args.device)?)?;
    let (fewest, most) = frame_range(args.frames.as_deref(), answerer.config().vision.clip_frames)?;
    let options = answerer.frame_options(fewest..=most);
    let (frames, choice, media) = load_media(&args.video, None, &options, &Limits::default())?;
    let count = frames.count;
    let seen = answerer.see(frames, &choice, media)?;

    let options = AnswerOptions {
        max_new_tokens: args.max_new_tokens,
        sampling: Sampling {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            repetition_penalty: args.repetition_penalty,
        },
        seed: args.seed,
    };
    let streams = matches!(args.format, Format::Text);
    let mut show = |text: &str| {
        if streams {
            let mut out = std::io::stdout();
            // The whole answer is printed again below if this fails.
            let _shown = write!(out, "{text}").and_then(|()| out.flush());
        }
    };
    let answer = answerer.answer(&seen, &args.question, &options, &mut show)?;
    let plan = answerer.compression();
    let report = Report {
        answer,
        frames: count,
        duration_s: choice.duration_s,
        times_s: choice.times_s().collect(),
        visual_tokens_in: count * plan.tokens_per_frame(),
        visual_tokens_out: count * plan.tokens_per_layer().last().copied().unwrap_or(0),
    };
    match args.format {
        Format::Json => {
            print(&serde_json::to_string_pretty(&report).expect("a report of plain data is JSON"))
        }
        Format::Text => print(&text(&report)),
    }
}

/// The line behind the answer that has been streamed.
fn text(report: &Report) -> String {
    let times = (report.times_s.first(), report.times_s.last());
    let span = match times {
        (Some(first), Some(last)) => format!(" from {first:.1} s to {last:.1} s"),
        _ => String::new(),
    };
    format!(
        "\n[{} frames{span}; {} visual tokens enter the decoder, {} leave it]",
        report.frames, report.visual_tokens_in, report.visual_tokens_out
    )
}

/// Whole clips between the two numbers.
fn frame_range(word: Option<&str>, clip: usize) -> Result<(usize, usize), Error> {
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
