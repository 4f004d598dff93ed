//! Records by key in append-only files: written by many processes, read by many, whole or absent after any kill.
//!
//! A process appends to a file of its own, which it holds locked. The index is in memory, made from the headers of all
//! records when the store is opened: there is no second file that could disagree with them.
//! Of two records with one key the later counts.

mod check;
mod record;
mod segment;
mod writer;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use super::Key;
use crate::DataError;
pub use check::StoreReport;
use segment::{Place, Scan};
use writer::Writer;

/// Ending of the store's files.
const ENDING: &str = "features";
/// A file that has so many bytes is not written any more.
const SEGMENT_BYTES: u64 = 1 << 30;
/// A limited store consists of at least so many files: what is evicted at once is a small part.
const SEGMENTS: u64 = 8;

/// How a store is kept.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Most bytes of all files; those that were used longest ago go first. 0: no limit.
    pub max_bytes: u64,
    /// Now: when the files that are used were used last.
    pub now: SystemTime,
}

/// A folder of records.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    options: StoreOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Key, (u64, Place)>,
    /// Bytes of each file.
    files: BTreeMap<u64, u64>,
    used: HashSet<u64>,
    writer: Option<Writer>,
    /// Set when writing failed: the rest of the process only reads.
    read_only: bool,
    notes: Vec<String>,
}

/// The file that says by which scheme the keys of a folder are made.
const KEY_SCHEME: &str = "KEYS";

