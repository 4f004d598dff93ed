//! `xcomp data vico`: events of videos become questions about their order.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use xcomp_data::vico::{Questions, questions, read_films};

use super::args::FormatArg;
use crate::error::Error;
use crate::machine::files::write_atomically;

/// Arguments of `xcomp data vico`.
#[derive(Debug, Args)]
pub(super) struct VicoArgs {
    /// A JSON list of videos with their events: [{"video": "a.mp4", "events": [{"start": 1.5, "text": "..."}, ...]}, ...], times in seconds.
    events: PathBuf,
    /// Writes the questions there, an annotation file for a mixture.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Fixes which question is asked of each video, and where the right option stands.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Serialize)]
struct Report {
    /// Where they are.
    out: PathBuf,
    /// Questions that were written.
    questions: usize,
    /// Videos without two events that happen once.
    left_out: usize,
}

pub(super) fn run(args: &VicoArgs) -> Result<(), Error> {
    let Questions { records, left_out } = questions(&read_films(&args.events)?, args.seed);
    let text = serde_json::to_string_pretty(&records).expect("records are plain JSON");
    write_atomically(&args.out, (text + "\n").as_bytes())?;
    let report = Report { out: args.out.clone(), questions: records.len(), left_out };
    let shown = format!(
        "{} questions in {}; {left_out} videos have not two events that happen once",
        report.questions,
        args.out.display()
    );
    args.format.print_as(&shown, &report)
}
