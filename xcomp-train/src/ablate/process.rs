//! One verb of this very program in a process of its own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{EXIT_STOPPED, Error};
use crate::machine::files::{at, create_folder};
use crate::machine::stop::Stop;

/// How often a running process and the wish to stop are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did what it was asked.
    Done,
    /// It was stopped, and the same call goes on from there.
    Stopped,
    /// It failed; its log says why.
    Failed,
}

/// Runs `xcomp ARGUMENTS` with `threads` threads; what it says goes to `log`.
///
/// Its standard input stays open as long as this process lives: `--until-input-ends` keeps it from living longer.
///
/// # Errors
/// If the process cannot be started.
pub fn run(arguments: &[String], threads: usize, log: &Path, stop: &Stop) -> Result<Ended, Error> {
    create_folder(log.parent().unwrap_or(Path::new(".")))?;
    let file = File::create(log).map_err(at("cannot create", log))?;
    let copy = file.try_clone().map_err(at("cannot write", log))?;
    let program = std::env::current_exe().map_err(at("cannot find", Path::new("this program")))?;
    let mut child = Command::new(&program)
        .args(arguments)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdin(Stdio::piped())
        .stdout(file)
        .stderr(copy)
        .spawn()
        .map_err(at("cannot start", &program))?;
    let code = wait(&mut child, stop).map_err(at("cannot wait for", &program))?;
    Ok(match code {
        Some(0) => Ended::Done,
        Some(code) if code == i32::from(EXIT_STOPPED) => Ended::Stopped,
        _ if stop.asked().is_some() => Ended::Stopped, // a signal to the whole group ends an evaluation at once
        _ => Ended::Failed,
    })
}

/// Waits for the end; a wish to stop closes its input, which asks it to save and end.
fn wait(child: &mut Child, stop: &Stop) -> std::io::Result<Option<i32>> {
    let mut input = child.stdin.take();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if stop.asked().is_some() {
            drop(input.take());
        }
        std::thread::sleep(LOOK);
    }
}
