//! The training mixture: a YAML list of annotation files and how much of each is used.
//!
//! The order of steps is the reference's (`train.py:1118-1301`): load, shuffle with seed 12345, slice by strategy, shuffle with the
//! keep seed, slice the keep range, drop what the rule of visuals does not take.

pub mod annotation;
mod dataset;
mod file;
pub mod json_scan;
pub(crate) mod strategy;
pub(crate) mod visual_rule;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::mixture::annotation::{LeftOut, Media, Record, RecordRules, read_record};
use crate::mixture::file::{Entry, read_entries};
use crate::mixture::json_scan::{JsonLimits, Lines, read_range, scan_records};
use crate::mixture::visual_rule::VisualRule;
use crate::open::open_regular;
use crate::prompt::templates::SystemTurn;
use crate::python::json;
use crate::{DataError, PythonRandom};
pub use dataset::{Dataset, ReadType};

/// Every list is shuffled with this seed before it is sliced (`train.py:1178`).
const SHUFFLE_SEED: u64 = 12345;
/// How many media paths are looked at to see whether `data_root` is right (`train.py:1272`).
const CHECKED_PATHS: usize = 3;

/// How many records are not taken, and why.
pub type LeftOutCounts = Vec<(LeftOut, usize)>;

/// What of the mixture is used and what it may refer to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureOptions {
    /// Part of each dataset's slice that is kept, from and to a fraction; the released run keeps `[0, 0.25]`.
    pub keep: (f64, f64),
    /// Seed of the second shuffle, before the keep range; the released run has 42. `None`: no second shuffle.
    pub keep_seed: Option<u64>,
    /// Whether media paths may be absolute or contain `..`.
    pub allow_outside_paths: bool,
    /// How many images and videos a sample may show; other records are dropped.
    pub visuals: VisualRule,
    /// What a system turn does.
    pub system: SystemTurn,
    /// Whether one of the first three media files of each dataset must exist.
    pub check_media: bool,
    /// Limits of annotation files.
    pub json: JsonLimits,
}

impl Default for MixtureOptions {
    fn default() -> Self {
        Self {
            keep: (0.0, 1.0),
            keep_seed: None,
            allow_outside_paths: false,
            visuals: VisualRule::ExactlyOne,
            system: SystemTurn::default(),
            check_media: true,
            json: JsonLimits::default(),
        }
    }
}

impl MixtureOptions {
    /// The subset of the released run: 25 % of each slice, after a shuffle with seed 42.
    pub fn released() -> Self {
        Self { keep: (0.0, 0.25), keep_seed: Some(42), ..Self::default() }
    }
}

/// The ordered list of all samples.
#[derive(Debug)]
pub struct Mixture {
    path: PathBuf,
    records: Vec<Record>,
    datasets: Vec<Arc<Dataset>>,
    visuals: VisualRule,
    hash: String,
    notes: Vec<String>,
    left_out: Vec<LeftOutCounts>,
}

impl Mixture {
    /// Reads the mixture and its annotation files; only the records that are used are held.
    ///
    /// `json_path` and `data_root` are relative to the folder of the YAML.
    ///
    /// # Errors
    /// When a file is missing or malformed, a strategy is unknown, or nothing is left. A record that cannot be used is no error:
    /// it says so itself.
    pub fn load(yaml: &Path, options: &MixtureOptions) -> Result<Self, DataError> {
        check_keep(options)?;
        let (entries, mut notes) = read_entries(yaml)?;
        let parts: Vec<Part> = entries
            .par_iter()
            .map(|entry| load_dataset(yaml, entry, options))
            .collect::<Result<_, _>>()?;
        notes.extend(parts.iter().filter_map(Part::note));
        let datasets = parts.iter().map(|part| Arc::clone(&part.dataset)).collect();
        let left_out = parts.iter().map(|part| part.left_out.clone()).collect();
        let records: Vec<Record> = parts.into_iter().flat_map(|part| part.records).collect();
        if records.is_empty() {
            let notes = notes.iter().flat_map(|note| ["\n", note]).collect();
            return Err(DataError::EmptyMixture { path: yaml.to_owned(), notes });
        }
        let hash = hash_of(&records);
        let visuals = options.visuals;
        Ok(Self { path: yaml.to_owned(), records, datasets, visuals, hash, notes, left_out })
    }

    /// Number of samples.
    #[expect(clippy::len_without_is_empty, reason = "a mixture is never empty")]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The samples, dataset after dataset in the order of the YAML.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The entries of the YAML.
    pub fn datasets(&self) -> &[Arc<Dataset>] {
        &self.datasets
    }

    /// For each entry of the YAML how many of the chosen records are not taken, and why.
    pub fn left_out(&self) -> &[LeftOutCounts] {
        &self.left_out
    }

    /// The rule that its samples were taken by.
    pub fn visuals(&self) -> VisualRule {
        self.visuals
    }

    /// SHA-256 of all samples in order, as hexadecimal: annotations, not media, and no absolute path.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What is odd about the mixture but no error, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The YAML file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn check_keep(options: &MixtureOptions) -> Result<(), DataError> {
    let (from, to) = options.keep;
    if (0.0..=1.0).contains(&from) && (0.0..=1.0).contains(&to) && from < to {
        return Ok(());
    }
    Err(DataError::Options(format!("keep range {from}..{to} is not inside 0..1")))
}

