//! `hf:OWNER/NAME[@REVISION][/path]` and `hf-dataset:OWNER/NAME[@REVISION][/path]`.

use std::fmt;
use std::str::FromStr;

use hf_hub::{Repo, RepoType};

use super::HubError;

/// The revision of a name that states none.
const MAIN: &str = "main";
/// What names of models and of data sets begin with.
const PREFIXES: [(&str, Kind); 2] = [("hf:", Kind::Model), ("hf-dataset:", Kind::Dataset)];

/// The kind of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A repository of the hub, or a file or folder in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// What it is a repository of.
    pub kind: Kind,
    /// `OWNER/NAME`.
    pub repo: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// The file or folder in it; empty for all of it.
    pub path: String,
}

/// Whether a text of a recipe or an argument is meant as a name of the hub.
pub fn is_name(text: &str) -> bool {
    PREFIXES.iter().any(|(prefix, _)| text.starts_with(prefix))
}

impl FromStr for Name {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let wrong = || HubError::Name { given: text.into() };
        let given =
            PREFIXES.iter().find_map(|(prefix, kind)| Some((text.strip_prefix(prefix)?, *kind)));
        let (rest, kind) = given.ok_or_else(wrong)?;
        let mut parts = rest.splitn(3, '/');
        let (owner, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let (name, revision) = name.split_once('@').unwrap_or((name, MAIN));
        let path = parts.next().unwrap_or("").trim_end_matches('/');
        let sound = [owner, name, revision].into_iter().all(is_word) && is_inside(path);
        let (repo, revision) = (format!("{owner}/{name}"), revision.to_owned());
        if sound { Ok(Self { kind, repo, revision, path: path.into() }) } else { Err(wrong()) }
    }
}

/// Whether it can be an owner, a name or a revision: it becomes a part of paths and addresses.
fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !word.is_empty() && !word.starts_with(['-', '.']) && word.chars().all(plain)
}

/// Whether a path of a repository stays in the folder that it is put into; the empty one does.
pub(super) fn is_inside(path: &str) -> bool {
    let sound = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.contains(|c: char| c.is_control() || "\\:".contains(c))
    };
    path.is_empty() || path.split('/').all(sound)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, _) = PREFIXES.iter().find(|(_, kind)| *kind == self.kind).expect("both kinds");
        write!(f, "{prefix}{}", self.repo)?;
        if self.revision != MAIN {
            write!(f, "@{}", self.revision)?;
        }
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

impl Name {
    /// The same at another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: revision.into(), ..self.clone() }
    }

    /// A file or folder in what it names.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        let parts = [self.path.as_str(), path];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { path: parts.join("/"), ..self.clone() }
    }

    /// Whether it is a file at the top of the folder that another name stands for.
    pub fn is_directly_in(&self, folder: &Self) -> bool {
        let (parent, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        !file.is_empty() && Self { path: parent.into(), ..self.clone() } == *folder
    }

    /// Its repository, for the layout of the cache.
    pub(super) fn hf(&self) -> Repo {
        let kind = match self.kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.repo.clone(), kind, self.revision.clone())
    }

    /// The commit that its revision is, if it is one.
    pub(super) fn commit(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(&self.revision)
    }
}

/// Whether a word is a whole hash of git.
pub(super) fn is_commit(word: &str) -> bool {
    word.len() == 40 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: Kind, repo: &str, revision: &str, path: &str) {
        let name: Name = text.parse().unwrap();
        let parts = (name.kind, &*name.repo, &*name.revision, &*name.path);
        assert_eq!(parts, (kind, repo, revision, path));
        assert_eq!(name.to_string().parse::<Name>().unwrap(), name, "{name}");
    }

    #[test]
    fn names_have_a_kind_a_repository_a_revision_and_a_path() {
        check("hf:a/b", Kind::Model, "a/b", "main", "");
        check("hf:a/b-2.5_x@v1.0", Kind::Model, "a/b-2.5_x", "v1.0", "");
        check("hf:a/b@v1/sub/tokenizer.json", Kind::Model, "a/b", "v1", "sub/tokenizer.json");
        check("hf-dataset:a/b/x y.json", Kind::Dataset, "a/b", "main", "x y.json");
        check("hf-dataset:a/b/videos/", Kind::Dataset, "a/b", "main", "videos");
        assert_eq!("hf:a/b@main/c".parse::<Name>().unwrap().join("d").to_string(), "hf:a/b/c/d");
    }

    #[test]
    fn what_could_leave_its_folder_is_no_name() {
        for text in [
            "a/b",
            "hf:",
            "hf:a",
            "hf:a/",
            "hf:/b",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../c",
            "hf:a/b/../c",
            "hf:a/b//c",
            "hf:a/b/c\\d",
            "hf:a b/c",
            "hf:a/b@x y",
            "hf:-a/b",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        assert!(is_name("hf:") && is_name("hf-dataset:a/b") && !is_name("hf/a") && !is_name("x"));
    }
}
