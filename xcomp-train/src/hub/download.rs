//! One file of a repository onto the disk: resumed, checked, whole or absent.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use ureq::http::header;

use super::client::Client;
use super::digest::digest;
use super::listing::Remote;
use super::{HubError, Name};
use crate::error::Error;
use crate::machine::files::{at, create_folder, size_of, sync_folder};

/// Ends the name of a file that is not whole yet, as in Python's `huggingface_hub`.
const INCOMPLETE: &str = "incomplete";
/// Bytes that are written at a time.
const CHUNK: usize = 1 << 18;

/// Gets a file to `blob`, from where an earlier fetch was cut off; `arrived` is told of every piece.
///
/// The file has its name only once its bytes are on the disk and have the checksum that the hub states.
pub(super) fn download(
    client: &Client,
    (pinned, remote): (&Name, &Remote),
    (blob, lock): (&Path, &Path),
    arrived: &dyn Fn(u64),
) -> Result<(), Error> {
    let folder = blob.parent().expect("a blob lies in a folder");
    [folder, lock.parent().expect("a lock lies in a folder")]
        .into_iter()
        .try_for_each(create_folder)?;
    // Another process that fetches the same file is waited for; Python's takes the same lock.
    let held = File::create(lock).map_err(at("cannot create", lock))?;
    held.lock().map_err(at("cannot lock", lock))?;
    if blob.is_file() {
        arrived(remote.bytes);
        return Ok(());
    }
    let part = blob.with_extension(INCOMPLETE);
    receive_all(client, (pinned, remote), &part, arrived)?;
    let got = digest(&part, &remote.digest).map_err(at("cannot read", &part))?;
    if got != remote.digest {
        fs::remove_file(&part).map_err(at("cannot remove", &part))?;
        let (file, want) = (pinned.to_string(), remote.digest.clone());
        return Err(HubError::Checksum { file, want, got }.into());
    }
    fs::rename(&part, blob).map_err(at("cannot rename", &part))?;
    sync_folder(folder).map_err(at("cannot write", folder))
}

/// Bytes of a file that an earlier fetch left.
pub(super) fn left_over(blob: &Path) -> u64 {
    size_of(&blob.with_extension(INCOMPLETE))
}

/// Asks again for as long as every answer brings something new.
fn receive_all(
    client: &Client,
    (pinned, remote): (&Name, &Remote),
    part: &Path,
    arrived: &dyn Fn(u64),
) -> Result<(), Error> {
    let open = OpenOptions::new().create(true).append(true).open(part);
    let mut file = open.map_err(at("cannot write", part))?;
    if size_of(part) > remote.bytes {
        file.set_len(0).map_err(at("cannot write", part))?;
    }
    let mut got = size_of(part);
    arrived(got);
    while got < remote.bytes {
        let answer = client.file(pinned, got)?;
        let begins_there = answer
            .headers()
            .get(header::CONTENT_RANGE)
            .is_some_and(|range| range.as_bytes().starts_with(format!("bytes {got}-").as_bytes()));
        let before = got;
        if !begins_there {
            file.set_len(0).map_err(at("cannot write", part))?;
            got = 0;
        }
        let body = answer.into_body().into_reader().take(remote.bytes - got);
        let (more, reason) = copied(body, &mut file, arrived).map_err(at("cannot write", part))?;
        got += more;
        if got <= before && got < remote.bytes {
            let reason = reason.unwrap_or_else(|| "the connection was closed".into());
            let (file, size) = (pinned.to_string(), remote.bytes);
            return Err(HubError::Cut { file, got, size, reason }.into());
        }
    }
    file.sync_all().map_err(at("cannot write", part))
}

/// Bytes that came, and why no more did; an error only if the disk refuses.
fn copied(
    mut body: impl Read,
    file: &mut File,
    arrived: &dyn Fn(u64),
) -> std::io::Result<(u64, Option<String>)> {
    let (mut buffer, mut got) = (vec![0; CHUNK], 0);
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return Ok((got, None)),
            Ok(read) => {
                file.write_all(&buffer[..read])?;
                got += read as u64;
                arrived(read as u64);
            }
            Err(error) => return Ok((got, Some(error.to_string()))),
        }
    }
}
