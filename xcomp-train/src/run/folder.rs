//! The folder of a run: one process at a time, everything that explains its numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use xcomp_data::lock::LockedFile;

use crate::error::Error;
use crate::machine::device::{About, Opened};
use crate::machine::files::{at, create_folder, write_atomically, write_json};
use crate::machine::stop::Stop;
use crate::plan::Plan;
use crate::run::footing::{ENVIRONMENT, Footings};
use crate::run::name::RunName;
use crate::show::progress::say;
use crate::train::checkpoint::identity::Identity;

/// What the process that works in a run's folder has locked.
pub const LOCK: &str = ".lock";
/// The resolved recipe in the folder of a run.
pub const RECIPE: &str = "recipe.lock.toml";
/// The plan in the folder of a run.
pub const PLAN: &str = "plan.json";
/// How often a lock that another process holds is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The folder of a run, held by this process.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held until the process ends, however it ends.
    _lock: LockedFile,
}

/// `env.json`: where a run ran.
#[derive(Debug, Serialize)]
struct Environment<'a> {
    run_name: String,
    tags: Vec<String>,
    xcomp: &'static str,
    command: Vec<String>,
    device: String,
    #[serde(flatten)]
    about: About,
    cores: usize,
    host: String,
    system: String,
    /// Names of the hub in the recipe, with their commits.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    hub: BTreeMap<String, String>,
    #[serde(flatten)]
    footings: &'a Footings,
}

impl RunDir {
    /// Creates or re-enters a folder; nothing in it is deleted.
    ///
    /// # Errors
    /// If it cannot be created, or another process trains in it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::lock(path, LockedFile::take)
    }

    /// Creates or re-enters a folder in which several processes work at once, each at its own share; [`RunDir::open`] is refused meanwhile.
    ///
    /// # Errors
    /// If it cannot be created, or another process has it alone.
    pub fn share(path: &Path) -> Result<Self, Error> {
        Self::lock(path, LockedFile::share)
    }

    fn lock(
        path: &Path,
        take: impl Fn(File) -> io::Result<Option<LockedFile>>,
    ) -> Result<Self, Error> {
        let file = path.join(LOCK);
        match take(lock_file(&file)?).map_err(at("cannot lock", &file))? {
            Some(lock) => Ok(Self { path: path.into(), _lock: lock }),
            None => Err(Error::Argument(format!(
                "{} is in use by another process; give another --out or stop it",
                path.display()
            ))),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes what is known before the first step: recipe, resolved recipe, plan, environment.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn describe(
        &self,
        plan: &Plan,
        identity: &Identity,
        opened: &Opened,
        footings: &Footings,
    ) -> Result<(), Error> {
        let hashes: Vec<(String, String)> = identity
            .iter()
            .filter(|(name, _)| name.starts_with("sha256"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let names = plan.recipe.names();
        let RunName { name, tags } = RunName::of(&plan.recipe.log, &self.path);
        let environment = Environment {
            run_name: name,
            tags,
            xcomp: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            device: opened.choice.to_string(),
            about: opened.about.clone(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            host: first_line("/proc/sys/kernel/hostname"),
            system: first_line("/proc/version"),
            hub: names.into_iter().map(|(key, name)| (key, name.to_string())).collect(),
            footings,
        };
        write_atomically(&self.file("recipe.toml"), plan.recipe.text.as_bytes())?;
        write_atomically(&self.file(RECIPE), plan.recipe.lock(&hashes).as_bytes())?;
        write_json(&self.file(PLAN), &plan.report())?;
        write_json(&self.file(ENVIRONMENT), &environment)
    }
}

/// Waits until no other process holds the folder: one that was told to end may still be saving.
///
/// # Errors
/// If the lock cannot be asked for.
pub fn wait_for(path: &Path) -> Result<(), Error> {
    turn(&path.join(LOCK), &Stop::never()).map(drop)
}

/// Waits until this process holds the lock of a file; `None` if it is asked to stop before.
///
/// # Errors
/// If the lock cannot be asked for.
pub fn turn(file: &Path, stop: &Stop) -> Result<Option<LockedFile>, Error> {
    let mut told = false;
    loop {
        let lock = LockedFile::take(lock_file(file)?).map_err(at("cannot lock", file))?;
        if lock.is_some() || stop.asked().is_some() {
            return Ok(lock);
        }
        if !told {
            say(&format!("waits for the process that holds {}", file.display()));
        }
        told = true;
        std::thread::sleep(LOOK);
    }
}

/// A file that is there to be locked: open for reading as well, without which some file systems share no lock.
fn lock_file(file: &Path) -> Result<File, Error> {
    create_folder(file.parent().unwrap_or(Path::new(".")))?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(file).map_err(at("cannot create", file))
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
