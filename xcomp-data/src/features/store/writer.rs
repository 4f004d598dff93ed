//! The end of a file that this process alone appends to.

use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::record::{HEADER, Header};
use super::segment::{Place, lock, scan};
use crate::lock::LockedFile;

/// A locked file and where its next record goes.
#[derive(Debug)]
pub(super) struct Writer {
    number: u64,
    file: LockedFile,
    end: u64,
}

impl Writer {
    /// A new file; an error of the kind `AlreadyExists` if somebody else has it.
    pub(super) fn create(path: &Path, number: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
        let file = LockedFile::take(file)?.ok_or_else(taken)?;
        Ok(Self { number, file, end: 0 })
    }

    /// A file that is there, cut behind its last whole record; `None` while another process has it, or if it is gone.
    pub(super) fn adopt(path: &Path, number: u64) -> io::Result<Option<Self>> {
        let locked = match lock(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            locked => locked?,
        };
        let Some(mut file) = locked else { return Ok(None) };
        let end = scan(&mut file)?.end;
        file.set_len(end)?;
        Ok(Some(Self { number, file, end }))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the file.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Writes a whole record, or leaves the file as it was.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<Place> {
        let written =
            self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(record));
        if let Err(error) = written {
            // What cannot be cut now is cut when the store is opened next.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        let header = Header::read(record).expect("a record starts with its header");
        let place = Place { header, offset: self.end + HEADER as u64 };
        self.end += record.len() as u64;
        Ok(place)
    }
}

/// Cuts a file behind its last whole record; `false` while another process writes it.
pub(super) fn cut(path: &Path) -> io::Result<bool> {
    let Some(mut file) = lock(path)? else { return Ok(false) };
    // Scanned again: it may have grown before it was locked.
    let end = scan(&mut file)?.end;
    let torn = file.metadata()?.len() > end;
    file.set_len(end)?;
    Ok(torn)
}
