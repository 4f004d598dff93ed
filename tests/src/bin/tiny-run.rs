//! `tiny-run FOLDER [llava-next-video|video-xl]`: the material of a tiny run, for scripts.

use std::fs;
use std::io;
use std::path::Path;

use xcomp_tests::{Task, llava_next_video, llava_task, video_xl_task};

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let usage = || io::Error::other("usage: tiny-run FOLDER [llava-next-video|video-xl]");
    let folder = folder.ok_or_else(usage)?;
    let task = match std::env::args().nth(2).as_deref() {
        None => Task::pictures(),
        Some("llava-next-video") => llava_task(&llava_next_video(), true),
        Some("video-xl") => video_xl_task(),
        Some(_) => return Err(usage()),
    };
    copy(&task.path(""), Path::new(&folder))
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
