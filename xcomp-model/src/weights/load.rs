//! From a folder of weights into the modules of a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::store::StoreTensor;
use burn::store::burn_pack::{Bytes, Error as PackError, Tensor as PackTensor};

use super::dtype::{WeightDtype, dtype};
use super::files::StoredTensor;
use super::parameters::{Parameter, Weights};
use super::stored::StoredWeights;
use crate::base::family::{Absent, Family, Names, Place};
use crate::error::ModelError;

/// The path of the language-model head.
const HEAD: &str = "lm_head.weight";

/// A module to be filled, and how its tensors are called.
pub struct Part<'a> {
    /// From its fields to names.
    pub names: Names,
    /// The module.
    pub module: &'a mut dyn Weights,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The files, sorted.
    pub files: Vec<PathBuf>,
    /// Tensors that were taken over.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
    /// Those of them that are copies of others, which stand for what the files lack.
    pub copied: usize,
}

impl Loaded {
    /// What was read together with `other`.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.files.extend(other.files);
        self.files.sort();
        self.files.dedup();
        self.tensors += other.tensors;
        self.parameters += other.parameters;
        self.copied += other.copied;
        self
    }
}

/// Fills every parameter of `parts` from a folder, as f32, and checks that nothing is left over.
///
/// Parameters keep their ids, and whether they are trained. A tied model takes its head from the
/// embedding table; a copy of it among the weights is accepted and not used. What is absent and is to be copied
/// ([`Absent::Copy`]) is taken from what it copies, a learned token from row `row` of the embedding table.
///
/// # Errors
///
/// If the folder has no weights or an unusable index, a file is damaged, or a tensor is missing,
/// unused, duplicated, of another shape, or not of a floating-point dtype. Then no parameter has
/// changed, unless a file turns unreadable on the way.
pub fn load(
    folder: &Path,
    family: &Family,
    row: Option<usize>,
    parts: &mut [Part<'_>],
) -> Result<Loaded, ModelError> {
    let parameters = parts.iter().flat_map(|part| part.module.parameters(part.names)).collect();
    take(&checked(folder, family, row, parameters)?, parts, WeightDtype::F32)
}

/// The stored tensors of these parameters, once nothing is missing or left over in the folder.
pub(super) fn checked(
    folder: &Path,
    family: &Family,
    row: Option<usize>,
    parameters: Vec<Parameter>,
) -> Result<StoredWeights, ModelError> {
    let mut stored = StoredWeights::in_folder(folder)?;
    stored.tensors.retain(|name, _| !(family.spare)(name));
    let named = |parameter: Parameter| (parameter.name.clone(), parameter);
    let mut expected: BTreeMap<String, Parameter> = parameters.into_iter().map(named).collect();
    expected.retain(|name, _| {
        stored.tensors.contains_key(name) || (family.absent)(name) != Absent::Fresh
    });
    copy_absent(family, row, &expected, &mut stored);
    check_present(folder, &stored.tensors, &expected)?;
    let tied = tied_head(family, &expected);
    check_all_used(&stored.tensors, &expected, tied.as_ref())?;
    check_kinds(&stored.tensors, &expected, tied.as_ref())?;
    stored.tensors.retain(|name, _| expected.contains_key(name));
    Ok(stored)
}

/// Fills the parameters that are stored; all others keep their values, drawn or not.
///
/// Matrices are held as `held`; vectors, which add up to nothing, as f32.
///
/// # Errors
/// If a tensor has another shape or dtype, or a file cannot be read; then parameters may have changed.
pub fn take(
    stored: &StoredWeights,
    parts: &mut [Part<'_>],
    held: WeightDtype,
) -> Result<Loaded, ModelError> {
    let (files, mut tensors, mut parameters, mut copied) = (stored.files(), 0, 0, 0);
    for part in parts {
        let taken: Vec<Parameter> = (part.module.parameters(part.names).into_iter())
            .filter(|parameter| stored.tensors.contains_key(&parameter.name))
            .collect();
        tensors += taken.len();
        copied += taken.iter().filter(|one| stored.copied.contains(&one.name)).count();
        parameters += taken.iter().map(Parameter::count).sum::<usize>();
        fill(part, &taken, stored, held)?;
    }
    Ok(Loaded { files, tensors, parameters, copied })
}

/// A copy of the embedding table under the name of the head: accepted and not used.
struct TiedHead {
    head: String,
    table: Parameter,
}

/// Where the head of these parameters would be, if the embedding table stands for it.
fn tied_head(family: &Family, expected: &BTreeMap<String, Parameter>) -> Option<TiedHead> {
    let at = |place: Place| expected.values().find(|one| family.place(&one.name) == Some(place));
    let table = at(Place::Embed)?.clone();
    let head = family.llm.name(HEAD);
    at(Place::Head).is_none().then_some(TiedHead { head, table })
}

/// Lets what is absent and is to be copied lie where what it copies lies.
fn copy_absent(
    family: &Family,
    row: Option<usize>,
    expected: &BTreeMap<String, Parameter>,
    stored: &mut StoredWeights,
) {
    for (name, parameter) in expected {
        let Absent::Copy(source) = (family.absent)(name) else { continue };
        if stored.tensors.contains_key(name) {
            continue;
        }
        let source = stored.tensors.get(&source);
        let copy = source.and_then(|source| match row {
            _ if source.shape == parameter.shape => Some(source.clone()),
            row => source.row(row?),
        });
        if let Some(copy) = copy {
            stored.tensors.insert(name.clone(), copy);
            stored.copied.insert(name.clone());
        }
    }
}

fn check_present(
    folder: &Path,
    stored: &BTreeMap<String, StoredTensor>,
    expected: &BTreeMap<String, Parameter>,
) -> Result<(), ModelError> {
    let mut missing = expected.values().filter(|parameter| !stored.contains_key(&parameter.name));
    let Some(first) = missing.next() else { return Ok(()) };
    Err(ModelError::TensorMissing {
        name: first.name.clone(),
        folder: folder.to_owned(),
        expected: first.shape.clone(),
        more: missing.count(),
    })
}

fn check_all_used(
    stored: &BTreeMap<String, StoredTensor>,
    expected: &BTreeMap<String, Parameter>,
    tied: Option<&TiedHead>,
) -> Result<(), ModelError> {
    let is_tied_head = |name: &str| tied.is_some_and(|tied| tied.head == name);
    let mut unused =
        stored.iter().filter(|(name, _)| !expected.contains_key(*name) && !is_tied_head(name));
    let Some((name, tensor)) = unused.next() else { return Ok(()) };
    Err(ModelError::TensorUnused {
        name: name.clone(),
        path: tensor.file.clone(),
        found: tensor.shape.clone(),
        more: unused.count(),
    })
}

/// Shapes and dtypes; a copy of the embedding table has the table's shape.
fn check_kinds(
    stored: &BTreeMap<String, StoredTensor>,
    expected: &BTreeMap<String, Parameter>,
    tied: Option<&TiedHead>,
) -> Result<(), ModelError> {
    for (name, tensor) in stored {
        let table = tied.map(|tied| &tied.table);
        let parameter = expected.get(name).or(table);
        let parameter = parameter.expect("an unused tensor was refused");
        check_shape(name, tensor, parameter)?;
        dtype(name, tensor)?;
    }
    Ok(())
}

fn check_shape(name: &str, tensor: &StoredTensor, parameter: &Parameter) -> Result<(), ModelError> {
    let (found, expected) = (tensor.shape.clone(), parameter.shape.clone());
    if found == expected {
        return Ok(());
    }
    let (name, path) = (name.to_owned(), tensor.file.clone());
    Err(ModelError::TensorShape { name, path, found, expected })
}

fn fill(
    part: &mut Part<'_>,
    parameters: &[Parameter],
    stored: &StoredWeights,
    held: WeightDtype,
) -> Result<(), ModelError> {
    let path = stored.files().into_iter().next().unwrap_or_default();
    let own = parameters.iter().filter_map(|parameter| {
        let path = part.names.path(&parameter.name)?;
        Some(unread(path, parameter, &stored.tensors[&parameter.name], held))
    });
    let own = own.collect::<Result<Vec<_>, _>>()?;
    let wanted = own.len();
    let result = part.module.take(own);
    let complete = result.applied.len() == wanted && result.unused.is_empty();
    if complete && result.errors.is_empty() {
        return Ok(());
    }
    let (name, reason) = (format!("{}*", part.names.prefix), result.to_string());
    Err(ModelError::TensorUnreadable { name, path, reason })
}

/// A tensor that is read when it is taken: no more than one lies in memory twice.
fn unread(
    path: String,
    parameter: &Parameter,
    stored: &StoredTensor,
    held: WeightDtype,
) -> Result<StoreTensor, ModelError> {
    let (name, tensor, from) = (&parameter.name, stored.clone(), dtype(&parameter.name, stored)?);
    check_shape(name, stored, parameter)?;
    let to = if stored.shape.len() > 1 { held } else { WeightDtype::F32 };
    let read = move || match tensor.read(0..tensor.byte_len()) {
        Ok(bytes) => Ok(Bytes::from_bytes_vec(to.cast(bytes, from))),
        Err(error) => {
            Err(PackError::IoError(format!("cannot read {}: {error}", tensor.file.display())))
        }
    };
    let (shape, bytes) = (stored.shape.clone(), parameter.count() * to.bytes());
    Ok(PackTensor::deferred(path, to.burn(), shape, None, bytes, read).into())
}
