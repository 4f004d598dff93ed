//! From the modules of a model into a folder of weights.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

use super::dtype::{WeightDtype, dtype};
use super::files::{Index, IndexMetadata, LENGTH_BYTES, StoredTensor, io};
use super::outgoing::{Outgoing, merged};
use super::parameters::Weights;
use super::stored::StoredWeights;
use super::{INDEX_FILE, SINGLE_FILE};
use crate::base::family::Names;
use crate::error::ModelError;

/// A module to be written, and how its tensors are called.
pub struct SavedPart<'a> {
    /// From its fields to names.
    pub names: Names,
    /// The module.
    pub module: &'a dyn Weights,
}

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SaveOptions {
    /// Dtype of every tensor.
    pub dtype: WeightDtype,
    /// Bytes of tensors in a file; above it, shards with an index are written.
    pub max_file_bytes: Option<u64>,
    /// The strength with which adapters become part of their maps; without it they are written as they are.
    pub merge: Option<f64>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The files, the index last.
    pub files: Vec<PathBuf>,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
}

/// Writes every parameter of `parts` into a folder; those that are `stored` go from file to file, in pieces.
///
/// The bytes depend on the values only: tensors are sorted by name. Files are written aside,
/// synced, then renamed, the index last; then weight files of an earlier save are removed. A tied
/// head is not written.
///
/// # Errors
///
/// If a value is not finite in the chosen dtype, or a file cannot be read or written.
pub fn save(
    folder: &Path,
    parts: &[SavedPart<'_>],
    stored: &StoredWeights,
    options: SaveOptions,
) -> Result<Saved, ModelError> {
    let mut tensors = BTreeMap::new();
    for part in parts {
        tensors.extend(outgoing(part, stored, options)?);
    }
    if let Some(scale) = options.merge {
        tensors = merged(tensors, scale);
    }
    write_folder(folder, &tensors, options.max_file_bytes)
}

/// Writes stored tensors into a folder byte for byte, as [`save`] lays files out.
///
/// # Errors
/// As [`save`].
pub fn copy(
    stored: &StoredWeights,
    folder: &Path,
    max_file_bytes: Option<u64>,
) -> Result<Saved, ModelError> {
    write_folder(folder, &unchanged(stored)?, max_file_bytes)
}

/// Writes stored tensors into one file byte for byte, as [`save`] lays files out.
///
/// # Errors
/// As [`save`].
pub fn copy_to_file(stored: &StoredWeights, path: &Path) -> Result<(), ModelError> {
    let tensors = unchanged(stored)?;
    let aside = Aside::create(path.to_owned())?;
    write_tensors(&aside, &tensors.keys().map(String::as_str).collect::<Vec<_>>(), &tensors)?;
    aside.commit().map(|_| ())
}

fn unchanged(stored: &StoredWeights) -> Result<BTreeMap<String, Outgoing>, ModelError> {
    let outgoing = |(name, tensor): (&String, &StoredTensor)| {
        Ok((name.clone(), Outgoing::stored(tensor.clone(), dtype(name, tensor)?)))
    };
    stored.tensors.iter().map(outgoing).collect()
}

/// The tensors of a part by name: from the files that have them, all others from the module.
fn outgoing(
    part: &SavedPart<'_>,
    stored: &StoredWeights,
    options: SaveOptions,
) -> Result<BTreeMap<String, Outgoing>, ModelError> {
    let mut tensors = BTreeMap::new();
    let parameters = part.module.parameters(part.names);
    let in_files = parameters.iter().filter_map(|one| stored.tensors.get_key_value(&one.name));
    for (name, tensor) in in_files {
        let mut outgoing = Outgoing::stored(tensor.clone(), dtype(name, tensor)?);
        outgoing.dtype = options.dtype;
        tensors.insert(name.clone(), outgoing);
    }
    if tensors.len() < parameters.len() {
        // What is merged must not be rounded before. Asked only here: a module draws its lazy parameters when it gives them.
        let given = if options.merge.is_some() { WeightDtype::F32 } else { options.dtype };
        for tensor in part.module.give(given.burn()) {
            let name = part.names.name(&tensor.name);
            let outgoing = Outgoing::of_module(tensor, given, options.dtype);
            tensors.entry(name).or_insert(outgoing);
        }
    }
    Ok(tensors)
}

/// Writes tensors into a folder, in one file or in shards.
fn write_folder(
    folder: &Path,
    tensors: &BTreeMap<String, Outgoing>,
    max_file_bytes: Option<u64>,
) -> Result<Saved, ModelError> {
    fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    let tensor_bytes = tensors.values().map(|tensor| tensor.byte_len() as u64).sum();
    let shards = shards(tensors, max_file_bytes.unwrap_or(u64::MAX));
    let names = file_names(shards.len());

    let mut written = Vec::new();
    for (name, shard) in names.iter().zip(&shards) {
        let aside = Aside::create(folder.join(name))?;
        write_tensors(&aside, shard, tensors)?;
        written.push(aside);
    }
    if shards.len() > 1 {
        let weight_map = weight_map(&names, &shards);
        let metadata = IndexMetadata { total_size: tensor_bytes };
        written.push(write_index(folder, &Index { metadata, weight_map })?);
    }
    let files = written.into_iter().map(Aside::commit).collect::<Result<Vec<_>, _>>()?;
    remove_stale(folder, &files)?;
    Ok(Saved { files, tensor_bytes })
}

fn write_index(folder: &Path, index: &Index) -> Result<Aside, ModelError> {
    let aside = Aside::create(folder.join(INDEX_FILE))?;
    let text = serde_json::to_vec_pretty(index).expect("names and sizes are plain JSON");
    let write = || {
        let mut file = File::create(&aside.partial)?;
        file.write_all(&text)?;
        file.sync_all()
    };
    write().map_err(|source| io(&aside.partial, source))?;
    Ok(aside)
}

/// Names by file, in order; a tensor larger than a file has one to itself.
fn shards(tensors: &BTreeMap<String, Outgoing>, max_bytes: u64) -> Vec<Vec<&str>> {
    let mut shards: Vec<Vec<&str>> = vec![vec![]];
    let mut filled = 0_u64;
    for (name, tensor) in tensors {
        let bytes = tensor.byte_len() as u64;
        if filled > 0 && filled + bytes > max_bytes {
            shards.push(vec![]);
            filled = 0;
        }
        filled += bytes;
        shards.last_mut().expect("there is always a shard").push(name);
    }
    shards
}

fn file_names(shards: usize) -> Vec<String> {
    if shards == 1 {
        return vec![SINGLE_FILE.to_owned()];
    }
    (1..=shards).map(|shard| format!("model-{shard:05}-of-{shards:05}.safetensors")).collect()
}

fn weight_map(names: &[String], shards: &[Vec<&str>]) -> BTreeMap<String, String> {
    let listed = |(file, tensors): (&String, &Vec<&str>)| {
        tensors.iter().map(|tensor| ((*tensor).to_owned(), file.clone())).collect::<Vec<_>>()
    };
    names.iter().zip(shards).flat_map(listed).collect()
}

/// The format itself: the header's length, the header, the tensors one after the other.
///
/// Written here and not by burn-store, which writes one module per file and none of the shards.
fn write_tensors(
    aside: &Aside,
    names: &[&str],
    tensors: &BTreeMap<String, Outgoing>,
) -> Result<(), ModelError> {
    let failed = |source| io(&aside.partial, source);
    let mut file = BufWriter::new(File::create(&aside.partial).map_err(failed)?);
    let header = header(names, tensors);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    file.write_all(&header).map_err(failed)?;
    for name in names {
        let (name, path) = (|| (*name).to_owned(), || aside.target.clone());
        let tensor = &tensors[&name()];
        let mut write = |bytes: &[u8]| {
            if tensor.dtype.all_finite(bytes) {
                return file.write_all(bytes).map_err(failed);
            }
            let dtype = tensor.dtype.name();
            Err(ModelError::TensorNotFinite { name: name(), dtype, path: path() })
        };
        let unreadable =
            |reason| ModelError::TensorUnreadable { name: name(), path: path(), reason };
        tensor.write(&mut write, &unreadable)?;
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

fn header(names: &[&str], tensors: &BTreeMap<String, Outgoing>) -> Vec<u8> {
    let mut end = 0;
    let info = |name: &&str| {
        let tensor = &tensors[*name];
        let start = end;
        end += tensor.byte_len();
        let (dtype, shape) = (tensor.dtype.stored(), tensor.shape.clone());
        ((*name).to_owned(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let infos = names.iter().map(info).collect();
    // What `transformers` asks for before it reads a file.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos).expect("offsets follow each other");
    let mut text = serde_json::to_vec(&metadata).expect("a header is plain JSON");
    text.resize(text.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    text
}

/// Removes weight files that are not of this save: a loader must not find two models.
fn remove_stale(folder: &Path, files: &[PathBuf]) -> Result<(), ModelError> {
    let entries = fs::read_dir(folder).map_err(|source| io(folder, source))?;
    for entry in entries {
        let path = entry.map_err(|source| io(folder, source))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| is_weight_file(&name)) && !files.contains(&path) {
            fs::remove_file(&path).map_err(|source| io(&path, source))?;
        }
    }
    Ok(())
}

fn is_weight_file(name: &str) -> bool {
    let shard = || {
        let numbers = name.strip_prefix("model-")?.strip_suffix(".safetensors")?;
        let (shard, shards) = numbers.split_once("-of-")?;
        let number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        (number(shard) && number(shards)).then_some(())
    };
    name == SINGLE_FILE || name == INDEX_FILE || shard().is_some()
}

/// A file that has its name only once it is complete.
struct Aside {
    partial: PathBuf,
    target: PathBuf,
}

impl Aside {
    fn create(target: PathBuf) -> Result<Self, ModelError> {
        let partial = target.with_added_extension("partial");
        File::create(&partial).map_err(|source| io(&partial, source))?;
        Ok(Self { partial, target })
    }

    fn commit(self) -> Result<PathBuf, ModelError> {
        fs::rename(&self.partial, &self.target).map_err(|source| io(&self.target, source))?;
        Ok(self.target.clone())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After a commit there is nothing of this name; after an error the rest is worthless.
        let _ = fs::remove_file(&self.partial);
    }
}
