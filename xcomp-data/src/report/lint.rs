//! Opens every media file once, in parallel, and says what cannot be used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use crate::sample::load::probe;
use crate::sample::options::LintOptions;
use crate::{DataError, Mixture};

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
    let mut findings: Vec<Finding> = pool.install(|| {
        let of_group = |samples: &Vec<usize>| {
            let found = check_group(mixture, samples, options);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, groups.len());
            found
        };
        groups.par_iter().flat_map_iter(of_group).collect()
    });
    findings.sort_by_key(|finding| finding.index);
    let mut by_source = BTreeMap::new();
    for finding in &findings {
        *by_source.entry(finding.source.clone()).or_default() += 1;
    }
    let notes = mixture.notes().to_vec();
    Ok(LintReport { samples: mixture.len(), media: groups.len(), findings, by_source, notes })
}

/// Samples that show the same thing, so that it is opened once.
fn same_media(mixture: &Mixture) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, record) in mixture.records().iter().enumerate() {
        let part = record.part.map(|(start, end)| (start.to_bits(), end.to_bits()));
        let read_type = record.dataset.read_type.map(|read_type| read_type as u8);
        let is_image = record.media == crate::Media::Image;
        groups.entry((record.all_paths(), read_type, part, is_image)).or_default().push(index);
    }
    groups.into_values().collect()
}

fn check_group(mixture: &Mixture, samples: &[usize], options: &LintOptions) -> Vec<Finding> {
    let records = mixture.records();
    let media = probe(&records[samples[0]], options, &Arc::new(AtomicBool::new(false)));
    let media = media.err().map(|error| error.to_string());
    let reason = |index: usize| {
        let tags =
            crate::sample::load::check_tags(&records[index]).err().map(|error| error.to_string());
        tags.or_else(|| media.clone())
    };
    let finding = |&index: &usize| {
        let (record, reason) = (&records[index], reason(index)?);
        let (id, source, path) = (record.id.clone(), record.source().to_string(), record.path());
        Some(Finding { index, id, source, path, reason })
    };
    samples.iter().filter_map(finding).collect()
}
