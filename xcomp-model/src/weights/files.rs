//! Which tensors a folder of weights holds, read from the headers of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{INDEX_FILE, SINGLE_FILE};
use crate::error::ModelError;

/// Bytes before the header: its length.
pub(super) const LENGTH_BYTES: u64 = 8;
/// The largest header the safetensors format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A tensor in a file, not read yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredTensor {
    pub(super) file: PathBuf,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Its bytes in the file.
    range: Range<u64>,
}

impl StoredTensor {
    /// Bytes of it.
    pub(super) fn byte_len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// One row of a table; `None` if it has no such row.
    pub(super) fn row(&self, row: usize) -> Option<Self> {
        let [rows, width] = self.shape[..] else { return None };
        let bytes = (row < rows).then(|| (self.range.end - self.range.start) / rows as u64)?;
        let start = self.range.start + row as u64 * bytes;
        Some(Self { shape: vec![1, width], range: start..start + bytes, ..self.clone() })
    }

    /// Some of its bytes, counted from its first.
    pub(super) fn read(&self, part: Range<usize>) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; part.len()];
        File::open(&self.file)?.read_exact_at(&mut bytes, self.range.start + part.start as u64)?;
        Ok(bytes)
    }
}

/// `model.safetensors.index.json`, as it is written.
#[derive(Debug, Serialize)]
pub(super) struct Index {
    pub(super) metadata: IndexMetadata,
    /// The file of each tensor.
    pub(super) weight_map: BTreeMap<String, String>,
}

/// What the index says about the whole.
#[derive(Debug, Serialize)]
pub(super) struct IndexMetadata {
    /// Bytes of all tensors.
    pub(super) total_size: u64,
}

/// What is read of an index: writers disagree about its metadata.
#[derive(Deserialize)]
struct Listed {
    weight_map: BTreeMap<String, String>,
}

/// Every tensor of a folder by name.
pub(super) fn stored_tensors(folder: &Path) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let (single, index) = (folder.join(SINGLE_FILE), folder.join(INDEX_FILE));
    let folder = folder.to_owned();
    match (single.is_file(), index.is_file()) {
        (true, false) => read_headers([single]),
        (false, true) => sharded(&folder, &index),
        (true, true) => Err(ModelError::WeightsAmbiguous { folder }),
        (false, false) => Err(ModelError::WeightsAbsent { folder }),
    }
}

/// The tensors of all shards; they must be those the index lists, each where it says.
fn sharded(folder: &Path, path: &Path) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let wrong = |reason: String| ModelError::Index { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|source| io(path, source))?;
    let Listed { weight_map } =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;

    let files: BTreeSet<&String> = weight_map.values().collect();
    for file in &files {
        let plain = Path::new(file).components().count() == 1 && !file.starts_with('.');
        if !plain || !folder.join(file).is_file() {
            return Err(wrong(format!("there is no file `{file}` next to it")));
        }
    }
    let stored = read_headers(files.iter().map(|file| folder.join(file)))?;
    for (name, file) in &weight_map {
        let found = stored.get(name).map(|tensor| tensor.file.as_path());
        if found != Some(folder.join(file).as_path()) {
            return Err(wrong(format!("tensor `{name}` is not in {file}, where it says")));
        }
    }
    match stored.iter().find(|(name, _)| !weight_map.contains_key(*name)) {
        Some((name, tensor)) => {
            Err(wrong(format!("it does not list tensor `{name}` of {}", tensor.file.display())))
        }
        None => Ok(stored),
    }
}

pub(super) fn read_headers(
    files: impl IntoIterator<Item = PathBuf>,
) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let mut stored: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for file in files {
        let (header, data) = header(&file)?;
        for (name, info) in header.tensors() {
            let (dtype, shape, (start, end)) = (info.dtype, info.shape.clone(), info.data_offsets);
            let range = data + start as u64..data + end as u64;
            let tensor = StoredTensor { file: file.clone(), dtype, shape, range };
            if let Some(first) = stored.insert(name.clone(), tensor) {
                let (first, second) = (first.file, file);
                return Err(ModelError::TensorDuplicated { name, first, second });
            }
        }
    }
    Ok(stored)
}

/// The header of a file whose length is the one it promises, and where the tensors begin.
fn header(path: &Path) -> Result<(Metadata, u64), ModelError> {
    let mut file = File::open(path).map_err(|source| io(path, source))?;
    let found = file.metadata().map_err(|source| io(path, source))?.len();
    let truncated =
        |expected: u64| ModelError::Truncated { path: path.to_owned(), found, expected };
    let foreign = |reason: String| ModelError::NotSafetensors { path: path.to_owned(), reason };

    let mut length = [0; LENGTH_BYTES as usize];
    if found < LENGTH_BYTES {
        return Err(truncated(LENGTH_BYTES));
    }
    file.read_exact(&mut length).map_err(|source| io(path, source))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(foreign(format!("its header would have {length} bytes")));
    }
    if LENGTH_BYTES + length > found {
        return Err(truncated(LENGTH_BYTES + length));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(|source| io(path, source))?;

    let Names(mut names) =
        serde_json::from_slice(&text).map_err(|error| foreign(error.to_string()))?;
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let (name, first, second) = (pair[0].clone(), path.to_owned(), path.to_owned());
        return Err(ModelError::TensorDuplicated { name, first, second });
    }
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| foreign(error.to_string()))?;
    let data = LENGTH_BYTES + length;
    let expected = data + metadata.data_len() as u64;
    if expected == found { Ok((metadata, data)) } else { Err(truncated(expected)) }
}

/// The keys of a JSON object, repeated ones too.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

pub(super) fn io(path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Io { path: path.to_owned(), source }
}
