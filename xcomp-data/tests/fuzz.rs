//! Damaged clips, pictures, annotations and mixtures: no panic, no hang, no unbounded memory.
//!
//! 400 cases here; `XCOMP_FUZZ_CASES=20000 cargo test --release -p xcomp-data --test fuzz` runs longer.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test fails like the test itself; tests print what they measured"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::folder;
use xcomp_data::media::picture::read_picture;
use xcomp_data::mixture::json_scan::JsonLimits;
use xcomp_data::{
    FrameOptions, FrameRule, Limits, Mixture, MixtureOptions, PythonRandom, ReadType, Truncated,
    load_media,
};

/// No single case may take longer.
const MAX_CASE: Duration = Duration::from_secs(10);
/// The whole program may never hold more, in MB.
const MAX_MEMORY_MB: usize = 1500;

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for from outside")]
fn cases() -> usize {
    std::env::var("XCOMP_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// Damages a file: flipped bytes, cuts, repeated, zeroed and foreign stretches, and numbers at their limits.
fn damage(bytes: &[u8], most: u32, random: &mut PythonRandom) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.randbelow(most) {
        if bytes.len() < 8 {
            break;
        }
        let length = bytes.len() as u32;
        // Half of the damage hits headers.
        let reach = if random.getrandbits(1) == 0 { length } else { length.min(600) };
        let at = random.randbelow(reach) as usize;
        let stretch = at..(at + random.randbelow(64) as usize).min(bytes.len());
        match random.randbelow(8) {
            0 => bytes[at] ^= 1 << random.randbelow(8),
            1 => bytes[at] = random.getrandbits(8) as u8,
            2 => bytes.truncate(at),
            3 => bytes[stretch].fill(0),
            4 => bytes[stretch].fill(255),
            5 => {
                let copy = bytes[stretch.clone()].to_vec();
                bytes.splice(stretch.start..stretch.start, copy);
            }
            6 => drop(bytes.drain(stretch)),
            _ => {
                let foreign: Vec<u8> = stretch.map(|_| random.getrandbits(8) as u8).collect();
                bytes.splice(at..at, foreign);
            }
        }
    }
    bytes
}

/// Runs one case; says which file did what it must not.
fn survive<R>(what: &str, bytes: &[u8], case: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(case));
    let spent = started.elapsed();
    if result.is_err() || spent > MAX_CASE {
        let kept = std::env::temp_dir().join(format!("xcomp-fuzz-{}", what.replace('/', "-")));
        std::fs::write(&kept, bytes).unwrap();
        panic!("{what}: took {spent:?}, panicked: {}; kept as {}", result.is_err(), kept.display());
    }
    result.unwrap_or_else(|_| unreachable!("a panic was reported above"))
}

fn check_memory() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_mb = peak.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1000;
    println!("peak memory {peak_mb} MB");
    assert!(peak_mb < MAX_MEMORY_MB, "peak memory {peak_mb} MB");
}

/// A sloping, coloured picture that compresses to something with structure.
fn drawn(width: usize, height: usize, shift: usize) -> Vec<u8> {
    let pixel = |at: usize| [(at % width + shift) as u8, (at / width * 3) as u8, (at / 7) as u8];
    (0..width * height).flat_map(pixel).collect()
}

