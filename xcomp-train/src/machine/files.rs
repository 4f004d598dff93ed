//! Files that are whole or absent: written aside, synced, renamed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use xcomp_data::hash::hex;

use crate::error::Error;

/// Begins the extension of a file that is being written; the process follows.
const PARTIAL: &str = "partial-";

/// Turns an I/O error into one that names what was tried and where.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

/// Replaces a file in one step: readers see the old text or the new.
///
/// # Errors
/// If the disk refuses.
pub fn write_atomically(path: &Path, text: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    remove_leftovers(folder);
    let aside = path.with_extension(format!("{PARTIAL}{}", std::process::id()));
    let written = (|| {
        let mut file = File::create(&aside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        sync_folder(folder)
    })();
    // A full disk needs its space back.
    written
        .inspect_err(|_| fs::remove_file(&aside).unwrap_or_default())
        .map_err(at("cannot write", path))
}

/// Removes what [`write_atomically`] left in a folder when its process was killed.
fn remove_leftovers(folder: &Path) {
    let dead = |path: &PathBuf| {
        let process = path.extension()?.to_str()?.strip_prefix(PARTIAL)?.parse::<u32>().ok()?;
        let processes = Path::new("/proc");
        let known = processes.join("self").exists();
        (known && !processes.join(process.to_string()).exists()).then_some(())
    };
    // A folder that cannot be read is told of by who writes into it.
    for path in entries(folder).unwrap_or_default().iter().filter(|path| dead(path).is_some()) {
        fs::remove_file(path).unwrap_or_default();
    }
}

/// Writes plain data as JSON.
///
/// # Errors
/// If the disk refuses.
///
/// # Panics
/// Never on plain data.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value).expect("plain data is JSON");
    write_atomically(path, &text)
}

/// Makes renames inside a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// Creates a folder and those above it.
///
/// # Errors
/// If the disk refuses.
pub fn create_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(at("cannot create folder", folder))
}

/// Reads a text file.
///
/// # Errors
/// If it cannot be read.
pub fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(at("cannot read", path))
}

/// Size and SHA-256 of a file.
///
/// # Errors
/// If it cannot be read.
pub fn size_and_sha256(path: &Path) -> Result<(u64, String), Error> {
    const CHUNK: usize = 1 << 20;
    let hash = || {
        let mut file = File::open(path)?;
        let (mut hasher, mut buffer, mut size) = (Sha256::new(), vec![0; CHUNK], 0);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((size, hex(&hasher.finalize()))),
                read => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                }
            }
        }
    };
    hash().map_err(at("cannot read", path))
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Size of a file; 0 where there is none.
pub fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Bytes that this process may still write where `folder` lies; no end of them where the file system states no size.
///
/// # Errors
/// If the file system does not say.
pub fn free_bytes(folder: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|errno| at("cannot ask for free space of", folder)(errno.into()))?;
    // Some network file systems say 0 of everything.
    Ok(if stat.f_blocks == 0 { u64::MAX } else { stat.f_bavail.saturating_mul(stat.f_frsize) })
}

/// Bytes of the largest file that this process may write (`ulimit -f`); `None` if any, or if the system does not say.
pub fn file_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Entries of a folder, by name; nothing if the folder is not there.
///
/// # Errors
/// If it cannot be read.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        read => read.map_err(at("cannot read folder", folder))?,
    };
    let mut paths = read
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(at("cannot read folder", folder))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, b"text").is_err(), "a folder is in the way");
        assert_eq!(entries(folder.path()).unwrap(), [path]);
    }
}
