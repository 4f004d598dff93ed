//! `xcomp compare A B`: is the second evaluation better than the first? Do two sweeps agree? Or: `xcomp compare RUN reference`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::args::FormatArg;
use crate::ablate::again::{again, is_sweep};
use crate::error::Error;
use crate::eval::responses::Record;
use crate::eval::results::read_results;
use crate::eval::statistics::{Comparison, Verdict, compare};
use crate::run::metrics::{self, METRICS, Recorded};
use crate::run::released;

/// The word for the released run's log, which travels with the program.
const REFERENCE: &str = "reference";

/// Arguments of `xcomp compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Output folder of the first evaluation or sweep, or folder of a run.
    first: PathBuf,
    /// Output folder of the second evaluation or sweep; or `reference`, the log of the released run.
    second: PathBuf,
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Debug, Serialize)]
struct Report {
    first: f64,
    second: f64,
    #[serde(flatten)]
    comparison: Comparison,
}

pub(super) fn run(args: &CompareArgs) -> Result<(), Error> {
    if args.second == Path::new(REFERENCE) {
        let Recorded { records, broken_lines, .. } = metrics::read(&args.first.join(METRICS))?;
        let comparison = released::compare(records.values());
        return args.format.print(&released::Comparison { broken_lines, ..comparison });
    }
    if is_sweep(&args.first) && is_sweep(&args.second) {
        return args.format.print(&again(&args.first, &args.second)?);
    }
    let (first, second) = (read_results(&args.first)?, read_results(&args.second)?);
    let pairs = pairs(args, &first, &second)?;
    let mean = |side: fn(&(&str, f64, f64)) -> f64| {
        pairs.iter().map(side).sum::<f64>() / pairs.len().max(1) as f64
    };
    let none = || Error::Argument("no question counts in both evaluations".into());
    let report = Report {
        first: mean(|pair| pair.1),
        second: mean(|pair| pair.2),
        comparison: compare(pairs.iter().copied()).ok_or_else(none)?,
    };
    args.format.print(&report)
}

/// Video and both scores of each question that counts in both; both must be about the same questions.
fn pairs<'a>(
    args: &CompareArgs,
    first: &'a [Record],
    second: &[Record],
) -> Result<Vec<(&'a str, f64, f64)>, Error> {
    let key = |record: &Record| (record.video.clone(), record.input.clone());
    let others: HashMap<_, _> = second.iter().map(|record| (key(record), record)).collect();
    let mut known: Vec<_> = first.iter().map(key).collect();
    known.sort();
    known.dedup();
    if others.len() != known.len() || known.iter().any(|key| !others.contains_key(key)) {
        return Err(Error::Argument(format!(
            "{} and {} are not about the same questions; evaluate both on one file",
            args.first.display(),
            args.second.display()
        )));
    }
    let pair = |record: &'a Record| {
        let other = others[&key(record)];
        Some((record.video.as_str(), record.score?, other.score?))
    };
    Ok(first.iter().filter_map(pair).collect())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { difference: d, verdict, needed_questions } = &self.comparison;
        let percent = |share: f64| share * 100.0;
        writeln!(f, "first  {:6.2} %", percent(self.first))?;
        writeln!(f, "second {:6.2} %", percent(self.second))?;
        writeln!(
            f,
            "difference {:+.2} points, 95 % interval {:+.2} to {:+.2}, {} questions about {} videos",
            percent(d.mean),
            percent(d.low),
            percent(d.high),
            d.questions,
            d.videos
        )?;
        match verdict {
            Verdict::Better => writeln!(f, "the second is better")?,
            Verdict::Worse => writeln!(f, "the second is worse")?,
            Verdict::NotDistinguishable => writeln!(f, "not distinguishable")?,
        }
        match needed_questions {
            Some(needed) => write!(
                f,
                "about {needed} questions like these show such a difference in 4 of 5 trials"
            ),
            None => write!(
                f,
                "the scores are equal: no number of questions like these shows a difference"
            ),
        }
    }
}