fn picture_seeds(folder: &Path) -> Vec<(PathBuf, Option<ReadType>)> {
    let (width, height) = (64, 48);
    let picture = image::RgbImage::from_raw(width, height, drawn(64, 48, 0)).unwrap();
    let mut seeds: Vec<(PathBuf, Option<ReadType>)> = Vec::new();
    for suffix in ["png", "jpg", "webp", "bmp"] {
        let path = folder.join(format!("seed.{suffix}"));
        picture.save(&path).unwrap();
        seeds.push((path, None));
    }
    let path = folder.join("seed.gif");
    let mut gif = image::codecs::gif::GifEncoder::new(std::fs::File::create(&path).unwrap());
    for shift in 0..9 {
        let frame = image::RgbaImage::from_fn(width, height, |x, y| {
            image::Rgba([(x as u8).wrapping_add(shift * 20), y as u8 * 5, 90, 255])
        });
        gif.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(gif);
    seeds.push((path, Some(ReadType::Gif)));
    seeds
}

/// Clips that the crate writes itself, and, where the program is here, other containers and codecs.
#[cfg(feature = "video")]
fn clip_seeds(folder: &Path) -> Vec<(PathBuf, Option<ReadType>)> {
    let pixels: Vec<u8> = (0..24).flat_map(|i| drawn(64, 48, i * 4)).collect();
    let path = folder.join("seed.mp4");
    let frames =
        xcomp_data::media::encode::RgbFrames { pixels: &pixels, width: 64, height: 48, fps: 8 };
    xcomp_data::media::encode::write_mp4(&path, frames).unwrap();
    let mut seeds = vec![path.clone()];
    for (name, codec) in [
        ("a.mkv", "copy"),
        ("b.avi", "mpeg4"),
        ("c.ts", "mpeg2video"),
        ("d.webm", "libvpx"),
        ("e.flv", "flv1"),
        ("f.mpg", "mpeg1video"),
        ("g.mp4", "libx265"),
        ("h.gif", "gif"),
    ] {
        let made = folder.join(name);
        let mut program = std::process::Command::new("ffmpeg");
        program
            .args(["-v", "quiet", "-y", "-nostdin", "-i"])
            .arg(&path)
            .args(["-c:v", codec, "-r", "24"])
            .arg(&made);
        if program.status().is_ok_and(|status| status.success()) {
            seeds.push(made);
        }
    }
    seeds.into_iter().map(|path| (path, Some(ReadType::Decord))).collect()
}

#[cfg(not(feature = "video"))]
fn clip_seeds(_: &Path) -> Vec<(PathBuf, Option<ReadType>)> {
    Vec::new()
}

#[test]
fn damaged_media_give_frames_or_errors() {
    let (_keep, folder) = folder();
    let mut seeds = picture_seeds(&folder);
    seeds.extend(clip_seeds(&folder));
    let frames = FrameOptions {
        image_size: 16,
        min_frames: 8,
        max_frames: 16,
        rule: FrameRule::Inference,
        ..FrameOptions::default()
    };
    let limits = Limits {
        max_seconds: 5.0,
        max_pixels: 4_000_000,
        max_packets: 20_000,
        ..Limits::default()
    };
    let mut random = PythonRandom::new(1);
    let (mut read, mut failed) = (0, 0);
    for case in 0..cases() {
        let (seed, read_type) = &seeds[case % seeds.len()];
        let pads = (case / seeds.len()).is_multiple_of(2);
        let truncated = if pads { Truncated::Pad } else { Truncated::Refuse };
        let frames = FrameOptions { truncated, ..frames.clone() };
        let name = seed.file_name().unwrap().to_string_lossy();
        let bytes = damage(&std::fs::read(seed).unwrap(), 4, &mut random);
        let path = folder.join(format!("damaged-{name}"));
        std::fs::write(&path, &bytes).unwrap();
        let what = format!("case-{case}-{name}");
        match survive(&what, &bytes, || load_media(&path, *read_type, &frames, &limits)) {
            Ok((frames, choice, _)) => {
                assert_eq!(
                    frames.pixels.len(),
                    choice.indices.len() * frames.frame_bytes(),
                    "{what}"
                );
                read += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("damaged-"), "{what}: {error} names no file");
                failed += 1;
            }
        }
    }
    println!("{} seeds, {read} damaged files were read, {failed} gave an error", seeds.len());
    assert!(read > 0 && failed > 0);
    check_memory();
}

