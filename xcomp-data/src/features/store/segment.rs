//! One file of the store: records one after the other, found again by their headers.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::record::{HEADER, Header, MAGIC};
use crate::lock::LockedFile;

/// Bytes that are searched at a time for the next record behind damage.
const CHUNK: usize = 1 << 20;

/// A record by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) header: Header,
    /// Of the payload in the file.
    pub(super) offset: u64,
}

impl Place {
    fn end(&self) -> u64 {
        self.offset + self.header.length
    }
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whole records, as far as headers tell.
    pub(super) places: Vec<Place>,
    /// Where bytes between records make no header: from, to.
    pub(super) gaps: Vec<(u64, u64)>,
    /// Behind the last whole record.
    pub(super) end: u64,
    /// Length of the file; more than `end` if a record was cut off.
    pub(super) length: u64,
}

/// Reads all headers of a file.
pub(super) fn scan(file: &mut File) -> io::Result<Scan> {
    let mut scan = Scan { length: file.metadata()?.len(), ..Scan::default() };
    let mut at = 0;
    while at < scan.length {
        if let Some(place) = place_at(file, at, scan.length)? {
            at = place.end();
            scan.places.push(place);
            scan.end = at;
            continue;
        }
        let Some(next) = next_record(file, at + 1, scan.length)? else { break };
        scan.gaps.push((at, next));
        at = next;
    }
    Ok(scan)
}

/// The record that starts there, if it is whole.
fn place_at(file: &mut File, at: u64, length: u64) -> io::Result<Option<Place>> {
    if at + HEADER as u64 > length {
        return Ok(None);
    }
    let mut bytes = [0; HEADER];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    let place = Header::read(&bytes).map(|header| Place { header, offset: at + HEADER as u64 });
    // A length is checked against the file before it is believed.
    Ok(place.filter(|place| place.header.length <= length - place.offset))
}

/// Where the next whole record starts, from `at` on.
fn next_record(file: &mut File, mut at: u64, length: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![];
    while at + HEADER as u64 <= length {
        chunk.clear();
        file.seek(SeekFrom::Start(at))?;
        file.take(CHUNK as u64).read_to_end(&mut chunk)?;
        for start in (0..chunk.len()).filter(|start| chunk[*start..].starts_with(&MAGIC)) {
            if place_at(file, at + start as u64, length)?.is_some() {
                return Ok(Some(at + start as u64));
            }
        }
        // A magic may lie across two chunks.
        at += (chunk.len().max(MAGIC.len()) - (MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}

/// The payload of a record; `None` if it is not what was written.
pub(super) fn payload(file: &mut File, place: &Place) -> io::Result<Option<Vec<u8>>> {
    // The header is read again: the file may have been rewritten since it was scanned.
    file.seek(SeekFrom::Start(place.offset - HEADER as u64))?;
    let mut header = [0; HEADER];
    if let Err(error) = file.read_exact(&mut header) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    if Header::read(&header) != Some(place.header) {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(place.header.length as usize);
    file.take(place.header.length).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| place.header.fits(bytes)))
}

/// Opens a file for writing unless another process or thread has it.
pub(super) fn lock(path: &Path) -> io::Result<Option<LockedFile>> {
    LockedFile::take(OpenOptions::new().read(true).write(true).open(path)?)
}
