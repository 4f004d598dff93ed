//! `xcomp doctor`: what this machine and this build have.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use xcomp_data::media::picture::JPEG_DECODER;

use super::args::FormatArg;
use crate::error::Error;
use crate::machine::device::{About, Choice, answer_probe, compiled, probe};
use crate::machine::locks::try_locks;

/// Arguments of `xcomp doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Where runs are to go: whether locks of files hold on its disk is tried there.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    #[command(flatten)]
    format: FormatArg,
}

/// Arguments of the hidden verb that tries a device.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// The device.
    device: Choice,
}

/// Says what a device is, once it has added two numbers.
#[expect(clippy::print_stdout, reason = "the line that the asking process reads")]
pub(super) fn answer(args: &ProbeArgs) -> Result<(), Error> {
    println!("{}", answer_probe(args.device)?);
    Ok(())
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    cores: usize,
    /// Device, what it answers, and what it is, for every backend of the build.
    devices: Vec<(String, String, Option<About>)>,
    /// Whether video files can be read.
    video: bool,
    /// What decodes JPEG pictures.
    jpeg: &'static str,
    /// Whether locks of files hold where runs are to go.
    file_locks: String,
}

pub(super) fn run(args: &DoctorArgs) -> Result<(), Error> {
    let devices = compiled().iter().map(|choice| tried(*choice)).collect();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        devices,
        video: cfg!(feature = "video"),
        jpeg: JPEG_DECODER,
        file_locks: locks(&args.out),
    };
    args.format.print(&report)
}

/// What locks do in a folder, or in the nearest one above it that is there.
fn locks(folder: &Path) -> String {
    let here = folder.ancestors().find(|folder| folder.is_dir());
    let here = here.filter(|here| !here.as_os_str().is_empty()).unwrap_or(Path::new("."));
    try_locks(here).map_or_else(|error| error.to_string(), |locks| locks.to_string())
}

fn tried(choice: Choice) -> (String, String, Option<About>) {
    match probe(choice) {
        Ok(about) => (choice.to_string(), "works".into(), Some(about)),
        Err(error) => (choice.to_string(), error.to_string(), None),
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "xcomp        {}", self.version)?;
        writeln!(f, "cpu cores    {}", self.cores)?;
        for (device, answer, about) in &self.devices {
            let about = about.as_ref().map_or(String::new(), |about| format!("; {about}"));
            writeln!(f, "device       {device}: {answer}{about}")?;
        }
        let video = if self.video { "FFmpeg's libraries" } else { "not in this build" };
        writeln!(f, "video files  {video}")?;
        let pixels = match self.jpeg {
            "turbojpeg" => "",
            _ => ": JPEG pixels may differ from Pillow's by a few levels",
        };
        writeln!(f, "jpeg files   {}{pixels}", self.jpeg)?;
        writeln!(f, "file locks   {}", self.file_locks)
    }
}
