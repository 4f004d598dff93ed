//! Checkpoints: complete or absent, whatever kills the process, and the disk never left without one.

pub mod identity;
pub mod manifest;
pub mod resume;
pub mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::View;

use crate::error::Error;
use crate::machine::files::{
    at, create_folder, entries, free_bytes, size_of, sync_folder, write_atomically,
};
use crate::plan::Plan;
use tensors::{HeldTensors, write_file};

/// Tuned weights, by the names of the released checkpoint.
pub const MODEL: &str = "model.safetensors";
/// Moments of the optimizer.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// Everything else that a resume needs.
pub const TRAIN_STATE: &str = "train_state.json";
/// The newest checkpoint.
pub const LAST: &str = "last";

const PARTIAL: &str = ".partial-";
const TRASH: &str = ".trash-";
/// [`LAST`] before it has its name.
const ASIDE: &str = ".last-";

/// What is written; all of it on the host, so that training goes on meanwhile.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Steps taken.
    pub step: usize,
    /// Tuned weights.
    pub weights: HeldTensors,
    /// Moments; none if nothing is to go on from here.
    pub moments: Option<HeldTensors>,
    /// `train_state.json`.
    pub state: serde_json::Value,
    /// Files that are copied beside the tensors, and their names there: configuration, tokenizer.
    pub copies: Vec<(PathBuf, &'static str)>,
}

impl Snapshot {
    /// Bytes that it takes on disk.
    pub fn bytes(&self) -> u64 {
        let sum = |tensors: &HeldTensors| -> u64 {
            tensors.values().map(|tensor| tensor.data_len() as u64).sum()
        };
        let copied: u64 = self.copies.iter().map(|(source, _)| size_of(source)).sum();
        sum(&self.weights) + self.moments.as_ref().map_or(0, sum) + copied
    }
}

/// The files that lie beside the tensors of a checkpoint, and their names there.
pub fn copies(plan: &Plan) -> Vec<(PathBuf, &'static str)> {
    let model = &plan.recipe.model;
    vec![
        (PathBuf::from(&model.config), "config.json"),
        (PathBuf::from(&model.tokenizer), "tokenizer.json"),
    ]
}

/// Bytes that are asked for before so many are written: with headers, small files and whole blocks.
pub fn with_slack(bytes: u64) -> u64 {
    bytes + bytes / 100 + (1 << 20)
}

/// A complete checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Steps taken.
    pub step: usize,
    /// Its folder.
    pub folder: PathBuf,
}

/// How many checkpoints stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many; 0 keeps all.
    pub newest: usize,
    /// This step's too.
    pub best: Option<usize>,
}

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    run: PathBuf,
}

impl Checkpoints {
    /// The checkpoints in the folder of a run; nothing is touched.
    pub fn open(run: &Path) -> Self {
        Self { run: run.into() }
    }

