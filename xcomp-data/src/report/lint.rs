//! Opens every media file once, in parallel, and says what cannot be used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use crate::media::read::Source;
use crate::sample::load::{check_record, probe};
use crate::sample::options::LintOptions;
use crate::{DataError, Media, Mixture};

/// One sample that could not be used.
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
    /// Samples that cannot be used, in the order of the mixture.
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

/// Looks at the media of all samples; `progress` hears how many of how many are done.
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
    let broken: BTreeMap<Shown, String> = pool.install(|| {
        let of_group = |(source, shown): &(Source, Vec<Shown>)| {
            let found = check_group(source, shown, options);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, groups.len());
            found
        };
        groups.par_iter().flat_map_iter(of_group).collect()
    });
    let findings: Vec<Finding> =
        (0..mixture.len()).filter_map(|index| finding(mixture, index, &broken)).collect();
    let mut by_source = BTreeMap::new();
    for finding in &findings {
        *by_source.entry(finding.source.clone()).or_default() += 1;
    }
    let notes = mixture.notes().to_vec();
    Ok(LintReport { samples: mixture.len(), media: groups.len(), findings, by_source, notes })
}

/// A sample's index, and a place among what it shows.
type Shown = (usize, usize);

/// What is shown, with all samples that show it, so that it is opened once.
fn same_media(mixture: &Mixture) -> Vec<(Source, Vec<Shown>)> {
    let mut groups: BTreeMap<_, (Source, Vec<Shown>)> = BTreeMap::new();
    for (index, record) in mixture.records().iter().enumerate() {
        for (place, source) in Source::all(record).enumerate() {
            let part = source.part.map(|(start, end)| (start.to_bits(), end.to_bits()));
            let read_type = source.read_type.map(|read_type| read_type as u8);
            let key = (source.path.clone(), read_type, part, source.media == Media::Image);
            groups.entry(key).or_insert_with(|| (source, vec![])).1.push((index, place));
        }
    }
    groups.into_values().collect()
}

fn check_group(source: &Source, shown: &[Shown], options: &LintOptions) -> Vec<(Shown, String)> {
    match probe(source, options, &Arc::new(AtomicBool::new(false))) {
        Ok(()) => vec![],
        Err(error) => shown.iter().map(|at| (*at, error.to_string())).collect(),
    }
}

/// What is wrong with a sample: its record, else the first of its media that cannot be used.
fn finding(mixture: &Mixture, index: usize, broken: &BTreeMap<Shown, String>) -> Option<Finding> {
    let record = &mixture.records()[index];
    let tags = check_record(record, mixture.visuals()).err();
    let media = broken.range((index, 0)..(index + 1, 0)).next();
    let (path, reason) = match (tags, media) {
        (Some(error), _) => (record.path(), error.to_string()),
        (None, Some(((_, place), reason))) => (record.paths().nth(*place)?, reason.clone()),
        (None, None) => return None,
    };
    let (id, source) = (record.id.clone(), record.source().to_string());
    Some(Finding { index, id, source, path, reason })
}
