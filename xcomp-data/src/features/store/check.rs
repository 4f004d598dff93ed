//! Every byte of a store read and compared with its checksums; what is damaged is dropped.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::record;
use super::segment::{lock, payload, scan};
use super::{ENDING, Store};
use crate::DataError;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StoreReport {
    /// Files.
    pub files: usize,
    /// Records that are as they were written.
    pub records: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What was damaged and has been dropped, a line each.
    pub dropped: Vec<String>,
    /// Files that another process is writing, which were left alone.
    pub in_use: Vec<PathBuf>,
}

impl Store {
    /// Reads everything; files with damage are written anew without it.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn check(&self) -> Result<StoreReport, DataError> {
        self.lock().writer = None;
        let mut report = StoreReport { dropped: self.take_notes(), ..StoreReport::default() };
        for number in self.numbers().map_err(|source| DataError::read(&self.folder, source))? {
            let path = self.path(number);
            check_file(&path, &mut report)
                .map_err(|source| DataError::Write { path: path.clone(), source })?;
        }
        self.reload()?;
        Ok(report)
    }
}

fn check_file(path: &Path, report: &mut StoreReport) -> io::Result<()> {
    report.files += 1;
    let Some(mut file) = lock(path)? else {
        report.in_use.push(path.to_owned());
        return Ok(());
    };
    let found = scan(&mut file)?;
    let (name, before) = (path.display(), report.dropped.len());
    let torn = (found.length > found.end).then_some((found.end, found.length));
    for (from, to) in found.gaps.iter().copied().chain(torn) {
        report.dropped.push(format!("{name}: bytes {from} to {to} hold no record"));
    }
    let mut good = vec![];
    for place in found.places {
        match payload(&mut file, &place)? {
            Some(payload) => {
                report.records += 1;
                report.bytes += payload.len() as u64;
                good.push(place);
            }
            None => {
                report.dropped.push(format!("{name}, byte {}: a record is damaged", place.offset));
            }
        }
    }
    if report.dropped.len() == before {
        return Ok(());
    }
    // Written aside and moved into place: a kill leaves the old file or the new one.
    let aside = path.with_extension(format!("{ENDING}.part"));
    let mut whole = File::create(&aside)?;
    for place in good {
        if let Some(payload) = payload(&mut file, &place)? {
            whole.write_all(&record(&place.header.key, &payload))?;
        }
    }
    whole.sync_all()?;
    std::fs::rename(&aside, path)
}