    /// The newest complete checkpoint, and a line for every damaged one that was passed over.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn latest(&self) -> Result<(Option<Saved>, Vec<String>), Error> {
        let mut notes = vec![];
        for saved in self.folders()?.into_iter().rev() {
            match manifest::damage(&saved.folder) {
                None => return Ok((Some(saved), notes)),
                Some(damage) => {
                    notes.push(format!("passed over {}: {damage}", saved.folder.display()));
                }
            }
        }
        Ok((None, notes))
    }

    /// Folders named as checkpoints, oldest first, complete or not.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn folders(&self) -> Result<Vec<Saved>, Error> {
        let mut found: Vec<Saved> = entries(&self.run)?
            .into_iter()
            .filter(|folder| !folder.is_symlink() && folder.is_dir())
            .filter_map(|folder| {
                let name = folder.file_name()?.to_str()?;
                let step = name.strip_prefix("checkpoint-")?.parse().ok()?;
                Some(Saved { step, folder })
            })
            .collect();
        found.sort_by_key(|saved| saved.step);
        Ok(found)
    }

    /// Publishes a snapshot as `checkpoint-STEP`, then removes what `keep` does not name.
    ///
    /// `read` is called once nothing more is read of the run's tensors: they may change then.
    ///
    /// # Errors
    /// If the disk is too full or refuses; then the checkpoints before it are still there.
    pub fn save(
        &self,
        snapshot: Snapshot,
        keep: &Keep,
        read: impl FnOnce(),
    ) -> Result<Saved, Error> {
        let step = snapshot.step;
        let name = format!("checkpoint-{step}");
        let folder = self.run.join(&name);
        self.require_room(&snapshot)?;

        let aside = self.run.join(format!("{PARTIAL}{name}-{}", std::process::id()));
        let written = write_all(snapshot, &aside, read);
        if let Err(error) = written {
            // A full disk needs its space back; what cannot be removed now is swept later.
            fs::remove_dir_all(&aside).unwrap_or_default();
            return Err(error);
        }
        if folder.exists() {
            // A damaged one, or the same step from before a resume.
            let old = self.run.join(format!("{TRASH}{name}-{}", std::process::id()));
            fs::rename(&folder, &old).map_err(at("cannot rename", &folder))?;
        }
        fs::rename(&aside, &folder)
            .and_then(|()| sync_folder(&self.run))
            .map_err(at("cannot publish", &folder))?;
        self.point_last_at(&name)?;
        self.remove_old(keep, step)?;
        self.sweep();
        Ok(Saved { step, folder })
    }

    /// Points `last` at the newest complete checkpoint of this run, where a kill came between its publishing and the link.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn mend_last(&self, newest: &Saved) -> Result<(), Error> {
        let (own, name) = (newest.folder.parent() == Some(&self.run), newest.folder.file_name());
        let Some(name) = name.and_then(|name| name.to_str()).filter(|_| own) else { return Ok(()) };
        if fs::read_link(self.run.join(LAST)).is_ok_and(|to| to == Path::new(name)) {
            return Ok(());
        }
        self.point_last_at(name)
    }

    /// Removes leftovers, and asks whether a snapshot fits then.
    ///
    /// # Errors
    /// If it does not.
    pub fn require_room(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.sweep();
        self.compare_room(with_slack(snapshot.bytes()), free_bytes(&self.run)?)
    }

    fn compare_room(&self, needed: u64, free: u64) -> Result<(), Error> {
        if needed <= free {
            return Ok(());
        }
        let advice = match self.latest()?.0 {
            Some(last) => {
                format!("make room, the last checkpoint is intact ({})", last.folder.display())
            }
            None => "make room; there is no complete checkpoint in this folder".into(),
        };
        let what = "a checkpoint".into();
        Err(Error::DiskFull { path: self.run.clone(), what, needed, free, advice })
    }

    fn point_last_at(&self, name: &str) -> Result<(), Error> {
        let (link, aside) =
            (self.run.join(LAST), self.run.join(format!("{ASIDE}{}", std::process::id())));
        fs::remove_file(&aside).unwrap_or_default();
        std::os::unix::fs::symlink(name, &aside)
            .and_then(|()| fs::rename(&aside, &link))
            .and_then(|()| sync_folder(&self.run))
            .inspect_err(|_| fs::remove_file(&aside).unwrap_or_default())
            .map_err(at("cannot link", &link))
    }

    /// Removes what `keep` does not name; `newest` was saved just now, so folders of later steps are damaged and no count of what stays.
    fn remove_old(&self, keep: &Keep, newest: usize) -> Result<(), Error> {
        if keep.newest == 0 {
            return Ok(());
        }
        let mut folders = self.folders()?;
        folders.retain(|saved| saved.step <= newest);
        let old = folders.len().saturating_sub(keep.newest);
        for saved in folders.iter().take(old).filter(|saved| Some(saved.step) != keep.best) {
            // Renamed first: a kill in the middle leaves no half-empty folder under a checkpoint's name.
            let trash =
                self.run.join(format!("{TRASH}checkpoint-{}-{}", saved.step, std::process::id()));
            fs::rename(&saved.folder, &trash).map_err(at("cannot remove", &saved.folder))?;
        }
        Ok(())
    }

    /// Removes leftovers of killed saves: only for who holds the run.
    pub fn sweep(&self) {
        let leftovers = entries(&self.run).unwrap_or_default().into_iter().filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            [PARTIAL, TRASH, ASIDE].iter().any(|prefix| name.starts_with(prefix))
        });
        for path in leftovers {
            // A link is no folder.
            fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap_or_default();
        }
    }
}

fn write_all(snapshot: Snapshot, folder: &Path, read: impl FnOnce()) -> Result<(), Error> {
    create_folder(folder)?;
    let Snapshot { weights, moments, state, copies, .. } = snapshot;
    write_file(&folder.join(MODEL), &weights)?;
    if let Some(moments) = &moments {
        write_file(&folder.join(OPTIMIZER), moments)?;
    }
    drop((weights, moments));
    read();
    for (source, name) in copies.iter().filter(|(source, _)| source.is_file()) {
        fs::copy(source, folder.join(name)).map_err(at("cannot copy", source))?;
    }
    let state = serde_json::to_vec_pretty(&state).expect("the state is JSON");
    write_atomically(&folder.join(TRAIN_STATE), &state)?;
    manifest::write(folder)?;
    sync_folder(folder).map_err(at("cannot sync", folder))
}

#[cfg(test)]
mod tests;
