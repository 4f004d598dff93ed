//! From a folder of weights into the modules of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::store::{ModuleStore, SafetensorsStore, StoreTensor};
use safetensors::Dtype;

use super::files::{StoredTensor, stored_tensors};
use super::parameters::{Parameter, Weights};
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
}

/// Fills every parameter of `parts` from a folder, as f32, and checks that nothing is left over.
///
/// Parameters keep their ids, and whether they are trained. A tied model takes its head from the
/// embedding table; a copy of it among the weights is accepted and not used.
///
/// # Errors
///
/// If the folder has no weights or an unusable index, a file is damaged, or a tensor is missing,
/// unused, duplicated, of another shape, or not of a floating-point dtype. Then no parameter has
/// changed, unless a file turns unreadable on the way.
pub fn load(folder: &Path, family: &Family, parts: &mut [Part<'_>]) -> Result<Loaded, ModelError> {
    let mut stored = stored_tensors(folder)?;
    stored.retain(|name, _| !(family.spare)(name));
    let expected: BTreeMap<String, Parameter> = parts
        .iter()
        .flat_map(|part| part.module.parameters(part.names))
        .map(|parameter| (parameter.name.clone(), parameter))
        .collect();
    let expected: BTreeMap<String, Parameter> = expected
        .into_iter()
        .filter(|(name, _)| stored.contains_key(name) || (family.absent)(name) == Absent::Refuse)
        .collect();
    check_present(folder, &stored, &expected)?;
    let tied = tied_head(family, &expected);
    check_all_used(&stored, &expected, tied.as_ref())?;
    check_kinds(&stored, &expected, tied.as_ref())?;

    let files: BTreeSet<PathBuf> = stored.values().map(|tensor| tensor.file.clone()).collect();
    let mut tensors = BTreeMap::new();
    for file in &files {
        tensors.extend(open(file)?);
    }
    for part in parts {
        fill(folder, part, &mut tensors)?;
    }
    let parameters = expected.values().map(Parameter::count).sum();
    Ok(Loaded { files: files.into_iter().collect(), tensors: expected.len(), parameters })
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
        let (name, path) = (name.clone(), tensor.file.clone());
        if tensor.shape != parameter.shape {
            let (found, expected) = (tensor.shape.clone(), parameter.shape.clone());
            return Err(ModelError::TensorShape { name, path, found, expected });
        }
        if !matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let found = format!("{:?}", tensor.dtype);
            return Err(ModelError::TensorDtype { name, path, found });
        }
    }
    Ok(())
}

/// The tensors of a file, none of them read yet.
fn open(file: &Path) -> Result<BTreeMap<String, StoreTensor>, ModelError> {
    let mut store = SafetensorsStore::from_file(file);
    let tensors = store.get_all_tensors().map_err(|error| ModelError::NotSafetensors {
        path: file.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(tensors.clone())
}

fn fill(
    folder: &Path,
    part: &mut Part<'_>,
    tensors: &mut BTreeMap<String, StoreTensor>,
) -> Result<(), ModelError> {
    let own = part.module.parameters(part.names).into_iter().filter_map(|parameter| {
        // What is absent here keeps its fresh values: the family said so.
        let mut tensor = tensors.remove(&parameter.name)?;
        tensor.set_name(&part.names.path(&parameter.name)?);
        Some(tensor)
    });
    let own: Vec<_> = own.collect();
    let wanted = own.len();
    let result = part.module.take(own);
    let complete = result.applied.len() == wanted && result.unused.is_empty();
    if complete && result.errors.is_empty() {
        return Ok(());
    }
    Err(ModelError::TensorUnreadable {
        name: format!("{}*", part.names.prefix),
        path: folder.to_owned(),
        reason: result.to_string(),
    })
}
