//! The training mixture: a YAML list of annotation files and how much of each is used.
//!
//! The order of steps is the reference's (`train.py:1118-1301`): load, shuffle with seed 12345, slice by strategy, shuffle with the
//! keep seed, slice the keep range, drop what the rule of visuals does not take.

pub mod annotation;
mod dataset;
mod file;
pub mod json_scan;
mod options;
mod part;
pub mod share;
mod split;
pub(crate) mod strategy;
pub mod turns;
pub(crate) mod visual_rule;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::DataError;
use crate::mixture::annotation::{Media, Record};
use crate::mixture::file::{read_entries, read_places};
use crate::mixture::visual_rule::VisualRule;
pub use dataset::{Dataset, ReadType};
pub use options::MixtureOptions;
pub use part::LeftOutCounts;
use part::{Part, load_dataset};

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
        let (entries, mut notes) = read_entries(yaml, &options.elsewhere)?;
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

    /// The annotation files and folders of media that a mixture names, as it writes them.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn places(yaml: &Path) -> Result<Vec<String>, DataError> {
        read_places(yaml)
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
