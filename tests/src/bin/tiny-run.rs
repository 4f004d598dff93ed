//! `tiny-run FOLDER`: the material of a tiny run, for scripts.

use std::fs;
use std::io;
use std::path::Path;

use xcomp_tests::Task;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = folder.ok_or_else(|| io::Error::other("usage: tiny-run FOLDER"))?;
    copy(&Task::pictures().path(""), Path::new(&folder))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