impl Store {
    /// Opens a folder, and makes it where it does not exist; half records left by a kill are cut off and noted.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, options: StoreOptions) -> Result<Self, DataError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| DataError::Write { path: folder.to_owned(), source })?;
        let store =
            Self { folder: folder.to_owned(), options, state: Mutex::new(State::default()) };
        store.reload()?;
        Ok(store)
    }

    /// Says once, in a folder that older code filled, that its records are not found any more, and why.
    pub(super) fn tell_of_older_keys(&self, scheme: &str) {
        let marker = self.folder.join(KEY_SCHEME);
        if std::fs::read_to_string(&marker).is_ok_and(|found| found == scheme) {
            return;
        }
        let mut state = self.lock();
        if !state.places.is_empty() {
            let folder = self.folder.display();
            state.notes.push(format!(
                "{folder}: features that an older xcomp kept are made anew: their keys held the text of its code, now they hold its version"
            ));
        }
        // A folder that cannot be written is read all the same, and told of again.
        let _ = std::fs::write(marker, scheme);
    }

    /// Reads all headers anew.
    fn reload(&self) -> Result<(), DataError> {
        let mut state = self.lock();
        let notes = std::mem::take(&mut state.notes);
        *state = State { notes, ..State::default() };
        for number in self.numbers().map_err(|source| DataError::read(&self.folder, source))? {
            let path = self.path(number);
            let scan = match File::open(&path).and_then(|mut file| segment::scan(&mut file)) {
                Ok(scan) => scan,
                // Another process may have evicted it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(DataError::read(&path, error)),
            };
            state.note_damage(&path, &scan);
            state.files.insert(number, scan.length);
            for place in scan.places {
                state.places.insert(place.header.key, (number, place));
            }
        }
        Ok(())
    }

    /// Keys of all records, ascending.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.lock().places.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Bytes of a record's payload, if there is one.
    pub fn length(&self, key: &Key) -> Option<usize> {
        self.lock().places.get(key).map(|(_, place)| place.header.length as usize)
    }

    /// The payload of a record; one that is damaged is noted and forgotten, so that it is written anew.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let (number, place, first) = {
            let mut state = self.lock();
            let (number, place) = *state.places.get(key)?;
            (number, place, state.used.insert(number))
        };
        let path = self.path(number);
        if first {
            // Only the choice of what is evicted rests on it, so a store that cannot be written is used all the same.
            let _ = File::options()
                .append(true)
                .open(&path)
                .and_then(|f| f.set_modified(self.options.now));
        }
        let read = File::open(&path).and_then(|mut file| segment::payload(&mut file, &place));
        if let Ok(Some(payload)) = read {
            return Some(payload);
        }
        let mut state = self.lock();
        if state.places.get(key) == Some(&(number, place)) {
            state.places.remove(key);
            let gone = read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if !gone {
                let (path, at) = (path.display(), place.offset);
                state
                    .notes
                    .push(format!("{path}, byte {at}: a record is damaged; it is made anew"));
            }
        }
        None
    }

    /// Writes a record; a store that cannot be written notes it once and only reads from then on.
    pub fn put(&self, key: &Key, payload: &[u8]) {
        let mut state = self.lock();
        if state.read_only {
            return;
        }
        if let Err(error) = self.append(&mut state, key, payload) {
            state.read_only = true;
            state.writer = None;
            let folder = self.folder.display();
            state.notes.push(format!("{folder} cannot be written, features are not kept: {error}"));
        }
    }

    fn append(&self, state: &mut State, key: &Key, payload: &[u8]) -> io::Result<()> {
        let record = record::record(key, payload);
        let length = record.len() as u64;
        if self.options.max_bytes > 0 && length > self.options.max_bytes {
            return Err(io::Error::other(format!(
                "one record has {length} bytes, the limit is below"
            )));
        }
        let full = |writer: &Writer| writer.end() + length > self.segment_bytes();
        if state.writer.as_ref().is_some_and(full) {
            state.writer = None;
        }
        let writer = match state.writer.take() {
            Some(writer) => writer,
            None => self.new_writer(state, length)?,
        };
        let writer = state.writer.insert(writer);
        let place = writer.append(&record)?;
        let (number, end) = (writer.number(), writer.end());
        state.files.insert(number, end);
        state.places.insert(*key, (number, place));
        self.evict(state);
        Ok(())
    }

    /// A file that nobody writes and that has room, else a new one.
    fn new_writer(&self, state: &State, length: u64) -> io::Result<Writer> {
        let has_room = |bytes: u64| bytes + length <= self.segment_bytes();
        for number in state.files.iter().filter(|(_, bytes)| has_room(**bytes)).map(|(n, _)| *n) {
            let adopted = Writer::adopt(&self.path(number), number)?;
            if let Some(writer) = adopted.filter(|writer| has_room(writer.end())) {
                return Ok(writer);
            }
        }
        let mut number = self.numbers()?.last().map_or(0, |last| last + 1);
        loop {
            match Writer::create(&self.path(number), number) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => return made,
            }
        }
    }

    /// Removes the files that were used longest ago until the rest is small enough; files that are written stay.
    fn evict(&self, state: &mut State) {
        let own = state.writer.as_ref().map(Writer::number);
        while self.options.max_bytes > 0 && state.bytes() > self.options.max_bytes {
            let used = |number: &u64| std::fs::metadata(self.path(*number))?.modified();
            let others = state.files.keys().copied().filter(|number| Some(*number) != own);
            let mut oldest: Vec<_> =
                others.filter_map(|number| Some((used(&number).ok()?, number))).collect();
            oldest.sort_unstable();
            let removed = oldest.into_iter().find(|(_, number)| {
                let path = self.path(*number);
                matches!(segment::lock(&path), Ok(Some(_))) && std::fs::remove_file(path).is_ok()
            });
            let Some((_, number)) = removed else { return };
            state.files.remove(&number);
            state.places.retain(|_, (of, _)| *of != number);
        }
    }

    /// Messages about damage since the last call.
    pub fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().notes)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    fn segment_bytes(&self) -> u64 {
        match self.options.max_bytes {
            0 => SEGMENT_BYTES,
            limit => SEGMENT_BYTES.min(limit / SEGMENTS),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.{ENDING}"))
    }

    /// Numbers of all files, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let mut numbers = vec![];
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let number = name.strip_suffix(ENDING).and_then(|name| name.strip_suffix('.'));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the store")
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.files.values().sum()
    }

    /// Notes what a scan could not read; a tail that another process is writing is none of our business.
    fn note_damage(&mut self, path: &Path, scan: &Scan) {
        for (from, to) in &scan.gaps {
            let path = path.display();
            self.notes.push(format!("{path}: bytes {from} to {to} hold no record"));
        }
        let torn = scan.length - scan.end;
        if torn > 0 && matches!(writer::cut(path), Ok(true)) {
            let path = path.display();
            self.notes
                .push(format!("{path}: cut off {torn} bytes of a record that was not finished"));
        }
    }
}

#[cfg(test)]
mod tests;
