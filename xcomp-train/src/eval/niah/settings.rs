//! What decides the answers to a grid, besides the cell: a cell that is kept was tried under the same.

use std::path::{Path, PathBuf};

use xcomp_data::is_confined;

use super::read_chains;
use super::run::Material;
use crate::answer::Answerer;
use crate::error::Error;
use crate::eval::model::hashes;
use crate::machine::files::{sha256, size_and_sha256};
use crate::show::progress::during;

/// All that decides the answers of a model, opened from `folder`, to so many chains.
///
/// # Errors
/// If a file of the model or the material cannot be read.
pub fn settings(
    answerer: &Answerer,
    folder: &Path,
    material: &Material,
    chains: usize,
) -> Result<String, Error> {
    let weights = during("hashing the weights", || hashes(folder))?;
    let precision = answerer.precision();
    let material = match material {
        Material::Drawn { .. } => format!("{material:?}"),
        Material::Files { chains: file, pictures, haystack } => {
            during("hashing the material", || content(file, chains, pictures, haystack))?
        }
    };
    Ok(format!("{weights}{precision:?} {material} {chains}"))
}

/// One hash over published chains, their pictures and the hay.
fn content(
    file: &Path,
    count: usize,
    pictures: &Path,
    haystack: &[PathBuf],
) -> Result<String, Error> {
    let mut lines = size_and_sha256(file)?.1;
    let shown = read_chains(file)?.into_iter().take(count).flat_map(|chain| chain.images);
    let shown = shown.filter(|name| is_confined(name)).map(|name| pictures.join(name));
    for path in shown.chain(haystack.iter().cloned()) {
        lines.push('\n');
        lines += &if path.is_dir() { hashes(&path)? } else { size_and_sha256(&path)?.1 };
    }
    Ok(sha256(lines.as_bytes()))
}
