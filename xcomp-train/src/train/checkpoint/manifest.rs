//! The list of a checkpoint's files with sizes and hashes: written last, so that a folder without it is not a checkpoint.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::machine::files::{at, entries, read_text, size_and_sha256, write_atomically};

/// Its name.
pub const MANIFEST: &str = "MANIFEST";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name inside the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// Lists every file of `folder` and writes the manifest into it.
///
/// # Errors
/// If a file cannot be read or the manifest cannot be written.
pub fn write(folder: &Path) -> Result<Vec<Listed>, Error> {
    let listed = entries(folder)?
        .iter()
        .map(|path| {
            let (bytes, sha256) = size_and_sha256(path)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            Ok(Listed { name: name.unwrap_or_default(), bytes, sha256 })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let text = serde_json::to_vec_pretty(&listed).expect("names and numbers are JSON");
    write_atomically(&folder.join(MANIFEST), &text)?;
    Ok(listed)
}

/// Why a folder is not a whole checkpoint; `None` if it is one.
pub fn damage(folder: &Path) -> Option<String> {
    let manifest = match read_text(&folder.join(MANIFEST)) {
        Ok(manifest) => manifest,
        Err(error) => return Some(error.to_string()),
    };
    let listed: Vec<Listed> = match serde_json::from_str(&manifest) {
        Ok(listed) => listed,
        Err(error) => return Some(format!("{MANIFEST} is damaged: {error}")),
    };
    listed.iter().find_map(|file| check(folder, file).err())
}

fn check(folder: &Path, file: &Listed) -> Result<(), String> {
    let path = folder.join(&file.name);
    // Sizes first: a truncated file is found without reading it.
    let size = std::fs::metadata(&path)
        .map_err(at("cannot read", &path))
        .map_err(|error| error.to_string())?
        .len();
    if size != file.bytes {
        return Err(format!("{} has {size} bytes, not {}", file.name, file.bytes));
    }
    let (_, sha256) = size_and_sha256(&path).map_err(|error| error.to_string())?;
    if sha256 != file.sha256 {
        return Err(format!("{} has been changed", file.name));
    }
    Ok(())
}
