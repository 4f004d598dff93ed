//! Opens every media file once, in parallel, and says what cannot be used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use crate::frames::Choice;
use crate::media::read::Source;
use crate::sample::load::{check_record, frames_of, probe, render_record};
use crate::sample::options::{LintOptions, LoadOptions};
use crate::{DataError, Media, Mixture};

/// Why a sample cannot be used; a sample may have several reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Index in the mixture.
    pub index: usize,
    /// Id in the annotation.
    pub id: String,
    /// Its dataset.
    pub source: String,
    /// Its media file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// What a check of all media found.
#[derive(Debug, Clone, Serialize)]
pub struct LintReport {
    /// Samples of the mixture.
    pub samples: usize,
    /// Different media that were opened.
    pub media: usize,
    /// Samples that cannot be used.
    pub broken: usize,
    /// Samples of which a video has the most frames that fit, where longer samples are to lose frames.
    pub limited: usize,
    /// Why, in the order of the mixture.
    pub findings: Vec<Finding>,
    /// How many of them each dataset has.
    pub by_source: BTreeMap<String, usize>,
    /// What is odd about the mixture itself.
    pub notes: Vec<String>,
}

impl LintReport {
    /// Whether every sample can be used.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The findings as lines of JSON, in the form of `quarantine.jsonl`.
    ///
    /// # Panics
    /// Never: a finding is plain data.
    pub fn quarantine_lines(&self) -> String {
        let line =
            |finding| serde_json::to_string(finding).expect("a finding is plain data") + "\n";
        self.findings.iter().map(line).collect()
    }
}

/// Looks at the records and media of all samples, and names all that is wrong; `progress` hears how many of how many are done.
///
/// # Errors
/// When threads cannot be started; what is wrong with media is in the report.
pub fn lint(
    mixture: &Mixture,
    options: &LintOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<LintReport, DataError> {
    let groups = same_media(mixture);
    let done = AtomicUsize::new(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|error| DataError::Internal(error.to_string()))?;
    let seen: BTreeMap<Shown, Seen> = pool.install(|| {
        let of_group = |(source, shown): &(Source, Vec<Shown>)| {
            let seen = look(source, options);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, groups.len());
            shown.iter().map(|at| (*at, seen.clone())).collect::<Vec<_>>()
        };
        groups.par_iter().flat_map_iter(of_group).collect()
    });
    let per_sample: Vec<(Vec<Finding>, bool)> = pool.install(|| {
        let of_sample = |index| findings(mixture, index, &seen, options);
        (0..mixture.len()).into_par_iter().map(of_sample).collect()
    });
    let mut by_source = BTreeMap::new();
    for first in per_sample.iter().filter_map(|(findings, _)| findings.first()) {
        *by_source.entry(first.source.clone()).or_default() += 1;
    }
    Ok(LintReport {
        samples: mixture.len(),
        media: groups.len(),
        broken: by_source.values().sum(),
        limited: per_sample.iter().filter(|(_, limited)| *limited).count(),
        findings: per_sample.into_iter().flat_map(|(findings, _)| findings).collect(),
        by_source,
        notes: mixture.notes().to_vec(),
    })
}

/// A sample's index, and a place among what it shows.
type Shown = (usize, usize);

/// What is shown, with all samples that show it, so that it is opened once.
fn same_media(mixture: &Mixture) -> Vec<(Source, Vec<Shown>)> {
    let mut groups: BTreeMap<_, (Source, Vec<Shown>)> = BTreeMap::new();
    for (index, record) in mixture.records().iter().enumerate() {
        for (place, source) in Source::all(record).enumerate() {
            if record.media[place].path.trim().is_empty() {
                continue; // its record says so
            }
            let part = source.part.map(|(start, end)| (start.to_bits(), end.to_bits()));
            let read_type = source.read_type.map(|read_type| read_type as u8);
            let key = (source.path.clone(), read_type, part, source.media == Media::Image);
            groups.entry(key).or_insert_with(|| (source, vec![])).1.push((index, place));
        }
    }
    groups.into_values().collect()
}

/// What was seen of an image or video: its frames and what the prompt says of it, or what is wrong with it.
type Seen = Result<(usize, String), String>;

fn look(source: &Source, options: &LintOptions) -> Seen {
    let frames = &options.load.frames;
    let message = |choice: &Choice| match source.media {
        Media::Image => String::new(),
        Media::Video => choice.message(frames.time_message),
    };
    match probe(source, options, &Arc::new(AtomicBool::new(false))) {
        Ok(choice) => Ok((choice.indices.len(), message(&choice))),
        Err(error) => Err(error.to_string()),
    }
}

/// All that is wrong with a sample: its record, each of its media, and its prompt where these are whole; and whether it loses frames.
fn findings(
    mixture: &Mixture,
    index: usize,
    seen: &BTreeMap<Shown, Seen>,
    options: &LintOptions,
) -> (Vec<Finding>, bool) {
    let record = &mixture.records()[index];
    let mut reasons = vec![];
    if let Err(error) = check_record(record, mixture.visuals()) {
        reasons.push((record.path(), error.to_string()));
    }
    let own = frames_of(record, &options.load);
    let most = Some(own.max_frames).filter(|most| *most != options.load.frames.max_frames);
    let mut limited = false;
    let (mut frames, mut messages) = (0, vec![]);
    for ((_, place), seen) in seen.range((index, 0)..(index + 1, 0)) {
        let with_own = |(count, message): &(usize, String)| match most {
            Some(most) if *count > most => {
                let load = LoadOptions { frames: own.clone(), ..options.load.clone() };
                let source = Source::all(record).nth(*place).expect("it was seen");
                look(&source, &LintOptions { load, decode: false, ..*options })
            }
            _ => Ok((*count, message.clone())),
        };
        match seen.as_ref().map_err(String::clone).and_then(with_own) {
            Ok((count, message)) => {
                limited |= most.is_some_and(|most| count >= most);
                frames += count;
                messages.push(message);
            }
            Err(reason) => {
                reasons.push((record.paths().nth(*place).unwrap_or_default(), reason));
            }
        }
    }
    if reasons.is_empty()
        && let Err(error) = render_record(record, &messages, frames, &options.load)
    {
        reasons.push((record.path(), error.to_string()));
    }
    let (id, source) = (&record.id, record.source());
    let finding = |(path, reason)| Finding {
        index,
        id: id.clone(),
        source: source.to_string(),
        path,
        reason,
    };
    let limited = limited && reasons.is_empty();
    (reasons.into_iter().map(finding).collect(), limited)
}
