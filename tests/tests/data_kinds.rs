//! Kinds of video file that recorders, phones and download tools make, each made here: they are read as the `ffmpeg` program
//! reads them, or refused in words.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use xcomp_data::DataError;
use xcomp_data::media::decode::{Video, VideoIndex};
use xcomp_data::resize::Picture;
use xcomp_tests::ffmpeg::{has_ffmpeg, make, ours, theirs, watch};

fn index_of(path: &Path) -> Arc<VideoIndex> {
    Arc::clone(Video::open(path, None, watch()).unwrap().index())
}

/// Every frame is that of the program, by its number.
fn check_all(path: &Path, timed: bool) {
    let index = index_of(path);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(index.timed, timed, "{name}");
    let all: Vec<usize> = (0..index.frames).collect();
    let got = ours(path, &all, true);
    let (expect, frames) = theirs(path, &all, got[0].len());
    assert_eq!(index.frames, frames, "{name}");
    let wrong: Vec<usize> = (0..expect.len()).filter(|&at| got[at] != expect[at]).collect();
    assert!(wrong.is_empty(), "{name}: {wrong:?}");
}

/// Runs the program on files that stand in one folder.
fn in_folder(folder: &Path, arguments: &str) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-nostdin"])
        .args(arguments.split(' '))
        .current_dir(folder)
        .status();
    assert!(status.unwrap().success(), "ffmpeg {arguments}");
}

fn refusal(path: &Path) -> DataError {
    match Video::open(path, None, watch()) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => error,
    }
}

/// A cover is no video, wherever it stands; a true video beside it is read.
#[test]
fn attached_pictures_are_no_video() {
    if !has_ffmpeg("attached_pictures_are_no_video") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    in_folder(here, "-f lavfi -i testsrc2=size=600x600 -frames:v 1 cover.png");
    in_folder(here, "-f lavfi -i testsrc2=size=160x120 -frames:v 1 thumb.jpg");
    let song = "-f lavfi -i sine=duration=1 -i cover.png -map 0 -map 1 -c:v mjpeg -disposition:v attached_pic";
    in_folder(here, &format!("{song} song.m4a"));
    in_folder(here, &format!("{song} -c:a mp3 song.mp3"));
    in_folder(here, &format!("{song} -c:a flac song.flac"));
    in_folder(
        here,
        "-f lavfi -i sine=duration=1 -attach cover.png -metadata:s:t mimetype=image/png song.mka",
    );
    for name in ["song.m4a", "song.mp3", "song.flac", "song.mka"] {
        let error = refusal(&here.join(name));
        assert!(matches!(error, DataError::NoVideoStream { .. }), "{name}: {error}");
    }
    make(here, "plain.mp4", &["-c:v", "libx264", "-g", "20"]);
    let expect = ours(&here.join("plain.mp4"), &[0, 50, 99], true);
    let both = "-i cover.png -i plain.mp4 -i thumb.jpg -c copy";
    in_folder(here, &format!("{both} -map 0 -map 1 -disposition:0 attached_pic first.mp4"));
    in_folder(here, &format!("{both} -map 1 -map 0 -disposition:1 attached_pic last.mp4"));
    in_folder(
        here,
        &format!(
            "{both} -map 2 -map 1 -map 0 -disposition:0 attached_pic -disposition:2 attached_pic two.mp4"
        ),
    );
    in_folder(
        here,
        "-i plain.mp4 -c copy -attach cover.png -metadata:s:t mimetype=image/png one.mkv",
    );
    for name in ["first.mp4", "last.mp4", "two.mp4", "one.mkv"] {
        assert_eq!(index_of(&here.join(name)).frames, 100, "{name}");
        assert!(ours(&here.join(name), &[0, 50, 99], true) == expect, "{name}");
    }
}

/// Writes the display matrix of the first track of an mp4; ISO 14496-12, `tkhd`.
fn with_matrix(from: &Path, to: &Path, [a, b, c, d]: [i32; 4]) {
    let mut bytes = std::fs::read(from).unwrap();
    let at = bytes.windows(4).position(|name| name == b"tkhd").unwrap() + 4 + 40;
    let matrix = [a, b, 0, c, d, 0, 0, 0, 1 << 30];
    let matrix: Vec<u8> = matrix.iter().flat_map(|entry: &i32| entry.to_be_bytes()).collect();
    bytes[at..at + 36].copy_from_slice(&matrix);
    std::fs::write(to, bytes).unwrap();
}

/// A display matrix counts by its angle, however its entries are rounded or scaled.
#[test]
fn turns_count_by_their_angle() {
    if !has_ffmpeg("turns_count_by_their_angle") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = make(folder.path(), "plain.mp4", &["-c:v", "libx264", "-frames:v", "3"]);
    let one = 65536_i32;
    let degree = 0.4_f64.to_radians();
    let (cos, sin) = ((65536.0 * degree.cos()) as i32, (65536.0 * degree.sin()) as i32);
    let check = |matrix: [i32; 4], turned: bool| {
        let path = folder.path().join("turned.mp4");
        with_matrix(&plain, &path, matrix);
        check_all(&path, true);
        let mut width = 0;
        let mut video = Video::open(&path, None, watch()).unwrap();
        let mut sink = |picture: Picture<'_>| {
            width = picture.width;
            Ok(())
        };
        video.read(&[0], &mut sink).unwrap();
        assert_eq!(width, if turned { 288 } else { 352 }, "{matrix:?}");
    };
    for one in [one, one - 1, one + 1, one / 2, 2 * one] {
        check([0, one, -one, 0], true);
        check([0, -one, one, 0], true);
        check([0, one, one, 0], true);
        check([0, -one, -one, 0], true);
        check([-one, 0, 0, -one], false);
        check([-one, 0, 0, one], false);
        check([one, 0, 0, -one], false);
    }
    check([sin, cos, -cos, sin], true);
    check([-sin, -cos, cos, -sin], true);
    check([-cos, sin, -sin, -cos], false);
    check([cos, sin, -sin, cos], false);
}

