//! The YAML of a mixture, as VideoChat-Flash and `XComp` write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::mixture::dataset::ReadType;
use crate::open::read_regular;
use crate::{DataError, Strategy};

/// Largest mixture file, in bytes; the released one has 14 kB.
const MAX_YAML_BYTES: u64 = 16 << 20;

/// The keys that an entry of `datasets:` may have.
const KNOWN_KEYS: [&str; 7] = [
    "json_path",
    "sampling_strategy",
    "media_type",
    "video_read_type",
    "data_root",
    "weight",
    "tag",
];

/// One checked entry of `datasets:`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) annotation: PathBuf,
    pub(crate) data_root: PathBuf,
    pub(crate) strategy: Strategy,
    pub(crate) read_type: Option<ReadType>,
    pub(crate) weight: f64,
    pub(crate) tag: String,
}

#[derive(Deserialize)]
struct MixtureFile {
    datasets: Vec<RawEntry>,
}

#[derive(Deserialize)]
struct RawEntry {
    json_path: String,
    #[serde(default)]
    sampling_strategy: Option<String>,
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    video_read_type: Option<ReadType>,
    #[serde(default)]
    data_root: Option<String>,
    #[serde(default)]
    weight: Option<f64>,
    #[serde(default)]
    tag: Option<String>,
}

/// Checked, but without effect: the reference filters by what each record holds.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MediaType {
    Image,
    Video,
    Text,
    Mix,
}

#[derive(Deserialize)]
#[expect(clippy::zero_sized_map_values, reason = "only the keys of a map are wanted")]
struct KeysOnly {
    datasets: Vec<BTreeMap<String, IgnoredAny>>,
}

/// The annotation files and folders of media that a mixture file names, as it writes them.
pub(crate) fn read_places(path: &Path) -> Result<Vec<String>, DataError> {
    let file: MixtureFile = serde_saphyr::from_str_with_options(&read_text(path)?, yaml_options())
        .map_err(|error| DataError::Yaml { path: path.to_owned(), message: error.to_string() })?;
    Ok(file
        .datasets
        .into_iter()
        .flat_map(|raw| [Some(raw.json_path), raw.data_root])
        .flatten()
        .collect())
}

/// Reads a mixture file; also gives a line for each key that is ignored.
pub(crate) fn read_entries(
    path: &Path,
    elsewhere: &BTreeMap<String, PathBuf>,
) -> Result<(Vec<Entry>, Vec<String>), DataError> {
    let text = read_text(path)?;
    let wrong = |message: String| DataError::Yaml { path: path.to_owned(), message };
    let file: MixtureFile = serde_saphyr::from_str_with_options(&text, yaml_options())
        .map_err(|error| wrong(error.to_string()))?;
    let keys: KeysOnly = serde_saphyr::from_str_with_options(&text, yaml_options())
        .map_err(|error| wrong(error.to_string()))?;
    if file.datasets.is_empty() {
        return Err(wrong("`datasets` is empty; list at least one annotation file".into()));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let place = |text: &str| elsewhere.get(text).cloned().unwrap_or_else(|| folder.join(text));
    let entries =
        file.datasets.into_iter().map(|raw| raw.check(path, &place)).collect::<Result<_, _>>()?;
    Ok((entries, unknown_keys(&keys)))
}

/// A repeated key counts as last written, as in Python; the released mixture has one. `.nan` and `.inf` are numbers, as in Python.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
    }
}

fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = read_regular(path, MAX_YAML_BYTES)?;
    String::from_utf8(bytes)
        .map_err(|error| DataError::Yaml { path: path.to_owned(), message: error.to_string() })
}

fn unknown_keys(keys: &KeysOnly) -> Vec<String> {
    let mut notes = Vec::new();
    for (index, entry) in keys.datasets.iter().enumerate() {
        for key in entry.keys().filter(|key| !KNOWN_KEYS.contains(&key.as_str())) {
            notes.push(format!("dataset {}: key `{key}` is not known and ignored", index + 1));
        }
    }
    notes
}

impl RawEntry {
    fn check(self, path: &Path, place: &dyn Fn(&str) -> PathBuf) -> Result<Entry, DataError> {
        let wrong = |message: String| DataError::Dataset {
            path: path.to_owned(),
            dataset: self.json_path.clone(),
            message,
        };
        let strategy =
            Strategy::parse(self.sampling_strategy.as_deref().unwrap_or("all")).map_err(wrong)?;
        let weight = self.weight.unwrap_or(1.0);
        if !(weight.is_finite() && (0.0..=1000.0).contains(&weight)) {
            return Err(wrong(format!("weight {weight} is not between 0 and 1000")));
        }
        if self.media_type == Some(MediaType::Text) {
            return Err(wrong(
                "media_type `text` has nothing to compress; use image, video or mix".into(),
            ));
        }
        let annotation = place(&self.json_path);
        let stem = annotation.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Ok(Entry {
            data_root: place(&self.data_root.unwrap_or_default()),
            tag: self.tag.or(stem).unwrap_or_default(),
            read_type: self.video_read_type,
            annotation,
            strategy,
            weight,
        })
    }
}
