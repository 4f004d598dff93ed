//! A file that one owner at a time writes, in this process or any other.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::{Deref, DerefMut};

/// A file under a lock, which ends with this value.
#[derive(Debug)]
pub struct LockedFile(File);

impl LockedFile {
    /// Takes the lock; `None` while somebody else has it.
    ///
    /// # Errors
    /// If the file system cannot lock files.
    pub fn take(file: File) -> io::Result<Option<Self>> {
        let taken = file.try_lock();
        Self::taken(file, taken)
    }

    /// Takes the lock beside others that share it; `None` while somebody has it alone. The file must be open for reading.
    ///
    /// # Errors
    /// If the file system cannot lock files.
    pub fn share(file: File) -> io::Result<Option<Self>> {
        let taken = file.try_lock_shared();
        Self::taken(file, taken)
    }

    fn taken(file: File, taken: Result<(), TryLockError>) -> io::Result<Option<Self>> {
        match taken {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for LockedFile {
    /// Closing the file would not do: a program that another thread starts at this moment holds a copy of it until it runs.
    fn drop(&mut self) {
        // A file that cannot be unlocked is unlocked when its last copy is closed.
        let _ = self.0.unlock();
    }
}

impl Deref for LockedFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl DerefMut for LockedFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_even_while_a_copy_of_the_file_is_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || file.reopen().unwrap();
        let first = LockedFile::take(open()).unwrap().unwrap();
        // As a started program has one between fork and exec.
        let copy = first.try_clone().unwrap();
        assert!(LockedFile::take(open()).unwrap().is_none());
        drop(first);
        assert!(LockedFile::take(open()).unwrap().is_some());
        drop(copy);
    }

    #[test]
    fn a_lock_is_shared_or_taken_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || file.reopen().unwrap();
        let shared = [(); 2].map(|()| LockedFile::share(open()).unwrap().unwrap());
        assert!(LockedFile::take(open()).unwrap().is_none());
        drop(shared);
        let alone = LockedFile::take(open()).unwrap().unwrap();
        assert!(LockedFile::share(open()).unwrap().is_none());
        drop(alone);
    }
}