/// Stamps of a recorder in a browser: in milliseconds, uneven, no duration, no rate.
fn recorded(folder: &Path, name: &str, frames: &str, more: &[&str]) -> PathBuf {
    let uneven = "settb=1/1000,setpts='N*35+mod(N*7,13)'";
    let mut arguments = vec!["-vf", uneven, "-vsync", "passthrough", "-enc_time_base", "1:1000"];
    arguments.extend(["-c:v", "libvpx", "-frames:v", frames, "-f", "webm", "-live", "1"]);
    arguments.extend(more);
    make(folder, name, &arguments)
}

/// Rate and duration are those of the stamps where the header has none, or names the resolution of its clock.
#[test]
fn recordings_without_duration_are_timed_by_their_stamps() {
    let test = "recordings_without_duration_are_timed_by_their_stamps";
    if !has_ffmpeg(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &Path, frames: usize, fps: f64, seconds: f64| {
        let index = index_of(path);
        println!(
            "{}: {} frames, {} fps, {:?}",
            path.display(),
            index.frames,
            index.fps,
            index.duration_s
        );
        assert_eq!(index.frames, frames);
        assert!((index.fps / fps - 1.0).abs() < 0.06, "{} frames per second", index.fps);
        let said = index.duration_s.unwrap_or(frames as f64 / index.fps);
        assert!((said / seconds - 1.0).abs() < 0.05, "{said} s");
        check_all(path, true);
    };
    check(&recorded(folder.path(), "72.webm", "72", &[]), 72, 28.6, 2.52);
    check(&recorded(folder.path(), "2.webm", "2", &[]), 2, 23.8, 0.084);
    check(&recorded(folder.path(), "1.webm", "1", &[]), 1, 25.0, 0.04);
    // A header that says how long a frame lasts, and lies: Matroska's DefaultDuration, element 23E383.
    for nanoseconds in [1_000_000_u32, 11_111, 500_000_000] {
        let path = make(folder.path(), "lie.webm", &["-c:v", "libvpx", "-frames:v", "50"]);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(3).position(|id| id == [0x23, 0xe3, 0x83]).unwrap() + 3;
        assert_eq!(bytes[at], 0x84, "four bytes");
        bytes[at + 1..at + 5].copy_from_slice(&nanoseconds.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        check(&path, 50, 25.0, 2.0);
    }
}

/// Parts of a recording that were put behind each other, each with stamps of its own: frames stand in the order of the file.
#[test]
fn joined_recordings_are_counted_in_the_order_of_the_file() {
    if !has_ffmpeg("joined_recordings_are_counted_in_the_order_of_the_file") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, start: &str, frames: &str, codec: &[&str]| {
        let mut arguments = vec!["-ss", start, "-frames:v", frames];
        arguments.extend(codec);
        std::fs::read(make(folder.path(), name, &arguments)).unwrap()
    };
    let join = |name: &str, parts: &[Vec<u8>]| {
        let path = folder.path().join(name);
        std::fs::write(&path, parts.concat()).unwrap();
        path
    };
    let b_frames = ["-c:v", "libx264", "-bf", "3", "-g", "20", "-muxdelay", "0"];
    let plain = ["-c:v", "libx264", "-bf", "0", "-g", "20", "-muxdelay", "0"];
    let mpeg = ["-c:v", "mpeg2video", "-bf", "2", "-q:v", "4"];
    for (name, codec) in [("b.ts", &b_frames[..]), ("plain.ts", &plain), ("mpeg.mpg", &mpeg)] {
        let parts = [part(name, "0", "45", codec), part(name, "2", "30", codec)];
        let path = join(&format!("joined_{name}"), &parts);
        check_all(&path, false);
        let index = index_of(&path);
        println!("{name}: {} frames, {} fps, {:?}", index.frames, index.fps, index.duration_s);
        assert!((index.fps - 25.0).abs() < 0.1, "{name}: {} frames per second", index.fps);
        check_all(
            &join(
                &format!("short_{name}"),
                &[part(name, "0", "5", codec), part(name, "2", "40", codec)],
            ),
            false,
        );
    }
}

/// Reordered frames, open GOPs, cuts without encoding and rates that change are no new start.
#[test]
fn reordered_frames_are_no_new_start() {
    if !has_ffmpeg("reordered_frames_are_no_new_start") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deep = "bframes=16:b-pyramid=normal:ref=16:keyint=40:scenecut=0";
    let open = "bframes=5:open-gop=1:keyint=12:scenecut=0";
    for name in ["deep.mkv", "deep.mp4", "deep.ts", "deep.flv"] {
        check_all(&make(folder.path(), name, &["-c:v", "libx264", "-x264-params", deep]), true);
    }
    for name in ["open.mkv", "open.mp4", "open.ts"] {
        let path = make(folder.path(), name, &["-c:v", "libx264", "-x264-params", open]);
        check_all(&path, true);
        let cut = format!("cut_{name}");
        in_folder(folder.path(), &format!("-ss 1.3 -i {name} -c copy {cut}"));
        assert!(index_of(&folder.path().join(&cut)).timed, "{cut}");
    }
    let rates =
        ["-vf", "select='not(mod(n,3))+lt(mod(n,20),5)'", "-vsync", "vfr", "-c:v", "libx264"];
    check_all(&make(folder.path(), "rates.mkv", &rates), true);
}