#[test]
fn damaged_annotations_and_mixtures_give_samples_or_errors() {
    let (_keep, folder) = folder();
    let record = r#"{"id": 1, "video": "a.mp4", "start": 1, "end": "2.5", "conversations": [{"from": "human", "value": "<image>\nq \"x\" \u00e9"}, {"from": "gpt", "value": "a"}]}"#;
    let seeds = [
        ("a.json", format!("[{record},\n {record}, {record}]")),
        ("a.jsonl", format!("{record}\n{record}\n\n{record}\n")),
        ("m.yaml", "datasets:\n  - &d\n    json_path: a.json\n    sampling_strategy: \"first2:10%\"\n    weight: 2\n  - <<: *d\n    data_root: ./x/\n    video_read_type: img # why\n".to_owned()),
    ];
    let options = MixtureOptions {
        check_media: false,
        json: JsonLimits { records: 1000, ..JsonLimits::default() },
        ..MixtureOptions::default()
    };
    for (name, text) in &seeds {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let whole = Mixture::load(&folder.join("m.yaml"), &options).unwrap();
    assert_eq!(
        whole.records().iter().filter(|record| record.part == Some((1.0, 2.5))).count(),
        whole.len()
    );
    let mut random = PythonRandom::new(2);
    let (mut loaded, mut failed) = (0, 0);
    for case in 0..cases() {
        let (name, _) = &seeds[case % 3];
        for (name, text) in &seeds {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let bytes = damage(&std::fs::read(folder.join(name)).unwrap(), 1, &mut random);
        std::fs::write(folder.join(name), &bytes).unwrap();
        if !name.ends_with("yaml") {
            std::fs::write(folder.join("m.yaml"), format!("datasets: [{{json_path: {name}}}]"))
                .unwrap();
        }
        let what = format!("case-{case}-{name}");
        match survive(&what, &bytes, || Mixture::load(&folder.join("m.yaml"), &options)) {
            Ok(_) => loaded += 1,
            Err(error) => {
                assert!(
                    error.to_string().contains(folder.to_str().unwrap()),
                    "{what}: {error} names no file"
                );
                failed += 1;
            }
        }
    }
    println!("{loaded} damaged mixtures were loaded, {failed} gave an error");
    assert!(loaded > 0 && failed > 0);
    check_memory();
}

/// What grows without end when it is believed.
#[test]
fn bombs_are_refused() {
    let (_keep, folder) = folder();
    let load = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        if !name.ends_with("yaml") {
            std::fs::write(folder.join("m.yaml"), format!("datasets: [{{json_path: {name}}}]"))
                .unwrap();
        }
        let options = MixtureOptions { check_media: false, ..MixtureOptions::default() };
        let loaded =
            survive(name, text.as_bytes(), || Mixture::load(&folder.join("m.yaml"), &options));
        match loaded {
            Ok(mixture) => mixture.records()[0].broken.clone().unwrap(),
            Err(error) => error.to_string(),
        }
    };
    let deep = |depth: usize| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
    assert!(load("deep.json", &deep(100_000)).contains("recursion limit exceeded"));
    let line = format!("{{\"video\": \"a\", \"conversations\": [], \"x\": {}}}\n", deep(5000));
    assert!(load("deep.jsonl", &line).contains("deep.jsonl"));
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let nine = vec![format!("*a{}", i - 1); 9].join(", ");
        laughs
            .push_str(&["a", &i.to_string(), ": &a", &i.to_string(), " [", &nine, "]\n"].concat());
    }
    laughs += "datasets: *a11\n";
    assert!(load("m.yaml", &laughs).contains("m.yaml"));
    assert!(load("m.yaml", &"[".repeat(200_000)).contains("m.yaml"));

    // A PNG header that claims 60,000 x 60,000 pixels.
    let picture = folder.join("huge.png");
    common::write_picture(&picture, [1, 2, 3], 4);
    let mut bytes = std::fs::read(&picture).unwrap();
    for at in [16, 20] {
        bytes[at..at + 4].copy_from_slice(&60_000_u32.to_be_bytes());
    }
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&picture, &bytes).unwrap();
    let error =
        load_media(&picture, None, &FrameOptions::default(), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("60000 x 60000 pixels, above the limit"), "{error}");
    check_memory();
}

/// Files that a reader could wait on for ever.
#[cfg(unix)]
#[test]
fn what_could_block_is_refused() {
    let (_keep, folder) = folder();
    let pipe = folder.join("pipe.mp4");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (options, limits) = (FrameOptions::default(), Limits::default());
    for path in [pipe.as_path(), &folder, Path::new("/dev/zero")] {
        for kind in [ReadType::Decord, ReadType::Gif] {
            assert!(load_media(path, Some(kind), &options, &limits).is_err());
        }
        assert!(read_picture(path, &limits, Truncated::Refuse).is_err());
        assert!(Mixture::load(path, &MixtureOptions::default()).is_err());
    }
}

/// The check sum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
