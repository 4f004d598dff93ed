//! Everything that names of the hub stand for, brought into the cache.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::client::Client;
use super::download::{download, left_over};
use super::listing::{Listing, Remote};
use super::{Hub, HubError, Name};
use crate::error::Error;
use crate::machine::files::{at, create_folder, free_bytes, size_of, write_atomically};
use crate::show::numbers::bytes;
use crate::show::progress::Progress;

/// Bytes of a piece of the progress.
const MIB: u64 = 1 << 20;

/// What a fetch brings, known before the first file.
#[derive(Debug)]
pub struct Order<'a> {
    client: Client<'a>,
    hub: &'a Hub,
    /// Names with their commits, and the names as given.
    names: Vec<(Name, Name)>,
    files: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    /// The file's own name, at its commit.
    pinned: Name,
    remote: Remote,
    blob: PathBuf,
}

/// How much is fetched, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// A name as given.
    pub name: String,
    /// What its revision is now.
    pub commit: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Files that it stands for.
    pub files: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of them that were not in the cache.
    pub new_bytes: u64,
}

impl<'a> Order<'a> {
    /// Asks the hub what the names stand for and what of it is not in the cache.
    ///
    /// # Errors
    /// If the hub does not answer, or has no such repository, revision or file.
    pub fn of(hub: &'a Hub, names: &[Name]) -> Result<Self, Error> {
        let client = Client::new(hub);
        let (mut listings, mut files) = (BTreeMap::<Name, Listing>::new(), vec![]);
        let mut pinned_names = vec![];
        for name in names {
            let whole = Name { path: String::new(), ..name.clone() };
            if !listings.contains_key(&whole) {
                listings.insert(whole.clone(), client.listing(&whole)?);
            }
            let listing = &listings[&whole];
            let pinned = name.at(&listing.commit);
            let wanted = listing.wanted(name);
            if wanted.is_empty() {
                return Err(nothing(name, listing).into());
            }
            let blobs = hub.repository(name).join("blobs");
            files.extend(wanted.into_iter().map(|remote| Item {
                pinned: Name { path: remote.path.clone(), ..pinned.clone() },
                blob: blobs.join(&remote.digest),
                remote: remote.clone(),
            }));
            pinned_names.push((pinned, name.clone()));
        }
        files.sort_by(|a, b| a.pinned.cmp(&b.pinned));
        files.dedup_by(|a, b| a.pinned == b.pinned);
        Ok(Self { client, hub, names: pinned_names, files })
    }

    /// What each name comes to.
    pub fn report(&self) -> Vec<Fetched> {
        let one = |(pinned, given): &(Name, Name)| {
            let inside = |item: &&Item| is_part(&item.pinned, pinned);
            let items: Vec<&Item> = self.files.iter().filter(inside).collect();
            Fetched {
                name: given.to_string(),
                commit: pinned.revision.clone(),
                path: self.hub.place(pinned),
                files: items.len(),
                bytes: items.iter().map(|item| item.remote.bytes).sum(),
                new_bytes: items.iter().map(|item| item.to_come()).sum(),
            }
        };
        self.names.iter().map(one).collect()
    }

    /// Brings what is not there; a name stands for the new files once all of them are.
    ///
    /// # Errors
    /// If the network, the hub or the disk refuses; what is whole by then stays, and what is half is gone on with by the next fetch.
    pub fn fetch(&self) -> Result<(), Error> {
        self.require_room()?;
        let all: u64 = self.files.iter().map(|item| item.remote.bytes).sum();
        let progress = Progress::new("MiB", all.div_ceil(MIB) as usize);
        let done = AtomicU64::new(0);
        let arrived = |bytes: u64| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            progress.at((done / MIB) as usize);
        };
        for item in &self.files {
            progress.note(&item.pinned.path);
            let lock = self.lock(item);
            download(&self.client, (&item.pinned, &item.remote), (&item.blob, &lock), &arrived)?;
            link(&item.blob, &self.hub.place(&item.pinned))?;
        }
        self.names.iter().try_for_each(|(pinned, given)| self.refer(given, pinned))
    }

    fn require_room(&self) -> Result<(), Error> {
        let path = self.hub.cache.clone();
        create_folder(&path)?;
        let needed: u64 = self.files.iter().map(Item::to_come).sum();
        let (free, what) = (free_bytes(&path)?, "the fetch".to_owned());
        if needed <= free {
            return Ok(());
        }
        let advice = "make room, or set HF_HOME to a folder on a larger disk".to_owned();
        Err(Error::DiskFull { path, what, needed, free, advice })
    }

    /// Where Python's `huggingface_hub` has its lock for the same file.
    fn lock(&self, item: &Item) -> PathBuf {
        let repository = item.pinned.hf().folder_name();
        let file = format!("{}.lock", item.remote.digest);
        self.hub.cache.join(".locks").join(repository).join(file)
    }

    /// Notes which commit a revision is.
    fn refer(&self, given: &Name, pinned: &Name) -> Result<(), Error> {
        if given.commit().is_some() {
            return Ok(());
        }
        let path = self.hub.repository(given).join("refs").join(&given.revision);
        create_folder(path.parent().expect("a reference lies in a folder"))?;
        write_atomically(&path, pinned.revision.as_bytes())
    }
}

impl Item {
    /// Bytes that are not in the cache.
    fn to_come(&self) -> u64 {
        let here = if self.blob.is_file() { size_of(&self.blob) } else { left_over(&self.blob) };
        self.remote.bytes.saturating_sub(here)
    }
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, new) = (bytes(self.bytes), bytes(self.new_bytes));
        let (commit, files) = (&self.commit[..12], self.files);
        write!(f, "{} at {commit}: {files} files, {all}, of which {new} to fetch", self.name)
    }
}

/// Whether a file belongs to what a name stands for.
fn is_part(file: &Name, name: &Name) -> bool {
    let same = (file.kind, &file.repo, &file.revision) == (name.kind, &name.repo, &name.revision);
    let inside = file.path.strip_prefix(&name.path);
    same && inside
        .is_some_and(|rest| name.path.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// An error that names the likeliest file.
fn nothing(name: &Name, listing: &Listing) -> HubError {
    let likeness = |path: &&str| (strsim::jaro_winkler(path, &name.path) * 1e6) as u64;
    let near = listing.paths().max_by_key(likeness).filter(|_| !name.path.is_empty());
    let hint = near.map_or(String::new(), |path| format!("; the nearest is {path}"));
    HubError::NoFile { name: name.to_string(), commit: listing.commit.clone(), hint }
}

/// A link from the snapshot to the file, by a relative path as Python writes it.
fn link(blob: &Path, place: &Path) -> Result<(), Error> {
    if place.is_file() {
        return Ok(());
    }
    let folder = place.parent().expect("a file lies in a folder");
    create_folder(folder)?;
    let repository = blob.parent().and_then(Path::parent).expect("blobs lie in a repository");
    let up = folder.strip_prefix(repository).expect("snapshots lie in a repository");
    let up: PathBuf = up.components().map(|_| Component::ParentDir).collect();
    let file = blob.file_name().expect("a blob has a name");
    // What is there and no file is a link to a blob that someone removed.
    fs::remove_file(place).unwrap_or_default();
    symlink(up.join("blobs").join(file), place).map_err(at("cannot link", place))
}