/// What an entry of the YAML brings.
struct Part {
    dataset: Arc<Dataset>,
    records: Vec<Record>,
    left_out: LeftOutCounts,
}

impl Part {
    /// How many records are not taken, and why: the reference prints the first number as well (`Filter data: 9 -> 6`).
    fn note(&self) -> Option<String> {
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

fn load_dataset(yaml: &Path, entry: &Entry, options: &MixtureOptions) -> Result<Part, DataError> {
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

fn hash_of(records: &[Record]) -> String {
    let mut hash = Sha256::new();
    let mut field = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for record in records {
        field(&record.dataset.tag);
        field(&record.id);
        let kinds = record.media.iter().map(|file| match file.kind {
            Media::Image => "image",
            Media::Video => "video",
        });
        field(&kinds.collect::<Vec<_>>().join(" "));
        field(&format!("{:?} {:?}", record.dataset.read_type, record.part));
        record.media.iter().for_each(|file| field(&file.path));
        // A record that cannot be used now may be usable under other rules.
        if record.broken.is_some() {
            field("broken");
        }
        for turn in &record.turns {
            field(&turn.from);
            field(&turn.value);
        }
    }
    crate::hash::hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn annotation(count: usize) -> String {
        let record = |i: usize| {
            format!(
                r#"{{"id": {i}, "video": "v{i}.mp4", "conversations": [{{"from": "human", "value": "<image>\nq"}}]}}"#
            )
        };
        format!("[{}]", (0..count).map(record).collect::<Vec<_>>().join(",\n"))
    }

    fn load(yaml: &str, options: &MixtureOptions) -> Result<Mixture, DataError> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.json", &annotation(1000));
        write(
            folder.path(),
            "b.jsonl",
            "{\"image\": \"/etc/x.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]}\n",
        );
        write(folder.path(), "c.json", r#"[{"image": ["a.png"], "conversations": []}, {"id": 1}]"#);
        write(folder.path(), "d.json", "[]");
        write(folder.path(), "mixture.yaml", yaml);
        Mixture::load(&folder.path().join("mixture.yaml"), options)
    }

    fn unchecked() -> MixtureOptions {
        MixtureOptions { check_media: false, ..MixtureOptions::released() }
    }

    #[test]
    fn keeps_the_reference_subset_in_the_reference_order() {
        let yaml = "datasets:\n  - json_path: a.json\n    sampling_strategy: first2:10%\n    video_read_type: decord\n";
        let mixture = load(yaml, &unchecked()).unwrap();
        let ids: Vec<&str> = mixture.records().iter().map(|r| r.id.as_str()).collect();
        assert_eq!(mixture.len(), 25);
        assert_eq!(ids[..6], ["298", "910", "866", "303", "595", "302"]);
        assert_eq!(&*mixture.records()[0].dataset.tag, "a");
    }

    #[test]
    fn weight_repeats_and_shortens() {
        let count = |weight: &str| {
            let yaml = format!("datasets:\n  - json_path: a.json\n    weight: {weight}\n");
            load(&yaml, &unchecked()).unwrap().len()
        };
        assert_eq!((count("0.5"), count("1"), count("2.5")), (125, 250, 625));
    }

    #[test]
    fn errors_name_the_file() {
        let message =
            |yaml: &str, options: &MixtureOptions| load(yaml, options).unwrap_err().to_string();
        let entry = |text: &str| format!("datasets:\n  - {text}\n");
        let all = MixtureOptions { check_media: false, ..MixtureOptions::default() };
        let check = |text: &str, options: &MixtureOptions, expect: &str| {
            let got = message(&entry(text), options);
            assert!(got.contains(expect), "{got}");
        };
        check("json_path: c.json", &all, "yields no sample");
        check("json_path: d.json", &all, "holds no record");
        check("json_path: e.json", &all, "cannot read");
        check("json_path: mixture.yaml", &all, "suffix `yaml`");
        check("{json_path: a.json, sampling_strategy: frist:3}", &all, "`frist:3` is unknown");
        check("json_path: a.json", &MixtureOptions::default(), "none of the first 3 media files");
        check("sampling_strategy: all", &all, "json_path");
    }

    #[test]
    fn unknown_keys_are_noted() {
        let mixture =
            load("datasets:\n  - json_path: a.json\n    sampling_stategy: first:1\n", &unchecked())
                .unwrap();
        assert_eq!(mixture.notes(), ["dataset 1: key `sampling_stategy` is not known and ignored"]);
    }

    #[test]
    fn a_repeated_key_counts_as_last_written() {
        let yaml = "datasets:\n  - json_path: a.json \n    data_root: x/\n\n    data_root: y/\n";
        let mixture = load(yaml, &unchecked()).unwrap();
        assert!(mixture.datasets()[0].data_root.ends_with("y"));
    }

    /// Positions of checkpoints name the mixture by its hash: it stays as it is.
    #[test]
    fn the_hash_of_samples_with_one_medium_stays_as_it_is() {
        let yaml = "datasets:\n  - json_path: a.json\n    video_read_type: decord\n  - json_path: b.jsonl\n";
        let options = MixtureOptions { allow_outside_paths: true, keep: (0.0, 1.0), ..unchecked() };
        assert_eq!(
            load(yaml, &options).unwrap().hash(),
            "72b21b0189f1d5585c5b4f9c7d3d7c8734304fb8ae74613c6155eabbae9327a3"
        );
    }
}
