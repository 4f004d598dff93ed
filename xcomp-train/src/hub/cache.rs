//! Where the hub's files lie: the cache that Python's `huggingface_hub` shares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo};
use xcomp_model::weights::{INDEX_FILE, SINGLE_FILE};

use super::name::{Kind, is_commit};
use super::{HubError, Name, is_name};
use crate::machine::files::read_text;

/// Where files come from without `HF_ENDPOINT`.
const ENDPOINT: &str = "https://huggingface.co";

/// A hub and its cache on this machine.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(super) cache: PathBuf,
    pub(super) endpoint: String,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
}

impl Hub {
    /// As the environment says, by the rules of Python's `huggingface_hub`.
    pub fn of_environment() -> Self {
        let home = folder("HF_HOME", "").or_else(|| folder("XDG_CACHE_HOME", "huggingface"));
        let home = home.or_else(|| folder("HOME", ".cache/huggingface"));
        let home = home.unwrap_or_else(|| ".cache/huggingface".into());
        let login = read_text(&home.join("token")).ok().map(|text| text.trim().to_owned());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        let offline = variable("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
        Self {
            cache: folder("HF_HUB_CACHE", "").unwrap_or_else(|| home.join("hub")),
            endpoint: endpoint.trim_end_matches('/').into(),
            token: variable("HF_TOKEN").or(login.filter(|token| !token.is_empty())),
            offline: ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()),
        }
    }

    /// Whether the network may not be asked.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// The folder of all repositories.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// A name with the commit that its revision was when it was fetched; `None` if it never was.
    pub fn pinned(&self, name: &Name) -> Option<Name> {
        let stated = || {
            let refs = self.repository(name).join("refs").join(&name.revision);
            read_text(&refs).ok().map(|text| text.trim().to_owned())
        };
        let commit = name.commit().map(str::to_owned).or_else(stated);
        let pinned = name.at(&commit.filter(|commit| is_commit(commit))?);
        self.snapshot(&pinned).is_dir().then_some(pinned)
    }

    /// Where a pinned name lies, or would.
    pub fn place(&self, pinned: &Name) -> PathBuf {
        self.snapshot(pinned).join(&pinned.path)
    }

    /// Where all of a name lies.
    ///
    /// # Errors
    /// If it, or some of it, is not in the cache; `fetch` is what the command in the message is to fetch.
    pub fn at_hand(&self, name: &Name, fetch: &str) -> Result<PathBuf, HubError> {
        let absent = |missing| HubError::NotFetched {
            name: name.to_string(),
            missing,
            cache: self.cache.clone(),
            fetch: fetch.into(),
        };
        let place = self.place(&self.pinned(name).ok_or_else(|| absent(None))?);
        let missing = match (place.exists(), name.kind) {
            (false, _) => return Err(absent(None)),
            (true, Kind::Model) if place.is_dir() => missing(&place),
            (true, _) => None,
        };
        missing.map_or(Ok(place), |file| Err(absent(Some(file))))
    }

    /// The path itself, or where it lies if it is a name of the hub.
    ///
    /// # Errors
    /// If it is a name, and cannot be one or is not in the cache.
    pub fn local(&self, path: &Path) -> Result<PathBuf, HubError> {
        match path.to_str().filter(|text| is_name(text)) {
            Some(text) => self.at_hand(&text.parse()?, text),
            None => Ok(path.to_owned()),
        }
    }

    /// The folder of a repository.
    pub(super) fn repository(&self, name: &Name) -> PathBuf {
        self.cache.join(name.hf().folder_name())
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, pinned: &Name) -> PathBuf {
        self.layout(pinned).pointer_path(&pinned.revision)
    }

    pub(super) fn layout(&self, name: &Name) -> CacheRepo {
        Cache::new(self.cache.clone()).repo(name.hf())
    }
}

/// The first file that a checkpoint needs and the folder has not.
fn missing(folder: &Path) -> Option<String> {
    let mut needed = BTreeSet::from(["config.json".to_owned(), "tokenizer.json".to_owned()]);
    match read_text(&folder.join(INDEX_FILE)) {
        Ok(text) => needed.extend(shards(&text)),
        Err(_) => _ = needed.insert(SINGLE_FILE.into()),
    }
    needed.into_iter().find(|file| !folder.join(file).is_file())
}

/// The files that an index of weights names; who reads the weights tells what is wrong with it.
fn shards(index: &str) -> Vec<String> {
    let index: serde_json::Value = serde_json::from_str(index).unwrap_or_default();
    let files = index["weight_map"].as_object().into_iter().flatten();
    files.filter_map(|(_, file)| Some(file.as_str()?.to_owned())).collect()
}

fn folder(variable_name: &str, inside: &str) -> Option<PathBuf> {
    variable(variable_name).map(|folder| Path::new(&folder).join(inside))
}

#[expect(clippy::disallowed_methods, reason = "where files lie, not what is in them")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
