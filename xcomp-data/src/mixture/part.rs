//! One entry of the YAML: which of its records are chosen, and what each comes to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mixture::annotation::{LeftOut, Record, RecordRules, read_record};
use crate::mixture::dataset::Dataset;
use crate::mixture::file::Entry;
use crate::mixture::json_scan::{Lines, read_range, scan_records};
use crate::mixture::options::MixtureOptions;
use crate::open::open_regular;
use crate::python::json;
use crate::{DataError, PythonRandom};

/// Every list is shuffled with this seed before it is sliced (`train.py:1178`).
const SHUFFLE_SEED: u64 = 12345;
/// How many media paths are looked at to see whether `data_root` is right (`train.py:1272`).
const CHECKED_PATHS: usize = 3;

/// How many records are not taken, and why.
pub type LeftOutCounts = Vec<(LeftOut, usize)>;

/// What an entry of the YAML brings.
pub(super) struct Part {
    pub(super) dataset: Arc<Dataset>,
    pub(super) records: Vec<Record>,
    pub(super) left_out: LeftOutCounts,
}

impl Part {
    /// How many records are not taken, and why: the reference prints the first number as well (`Filter data: 9 -> 6`).
    pub(super) fn note(&self) -> Option<String> {
        let count: usize = self.left_out.iter().map(|(_, count)| count).sum();
        let why: Vec<String> =
            self.left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let Dataset { tag, chosen, .. } = &*self.dataset;
        (count > 0).then(|| {
            format!(
                "dataset `{tag}`: {count} of {chosen} records are left out, because a sample shows one image or one video: {}",
                why.join(", ")
            )
        })
    }
}

/// Reads the chosen records of an entry.
pub(super) fn load_dataset(
    yaml: &Path,
    entry: &Entry,
    options: &MixtureOptions,
) -> Result<Part, DataError> {
    let ranges = scan_records(&entry.annotation, &options.json)?;
    if ranges.is_empty() {
        return Err(DataError::EmptyAnnotation { path: entry.annotation.clone() });
    }
    let chosen = choose(ranges.len(), entry, options);
    let dataset = Arc::new(Dataset {
        tag: entry.tag.as_str().into(),
        annotation: entry.annotation.clone(),
        data_root: entry.data_root.clone(),
        read_type: entry.read_type,
        total: ranges.len(),
        chosen: chosen.len(),
    });
    let (records, left_out) = read_chosen(&dataset, &ranges, &chosen, options)?;
    if options.check_media {
        check_media(yaml, &dataset, &records)?;
    }
    Ok(Part { dataset, records: weighted(records, entry.weight), left_out })
}

/// Indices of the records that sampling takes, in the reference's order.
fn choose(length: usize, entry: &Entry, options: &MixtureOptions) -> Vec<u32> {
    let mut indices: Vec<u32> = (0..length as u32).collect();
    PythonRandom::new(SHUFFLE_SEED).shuffle(&mut indices);
    let mut indices = indices[entry.strategy.range(length)].to_vec();
    if let Some(seed) = options.keep_seed {
        PythonRandom::new(seed).shuffle(&mut indices);
    }
    let bound = |fraction: f64| (indices.len() as f64 * fraction) as usize;
    let kept = bound(options.keep.0)..bound(options.keep.1);
    indices[kept].to_vec()
}

/// Parses the chosen records, read in file order, handed out in chosen order; and counts what is not taken.
fn read_chosen(
    dataset: &Arc<Dataset>,
    ranges: &[Range<u64>],
    chosen: &[u32],
    options: &MixtureOptions,
) -> Result<(Vec<Record>, LeftOutCounts), DataError> {
    let path = &dataset.annotation;
    let (mut file, mut lines) = (open_regular(path)?, Lines::open(path)?);
    let mut by_offset: Vec<usize> = (0..chosen.len()).collect();
    by_offset.sort_unstable_by_key(|&place| chosen[place]);
    let rules = RecordRules {
        visuals: options.visuals,
        system: options.system,
        outside_paths: options.allow_outside_paths,
    };

    let mut records: Vec<Option<Record>> = vec![None; chosen.len()];
    let mut left_out = BTreeMap::new();
    for place in by_offset {
        let index = chosen[place] as usize;
        let range = &ranges[index];
        let json = if range.end - range.start > options.json.record_bytes {
            Err(format!("it is longer than {} bytes", options.json.record_bytes))
        } else {
            let bytes = read_range(&mut file, path, range)?;
            json::from_slice(&bytes).map_err(|error| error.to_string())
        };
        match read_record(json, dataset, index, rules) {
            Ok(mut record) => {
                if let Some(why) = record.broken.take() {
                    let line =
                        lines.of(range.start).map_err(|error| DataError::read(path, error))?;
                    record.broken = Some(format!("{why} ({}, line {line})", path.display()));
                }
                records[place] = Some(record);
            }
            Err(why) => *left_out.entry(why).or_default() += 1,
        }
    }
    Ok((records.into_iter().flatten().collect(), left_out.into_iter().collect()))
}

/// A wrong `data_root` shows itself before training starts.
fn check_media(yaml: &Path, dataset: &Dataset, records: &[Record]) -> Result<(), DataError> {
    let tried: Vec<PathBuf> = records.iter().flat_map(Record::paths).take(CHECKED_PATHS).collect();
    let Some(first) = tried.first() else { return Ok(()) };
    if tried.iter().any(|path| path.exists()) {
        return Ok(());
    }
    Err(DataError::MissingMedia {
        mixture: yaml.to_owned(),
        annotation: dataset.annotation.clone(),
        tried: tried.len(),
        first: first.clone(),
    })
}

/// Repeats the list `weight` times; of the last, broken repetition only the beginning.
fn weighted(records: Vec<Record>, weight: f64) -> Vec<Record> {
    let count = (records.len() as f64 * weight).round() as usize;
    if count == records.len() {
        return records;
    }
    records.iter().cycle().take(count).cloned().collect()
}
