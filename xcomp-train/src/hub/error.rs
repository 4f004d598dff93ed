//! What can be wrong with a name of the hub, or on the way to it.

use std::path::PathBuf;

use crate::error::Error;

/// Why something of the hub cannot be had.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "a variant's line and its message say what the fields hold")]
pub enum HubError {
    /// A text that begins like a name and is none.
    #[error(
        "`{given}` is no name of the hub: write hf:OWNER/NAME, hf:OWNER/NAME@REVISION or hf-dataset:OWNER/NAME/path"
    )]
    Name { given: String },
    /// Not in the cache, or not all of it.
    #[error("{name} is not {}in {}; get it first: xcomp fetch {fetch}", whole(missing.as_deref()), cache.display())]
    NotFetched { name: String, missing: Option<String>, cache: PathBuf, fetch: String },
    /// The network is needed and may not be asked.
    #[error("HF_HUB_OFFLINE is set and {name} is not whole in {}; unset it to fetch", cache.display())]
    Offline { name: String, cache: PathBuf },
    /// There is no such repository or revision.
    #[error("{endpoint} has no {name} (404): check owner, name and revision")]
    NoRepository { name: String, endpoint: String },
    /// The repository has no such file.
    #[error("{name}: the repository has no such file or folder at commit {commit}{hint}")]
    NoFile { name: String, commit: String, hint: String },
    /// The hub wants to know who asks, or does not let them.
    #[error("{endpoint} does not show {name} ({status}): {advice}")]
    Denied { name: String, endpoint: String, status: u16, advice: &'static str },
    /// Another answer than a hub gives.
    #[error("{url} answers {status}; try again later, the files so far are kept")]
    Status { url: String, status: u16 },
    /// A list of files that cannot be used.
    #[error("{url} is not the list of a repository's files: {reason}")]
    Listing { url: String, reason: String },
    /// No answer.
    #[error("cannot reach {url}: {source}; check the network and HF_ENDPOINT")]
    Unreachable { url: String, source: Box<ureq::Error> },
    /// The connection ended too early, and again without one byte more.
    #[error(
        "{file} ends after {got} of {size} bytes: {reason}; the same command goes on from there"
    )]
    Cut { file: String, got: u64, size: u64, reason: String },
    /// The bytes are not those of the hub.
    #[error("{file} has the checksum {got}, the hub states {want}; it was removed, fetch it again")]
    Checksum { file: String, want: String, got: String },
}

fn whole(missing: Option<&str>) -> String {
    missing.map_or(String::new(), |file| format!("whole (no {file}) "))
}

impl From<HubError> for Error {
    fn from(error: HubError) -> Self {
        use HubError::{Checksum, Cut, Listing, Status, Unreachable};
        match error {
            Status { .. } | Listing { .. } | Unreachable { .. } | Cut { .. } | Checksum { .. } => {
                Self::Network(error.into())
            }
            _ => Self::Hub(error.into()),
        }
    }
}
