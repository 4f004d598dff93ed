//! Files that are cut, damaged, empty, foreign or too much: they decode as far as the `ffmpeg` program does, or give one clear error.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use xcomp_data::media::decode::Video;
use xcomp_data::{DataError, Limits, Watch};
use xcomp_tests::ffmpeg::{difference, ffmpeg, has_ffmpeg, make, ours, shown, theirs, watch};
use xcomp_train::machine::files::sha256;

/// Broken files decode as far as they go, as in the program, or give one clear error.
#[test]
fn broken_files_end_cleanly() {
    if !has_ffmpeg("broken_files_end_cleanly") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = make(
        folder.path(),
        "whole.mp4",
        &["-c:v", "libx264", "-g", "25", "-movflags", "faststart"],
    );
    let bytes = std::fs::read(&whole).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let truncated = write("truncated.mp4", &bytes[..bytes.len() * 6 / 10]);
    let open = Video::open(&truncated, None, watch()).unwrap();
    assert!((20..100).contains(&open.index().frames), "{} frames", open.index().frames);
    let all: Vec<usize> = (0..open.index().frames - 1).collect();
    let got = ours(&truncated, &all, true);
    assert_eq!(difference(&got, &theirs(&truncated, &all, got[0].len()).0), 0);

    let mut flipped = bytes.clone();
    (bytes.len() / 2..bytes.len()).step_by(997).for_each(|at| flipped[at] ^= 0x10);
    let flipped = write("flipped.mp4", &flipped);
    let frames = Video::open(&flipped, None, watch()).unwrap().index().frames;
    let got = ours(&flipped, &(0..frames).collect::<Vec<_>>(), false);
    assert_eq!(got.len(), frames);
    // The program drops some frames of a damaged film; each that it shows is the one that stands here at its time.
    let expect = shown(&flipped);
    let differing: Vec<_> =
        expect.iter().filter(|(at, hash)| **hash != sha256(&got[**at])).collect();
    println!("flipped.mp4: {frames} frames, {} shown by the program", expect.len());
    assert!(differing.is_empty(), "{differing:?}");

    let message = |path: &Path| match Video::open(path, None, watch()) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => {
            println!("{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            error
        }
    };
    let audio = folder.path().join("audio.m4a");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", audio.to_str().unwrap()]);
    assert!(matches!(message(&audio), DataError::NoVideoStream { .. }));
    assert!(matches!(message(&write("empty.mp4", b"")), DataError::Decode { .. }));
    assert!(matches!(
        message(&write("text.mp4", b"this is no video at all, but a line of text\n")),
        DataError::Decode { .. }
    ));
    message(&write("no_moov.mp4", &bytes[..40]));
    assert!(matches!(message(&folder.path().join("absent.mp4")), DataError::Read { .. }));
}

/// A playlist in the place of a video must not lead to other files.
#[test]
fn playlists_are_refused() {
    if !has_ffmpeg("playlists_are_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let target = make(folder.path(), "target.ts", &["-c:v", "libx264"]);
    let list = folder.path().join("list.mp4");
    let text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n",
        target.display()
    );
    std::fs::write(&list, text).unwrap();
    assert!(Video::open(&list, None, watch()).is_err());
    let concat = folder.path().join("concat.mp4");
    std::fs::write(&concat, format!("ffconcat version 1.0\nfile '{}'\n", target.display()))
        .unwrap();
    assert!(Video::open(&concat, None, watch()).is_err());
}

/// Time, packets and pixels are bounded, and a reader that is no longer wanted stops.
#[test]
fn limits_hold() {
    if !has_ffmpeg("limits_hold") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), "plain.mp4", &["-c:v", "libx264"]);
    let open = |limits: Limits, cancelled: bool| {
        let watch = Watch::start(&limits, &Arc::new(AtomicBool::new(cancelled)));
        Video::open(&path, None, watch).map(|_| ()).unwrap_err().to_string()
    };
    let limits = Limits::default;
    let check = |got: String, expect: &str| assert!(got.ends_with(expect), "{got}");
    check(open(Limits { max_seconds: 0.0, ..limits() }, false), "gave up after 0 s");
    check(open(Limits { max_packets: 10, ..limits() }, false), "gave up after 10 packets");
    check(open(limits(), true), "gave up after being cancelled");
    assert!(
        open(Limits { max_pixels: 1000, ..limits() }, false)
            .contains("352 x 288 pixels, above the limit of 1000")
    );
}
