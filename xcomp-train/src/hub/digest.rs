//! What the hub knows a file by: SHA-256 of large ones, git's hash of small ones.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use xcomp_data::hash::hex;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Whether a word can be the hash of a file.
pub(super) fn is_digest(word: &str) -> bool {
    [40, 64].contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The hash of a file, of the kind that `like` is.
pub(super) fn digest(path: &Path, like: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    if like.len() == 64 {
        return hashed(&mut file, Sha256::new());
    }
    // A file of git is hashed behind its kind and size.
    let head = format!("blob {}\0", file.metadata()?.len());
    hashed(&mut file, Sha1::new().chain_update(head))
}

fn hashed<D: sha2::Digest>(file: &mut File, mut hasher: D) -> io::Result<String> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `git hash-object` and `sha256sum` of the same bytes.
    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(digest(&path, git).unwrap(), git);
        assert_eq!(digest(&path, sha256).unwrap(), sha256);
        assert!(is_digest(git) && is_digest(sha256) && !is_digest("../a") && !is_digest(""));
    }
}
