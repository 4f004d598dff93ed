//! Whether locks of files hold on a disk: folders of runs, shares of sweeps and kept features rest on them.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use xcomp_data::lock::LockedFile;

use crate::error::Error;
use crate::machine::files::{at, read_text};

/// Options of a mount by which locks hold within one machine alone.
const LOCAL: [&str; 4] = ["nolock", "local_lock=all", "local_lock=flock", "localflock"];

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locks {
    /// Of two owners the second is refused.
    Hold,
    /// The same, but the mount says by this option that other machines are not asked.
    HoldHere(String),
    /// Both are let in.
    Ignored,
    /// The file system knows no locks.
    Refused(String),
}

/// Tries locks in a folder: with two handles of one file, as two processes have them.
///
/// # Errors
/// If no file can be made there.
pub fn try_locks(folder: &Path) -> Result<Locks, Error> {
    let path = folder.join(format!(".xcomp-lock-{}", std::process::id()));
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let handles = open().and_then(|first| Ok([first, open()?]));
    let tried = handles.map_err(at("cannot create", &path)).map(judged);
    std::fs::remove_file(&path).unwrap_or_default();
    Ok(match tried? {
        Locks::Hold => {
            let folder = std::path::absolute(folder).map_err(at("cannot find", folder))?;
            let mounts = read_text(Path::new("/proc/self/mounts")).unwrap_or_default();
            local_option(&mounts, &folder).map_or(Locks::Hold, Locks::HoldHere)
        }
        other => other,
    })
}

fn judged(handles: [File; 2]) -> Locks {
    let [first, second] = handles;
    let both = || -> io::Result<bool> {
        let first = LockedFile::take(first)?;
        let refused = LockedFile::take(second.try_clone()?)?.is_none();
        drop(first);
        Ok(refused && LockedFile::take(second)?.is_some())
    };
    match both() {
        Ok(true) => Locks::Hold,
        Ok(false) => Locks::Ignored,
        Err(error) => Locks::Refused(error.to_string()),
    }
}

/// The option that keeps locks to this machine, of the mount that an absolute path lies on.
fn local_option(mounts: &str, folder: &Path) -> Option<String> {
    let mount = |line: &str| -> Option<(usize, String)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = fields.get(1)?.replace("\\040", " ");
        folder.starts_with(&at).then_some((at.len(), (*fields.get(3)?).to_owned()))
    };
    // Of several mounts at one place the last is seen.
    let (_, options) = mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth)?;
    options.split(',').find(|option| LOCAL.contains(option)).map(str::to_owned)
}

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => write!(f, "work: a second owner is refused"),
            Self::HoldHere(option) => write!(
                f,
                "hold within this machine alone, by its mount option {option}: start what shares a folder on one machine, or mount without it"
            ),
            Self::Ignored => write!(
                f,
                "are ignored here: two processes would write the same file; start one process a folder, and no --part, or take another disk"
            ),
            Self::Refused(error) => write!(
                f,
                "are not known here ({error}), and no run starts without; take another disk, or mount it with locks (Lustre: flock; NFS: version 4)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let found = try_locks(folder.path()).unwrap();
        assert!(matches!(found, Locks::Hold | Locks::HoldHere(_)), "{found}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(try_locks(&folder.path().join("absent")).is_err());
    }

    /// Two files stand for one whose locks nobody heeds.
    #[test]
    fn locks_that_let_both_in_are_found_out() {
        let [one, other] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        assert_eq!(judged([one, other]), Locks::Ignored);
    }

    #[test]
    fn a_mount_says_whether_other_machines_are_asked() {
        let mounts = "/dev/sda / ext4 rw 0 0\nhost:/a /home nfs4 rw,local_lock=none 0 0\n\
                      host:/b /home/my\\040runs nfs rw,nolock,vers=3 0 0\nfs /scratch lustre rw,localflock 0 0\n";
        let check = |path: &str, option: Option<&str>| {
            assert_eq!(local_option(mounts, Path::new(path)).as_deref(), option, "{path}");
        };
        check("/tmp", None);
        check("/home/x", None);
        check("/home/my runs/a", Some("nolock"));
        check("/scratch/runs", Some("localflock"));
        check("/scratchpad", None);
    }
}
