//! What the bytes of media files are, without reading them again while they are as they were.

use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::key::{Key, add};
use super::store::Store;
use crate::media::read::Source;
use crate::open::open_regular;

/// Bytes that are hashed at a time.
const CHUNK: usize = 1 << 20;

/// A hash over the bytes of a source: of a file, or of all files of a folder.
///
/// Files whose names, sizes, times and inodes are as the store remembers them are not read; nor are files that are gone,
/// which are taken to be what they last were. `None` where a file cannot be read, or is gone and was never seen.
pub(super) fn content_of(store: &Store, source: &Source) -> Option<Key> {
    let name = name_of(source);
    let known = store.get(&name).filter(|entry| entry.len() == 2 * size_of::<Key>());
    let known = known.map(|entry| {
        let (stamp, content) = entry.split_at(size_of::<Key>());
        (stamp.to_vec(), Key::try_from(content).expect("half of the entry is a key"))
    });
    let Some(files) = files(source) else { return known.map(|(_, content)| content) };
    let stamp = stamp(&files)?;
    if let Some((_, content)) = known.filter(|(old, _)| *old == stamp) {
        return Some(content);
    }
    let content = hash(source, &files)?;
    store.put(&name, &[stamp, content].concat());
    Some(content)
}

/// Under which the store remembers the files of a source.
fn name_of(source: &Source) -> Key {
    let mut hasher = Sha256::new();
    add(&mut hasher, b"media");
    let path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
    add(&mut hasher, path.as_os_str().as_encoded_bytes());
    hasher.finalize().into()
}

/// All files of a source in a fixed order, the note beside a folder included; `None` where there is nothing any more.
fn files(source: &Source) -> Option<Vec<PathBuf>> {
    let path = &source.path;
    if !path.is_dir() {
        return path.exists().then(|| vec![path.clone()]);
    }
    let entries = std::fs::read_dir(path).ok()?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let mut note = path.components().as_path().as_os_str().to_owned();
    note.push(".json");
    files.extend(Some(PathBuf::from(note)).filter(|note| note.exists()));
    files.sort_unstable();
    (!files.is_empty()).then_some(files)
}

fn stamp(files: &[PathBuf]) -> Option<Key> {
    let mut hasher = Sha256::new();
    for file in files {
        let metadata = std::fs::metadata(file).ok()?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        add(&mut hasher, file.as_os_str().as_encoded_bytes());
        add(&mut hasher, &metadata.len().to_le_bytes());
        add(&mut hasher, &changed.to_le_bytes());
        add(&mut hasher, &inode(&metadata).to_le_bytes());
    }
    Some(hasher.finalize().into())
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// Names count as well: endings choose readers, and numbers in names order the frames of a folder.
fn hash(source: &Source, files: &[PathBuf]) -> Option<Key> {
    let mut hasher = Sha256::new();
    // The reader of folders looks for this word in their path.
    let is_tvqa = source.path.to_string_lossy().to_lowercase().contains("tvqa");
    add(&mut hasher, &[u8::from(is_tvqa)]);
    for file in files {
        let name = if source.path.is_dir() { file.file_name() } else { file.extension() };
        add(&mut hasher, name.unwrap_or_default().as_encoded_bytes());
        add(&mut hasher, &hash_file(file)?);
    }
    Some(hasher.finalize().into())
}

fn hash_file(path: &Path) -> Option<Key> {
    let mut file = open_regular(path).ok()?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
