//! The `ffmpeg` program as an independent decoder and as a maker of files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use xcomp_data::media::decode::Video;
use xcomp_data::{Limits, Watch};

use crate::skipped;

/// Whether the program is here; says so where it is not.
pub fn has_ffmpeg(test: &str) -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skipped(test, "no ffmpeg program on the path");
    }
    found
}

/// Runs the program.
///
/// # Panics
///
/// If it fails.
pub fn ffmpeg(arguments: &[&str]) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-nostdin"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg {arguments:?}");
}

/// The ordinary limits.
pub fn watch() -> Watch {
    Watch::start(&Limits::default(), &Arc::new(AtomicBool::new(false)))
}

/// The wanted frames, packed.
///
/// # Panics
///
/// If the file does not open or decode.
pub fn ours(path: &Path, wanted: &[usize], jump: bool) -> Vec<Vec<u8>> {
    let mut pictures = Vec::new();
    let mut video = Video::open(path, None, watch()).unwrap().jump(jump);
    video
        .read(wanted, &mut |picture| {
            pictures.push((0..picture.height).flat_map(|y| picture.row(y)).copied().collect());
            Ok(())
        })
        .unwrap();
    pictures
}

/// The wanted frames and the number of all, as the program decodes them in order.
///
/// # Panics
///
/// If the program does not run.
pub fn theirs(path: &Path, wanted: &[usize], frame_bytes: usize) -> (Vec<Vec<u8>>, usize) {
    let mut child = Command::new("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-threads", "1", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-vsync",
            "passthrough",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut pictures, mut count, mut frame) = (Vec::new(), 0, vec![0; frame_bytes]);
    while output.read_exact(&mut frame).is_ok() {
        if wanted.binary_search(&count).is_ok() {
            pictures.push(frame.clone());
        }
        count += 1;
    }
    child.wait().unwrap();
    (pictures, count)
}

/// The SHA-256 of every frame that the program shows of a video, by its number in a film of [`RATE`] frames per second.
///
/// # Panics
///
/// If the program prints what it did not print before.
pub fn shown(path: &Path) -> BTreeMap<usize, String> {
    let arguments = "-map 0:v:0 -vsync passthrough -pix_fmt rgb24 -f framehash -hash sha256 -";
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-threads", "1", "-i"])
        .arg(path)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("#tb 0: 1/{RATE}\n")), "one tick is one frame: {text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split(',').map(str::trim).collect();
            (columns[2].parse().unwrap(), columns[5].to_owned())
        })
        .collect()
}

/// Largest difference of two lists of frames.
///
/// # Panics
///
/// If their numbers or sizes differ.
pub fn difference(ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> u8 {
    assert_eq!(ours.len(), theirs.len());
    let frames = ours.iter().zip(theirs);
    frames
        .map(|(a, b)| {
            assert_eq!(a.len(), b.len(), "frame sizes");
            a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
        })
        .max()
        .unwrap_or(0)
}

/// Frames per second of [`MOVING`].
pub const RATE: usize = 25;
/// A moving test picture with detail in every channel.
pub const MOVING: &str = "testsrc2=size=352x288:rate=25:duration=4";

/// A file of [`MOVING`], made by the program with `arguments`.
///
/// # Panics
///
/// If the program fails.
pub fn make(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut all = vec!["-f", "lavfi", "-i", MOVING];
    all.extend(arguments);
    all.push(path.to_str().unwrap());
    ffmpeg(&all);
    path
}
