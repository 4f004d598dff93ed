//! The files of a repository at a commit, as the hub lists them.

use serde::Deserialize;

use super::digest::is_digest;
use super::name::{Kind, Name, is_commit, is_inside};

/// Endings of the files that a checkpoint is made of: configuration, tokenizer, weights.
const OF_CHECKPOINTS: [&str; 5] = [".json", ".txt", ".jinja", ".model", ".safetensors"];

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Where it lies in the repository.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Its hash, which is its name in the cache too.
    pub(super) digest: String,
}

/// A repository at a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) commit: String,
    files: Vec<Remote>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the hub's answer; gives what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let answer: Answer = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !is_commit(&answer.sha) {
            return Err(format!("`{}` is no commit", answer.sha));
        }
        let files = answer.siblings.into_iter().map(Sibling::check).collect::<Result<_, _>>()?;
        Ok(Self { commit: answer.sha, files })
    }

    /// The files that a name stands for; none if the repository has no such file or folder.
    ///
    /// All of a model is what a checkpoint is made of, all of a data set is everything.
    pub(super) fn wanted(&self, name: &Name) -> Vec<&Remote> {
        let exact: Vec<_> = self.files.iter().filter(|file| file.path == name.path).collect();
        if !exact.is_empty() {
            return exact;
        }
        let folder = if name.path.is_empty() { String::new() } else { format!("{}/", name.path) };
        let wanted = |file: &&Remote| {
            let Some(inside) = file.path.strip_prefix(&folder) else { return false };
            let of_checkpoint = OF_CHECKPOINTS.iter().any(|end| inside.ends_with(end));
            name.kind == Kind::Dataset || of_checkpoint && !inside.contains('/')
        };
        self.files.iter().filter(wanted).collect()
    }

    /// The paths of all files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.path.as_str())
    }
}

impl Sibling {
    fn check(self) -> Result<Remote, String> {
        let path = self.rfilename;
        let (bytes, digest) = match self.lfs {
            Some(lfs) => (Some(lfs.size), Some(lfs.sha256)),
            None => (self.size, self.blob_id),
        };
        let digest = digest.filter(|word| is_digest(word));
        let (Some(bytes), Some(digest)) = (bytes, digest) else {
            return Err(format!("`{path}` has no size or no hash"));
        };
        if path.is_empty() || !is_inside(&path) {
            return Err(format!("`{path}` would lie outside of its folder"));
        }
        Ok(Remote { path, bytes, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    fn listing(files: &[&str]) -> Result<Listing, String> {
        let file = |path: &&str| serde_json::json!({"rfilename": path, "size": 3, "blobId": GIT});
        let siblings: Vec<_> = files.iter().map(file).collect();
        Listing::read(&serde_json::json!({"sha": GIT, "siblings": siblings}).to_string())
    }

    fn check(name: &str, want: &[&str]) {
        let files = ["config.json", "a.safetensors", "a.bin", "sub/config.json", "README.md"];
        let listing = listing(&files).unwrap();
        let found = listing.wanted(&name.parse().unwrap());
        assert_eq!(found.iter().map(|file| &*file.path).collect::<Vec<_>>(), want, "{name}");
    }

    #[test]
    fn a_name_stands_for_a_file_a_folder_or_what_a_checkpoint_is_made_of() {
        check("hf:a/b", &["config.json", "a.safetensors"]);
        check("hf:a/b/a.bin", &["a.bin"]);
        check("hf:a/b/sub", &["sub/config.json"]);
        check("hf-dataset:a/b/sub", &["sub/config.json"]);
        check("hf-dataset:a/b/su", &[]);
    }

    #[test]
    fn a_list_that_could_write_elsewhere_is_refused() {
        for path in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(listing(&[path]).is_err(), "{path}");
        }
        let bare = serde_json::json!({"sha": GIT, "siblings": [{"rfilename": "a"}]});
        assert!(Listing::read(&bare.to_string()).unwrap_err().contains("no hash"));
        assert!(Listing::read(r#"{"sha": "main"}"#).unwrap_err().contains("no commit"));
        assert!(Listing::read("<html>").is_err());
    }
}
