//! Tensors of weight files, read one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};

use safetensors::Dtype;

use super::dtype::{WeightDtype, dtype};
use super::files::{StoredTensor, io, read_headers, stored_tensors};
use crate::error::ModelError;

/// Tensors by name, each where it lies on disk: only headers have been read.
#[derive(Debug, Clone, Default)]
pub struct StoredWeights {
    pub(super) tensors: BTreeMap<String, StoredTensor>,
    /// Names of those that stand for what the files lack.
    pub(super) copied: BTreeSet<String>,
}

impl StoredWeights {
    /// Those of a folder: one `model.safetensors`, or shards with an index.
    ///
    /// # Errors
    /// If there are no weights, the index is unusable, or a file is damaged.
    pub fn in_folder(folder: &Path) -> Result<Self, ModelError> {
        Ok(Self { tensors: stored_tensors(folder)?, ..Self::default() })
    }

    /// Those of one file.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn in_file(path: &Path) -> Result<Self, ModelError> {
        Ok(Self { tensors: read_headers([path.to_owned()])?, ..Self::default() })
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The numbers of a tensor as f32, one after the other; `None` if there is none of this name.
    ///
    /// # Errors
    /// If its file cannot be read, or holds no floating-point numbers there.
    pub fn numbers(&self, name: &str) -> Result<Option<TensorData>, ModelError> {
        let Some(tensor) = self.tensors.get(name) else { return Ok(None) };
        let dtype = dtype(name, tensor)?;
        let bytes = tensor.read(0..tensor.byte_len()).map_err(|source| io(&tensor.file, source))?;
        let shape = [tensor.shape.iter().product::<usize>()];
        Ok(Some(match dtype {
            WeightDtype::F32 => TensorData::from_bytes_vec(bytes, shape, DType::F32),
            _ => TensorData::new(dtype.widen(&bytes), shape),
        }))
    }

    /// The numbers of a tensor as they are stored, floating-point ones or bytes; `None` if there is none of this name.
    ///
    /// # Errors
    /// If its file cannot be read, or holds other numbers there.
    pub fn exact(&self, name: &str) -> Result<Option<TensorData>, ModelError> {
        let Some(tensor) = self.tensors.get(name) else { return Ok(None) };
        let dtype = match tensor.dtype {
            Dtype::U8 => DType::U8,
            _ => dtype(name, tensor)?.burn(),
        };
        let bytes = tensor.read(0..tensor.byte_len()).map_err(|source| io(&tensor.file, source))?;
        let shape = [tensor.shape.iter().product::<usize>()];
        Ok(Some(TensorData::from_bytes_vec(bytes, shape, dtype)))
    }

    /// These, and of `others` those whose name is not among them.
    #[must_use]
    pub fn before(mut self, others: Self) -> Self {
        for (name, tensor) in others.tensors {
            if !self.tensors.contains_key(&name) {
                self.copied.extend(others.copied.get(&name).cloned());
                self.tensors.insert(name, tensor);
            }
        }
        self
    }

    /// Those whose names are wanted, and the others.
    #[must_use]
    pub fn partition(self, wanted: impl Fn(&str) -> bool) -> (Self, Self) {
        let (tensors, rest) = self.tensors.into_iter().partition(|(name, _)| wanted(name));
        (Self { tensors, copied: self.copied.clone() }, Self { tensors: rest, copied: self.copied })
    }

    /// Those that get a name, under it.
    #[must_use]
    pub fn renamed(self, rename: impl Fn(&str) -> Option<String>) -> Self {
        let copied = self.copied.iter().filter_map(|name| rename(name)).collect();
        let renamed = |(name, tensor): (String, _)| Some((rename(&name)?, tensor));
        Self { tensors: self.tensors.into_iter().filter_map(renamed).collect(), copied }
    }

    /// The files they lie in, sorted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files: BTreeSet<&PathBuf> = self.tensors.values().map(|tensor| &tensor.file).collect();
        files.into_iter().cloned().collect()
    }
}
