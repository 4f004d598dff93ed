//! Pictures as Pillow and `OpenCV` read them, through every reader; each file is made here.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageBuffer, ImageFormat, Rgb};
use xcomp_data::media::picture::read_picture;
use xcomp_data::{DataError, FrameOptions, Limits, ReadType, Truncated, load_media};
use xcomp_tests::ffmpeg::has_ffmpeg;

#[path = "../../xcomp-data/tests/common/png.rs"]
mod png;
use png::chunk;

/// Side of the drawn pictures: frames of this size are not resized.
const SIDE: usize = 32;
/// Orientations with the place of the stored top left corner, the stored top right corner behind it, once it is shown.
const TURNS: [(u16, [(usize, usize); 2]); 8] = [
    (1, [(0, 0), (31, 0)]),
    (2, [(31, 0), (0, 0)]),
    (3, [(31, 31), (0, 31)]),
    (4, [(0, 31), (31, 31)]),
    (5, [(0, 0), (0, 31)]),
    (6, [(31, 0), (31, 31)]),
    (7, [(31, 31), (31, 0)]),
    (8, [(0, 31), (0, 0)]),
];

fn drawn() -> DynamicImage {
    let paint = |x: u32, y: u32| Rgb([(x * 8) as u8, (y * 8) as u8, ((x * y) % 256) as u8]);
    ImageBuffer::from_fn(SIDE as u32, SIDE as u32, paint).into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// One file alone, and in a folder of its own.
fn written(folder: &Path, name: &str, bytes: &[u8]) -> (PathBuf, PathBuf) {
    let (file, frames) = (folder.join(name), folder.join(format!("{name} frames")));
    std::fs::create_dir_all(&frames).unwrap();
    std::fs::write(&file, bytes).unwrap();
    std::fs::write(frames.join(name), bytes).unwrap();
    (file, frames)
}

fn single(path: &Path) -> Result<Vec<u8>, DataError> {
    read_picture(path, &Limits::default(), Truncated::Refuse).map(|picture| picture.pixels)
}

/// All frames, by the reader of a type.
fn frames(path: &Path, read_type: ReadType) -> Result<Vec<u8>, DataError> {
    let options = FrameOptions {
        fps: 1000.0,
        min_frames: 1,
        max_frames: 0,
        clip_frames: 1,
        image_size: SIDE,
        ..FrameOptions::default()
    };
    let (frames, ..) = load_media(path, Some(read_type), &options, &Limits::default())?;
    Ok(frames.pixels)
}

fn pixel(pixels: &[u8], (x, y): (usize, usize)) -> &[u8] {
    &pixels[3 * (y * SIDE + x)..][..3]
}

/// EXIF data with nothing but an orientation.
fn exif(orientation: u16, big: bool) -> Vec<u8> {
    let short = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let long = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let order: &[u8] = if big { b"MM" } else { b"II" };
    let entry = [short(0x112), short(3)].concat();
    let value = [short(orientation), short(0)].concat();
    [order, &short(42), &long(8), &short(1), &entry, &long(1), &value, &long(0)].concat()
}

fn jpeg_with_exif(orientation: u16, big: bool) -> Vec<u8> {
    let (bytes, exif) = (encoded(&drawn(), ImageFormat::Jpeg), exif(orientation, big));
    let length = (exif.len() as u16 + 8).to_be_bytes();
    [&bytes[..2], b"\xff\xe1", &length, b"Exif\0\0", &exif, &bytes[2..]].concat()
}

fn png_with_exif(orientation: u16, big: bool) -> Vec<u8> {
    let bytes = encoded(&drawn(), ImageFormat::Png);
    let header = 8 + 25;
    [&bytes[..header], &chunk(b"eXIf", &exif(orientation, big)), &bytes[header..]].concat()
}

/// Frames of a folder are turned as `cv2.imdecode` turns them; single pictures are not, as in Pillow's `convert("RGB")`.
#[test]
fn orientation_is_followed_in_frame_folders_alone() {
    let folder = tempfile::tempdir().unwrap();
    for ((orientation, corners), big) in
        TURNS.into_iter().flat_map(|turn| [(turn, false), (turn, true)])
    {
        let files = [
            ("f_1.jpg", jpeg_with_exif(orientation, big)),
            ("f_1.png", png_with_exif(orientation, big)),
        ];
        for (name, bytes) in files {
            let (file, frames_of) = written(folder.path(), name, &bytes);
            let stored = single(&file).unwrap();
            let shown = frames(&frames_of, ReadType::Img).unwrap();
            for (at, corner) in [(0, 0), (31, 0)].into_iter().zip(corners) {
                assert_eq!(pixel(&stored, at), pixel(&shown, corner), "{name} {orientation}");
            }
            assert_eq!(stored == shown, orientation == 1, "{name} {orientation}");
        }
    }
    for orientation in [0, 9, 300] {
        let (file, frames_of) =
            written(folder.path(), "f_2.jpg", &jpeg_with_exif(orientation, true));
        assert_eq!(single(&file).unwrap(), frames(&frames_of, ReadType::Img).unwrap());
    }
}

/// A picture of which a part is missing is refused by every reader; one that lacks its end mark alone is read.
#[test]
fn cut_pictures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], is_read: bool, case: &str| {
        let (file, frames_of) = written(folder.path(), name, bytes);
        for result in [single(&file), frames(&frames_of, ReadType::Img)] {
            let message = result.err().map(|error| error.to_string());
            match message {
                None => assert!(is_read, "{case} is read"),
                Some(message) => {
                    assert!(!is_read && message.contains("truncated"), "{case}: {message}");
                }
            }
        }
    };
    let mut jpegs = vec![("baseline".to_owned(), encoded(&drawn(), ImageFormat::Jpeg))];
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xcomp-data/tests/jpeg");
    for name in ["baseline_420", "progressive_420", "progressive_grey", "restarts_420", "grey"] {
        jpegs.push((name.to_owned(), std::fs::read(data.join(format!("{name}.jpg"))).unwrap()));
    }
    for (name, bytes) in jpegs {
        for missing in 0..=2 {
            check(
                "f_1.jpg",
                &bytes[..bytes.len() - missing],
                true,
                &format!("{name} without {missing}"),
            );
        }
        check("f_1.jpg", &[&bytes[..], b"more"].concat(), true, &format!("{name} and more"));
        for parts in 1..8 {
            let (kept, case) = (bytes.len() * (parts + 8) / 16, format!("{parts} parts of {name}"));
            check("f_1.jpg", &bytes[..kept], false, &case);
        }
    }
    let bytes = encoded(&drawn(), ImageFormat::Png);
    for missing in [0, 1, 8, 11, 12] {
        check("f_1.png", &bytes[..bytes.len() - missing], true, &format!("png without {missing}"));
    }
    for missing in [24, 60, 200, 1000] {
        check("f_1.png", &bytes[..bytes.len() - missing], false, &format!("png without {missing}"));
    }
}

/// Of 16 bits the high byte is taken; Pillow limits greys to 255 instead, and `OpenCV` does not.
#[test]
fn sixteen_bits_become_eight_as_in_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let value = |at: u32| (at * 131 + 127) as u16;
    let high = |at: u32| (value(at) >> 8) as u8;
    let write = |name: &str, picture: DynamicImage| {
        let (file, frames_of) = written(folder.path(), name, &encoded(&picture, ImageFormat::Png));
        (single(&file).unwrap(), frames(&frames_of, ReadType::Img).unwrap())
    };
    let number = |x: u32, y: u32| y * SIDE as u32 + x;
    let side = SIDE as u32;
    let all = 0..side * side;
    let expect: Vec<u8> =
        all.clone().flat_map(|at| [high(at), high(at + 1), high(at + 2)]).collect();
    let colour = |x, y| [0, 1, 2].map(|channel| value(number(x, y) + channel));
    let rgb = ImageBuffer::from_fn(side, side, |x, y| Rgb(colour(x, y)));
    assert_eq!(write("f_1.png", rgb.into()), (expect.clone(), expect.clone()));
    let rgba = ImageBuffer::from_fn(side, side, |x, y| {
        let [r, g, b] = colour(x, y);
        image::Rgba([r, g, b, value(x)])
    });
    assert_eq!(write("f_2.png", rgba.into()), (expect.clone(), expect));
    let grey = ImageBuffer::from_fn(side, side, |x, y| image::Luma([value(number(x, y))]));
    let highs: Vec<u8> = all.clone().flat_map(|at| [high(at); 3]).collect();
    let limited: Vec<u8> = all.flat_map(|at| [value(at).min(255) as u8; 3]).collect();
    assert_eq!(write("f_3.png", grey.into()), (limited, highs.clone()));
    let grey_alpha =
        ImageBuffer::from_fn(side, side, |x, y| image::LumaA([value(number(x, y)), value(y)]));
    assert_eq!(write("f_4.png", grey_alpha.into()), (highs.clone(), highs));
}

/// Left, top, side, number in the palette, transparent number and disposal of a frame.
type Square = (u16, u16, u16, u8, Option<u8>, u8);

/// A gif of squares of one colour each.
fn gif(palette: [[u8; 3]; 4], frames: &[Square]) -> Vec<u8> {
    let side = (SIDE as u16).to_le_bytes();
    let mut bytes = [b"GIF89a", &side[..], &side, &[0x81, 1, 0], palette.as_flattened()].concat();
    for &(left, top, size, number, transparent, disposal) in frames {
        let flags = disposal << 2 | u8::from(transparent.is_some());
        bytes.extend([0x21, 0xf9, 4, flags, 10, 0, transparent.unwrap_or(0), 0, 0x2c]);
        bytes.extend([left, top, size, size].iter().flat_map(|n| n.to_le_bytes()));
        // Codes of three bits, a clear code (4) before every second pixel, so that none gets longer; 5 ends.
        let pixels = usize::from(size) * usize::from(size);
        let codes = (0..pixels).flat_map(|at| {
            let clear = (at % 2 == 0).then_some(4);
            clear.into_iter().chain([number])
        });
        let mut packed = Vec::new();
        for (at, code) in codes.chain([5]).enumerate() {
            packed.resize((3 * at + 3).div_ceil(8), 0);
            let bits = u16::from(code) << (3 * at % 8);
            packed[3 * at / 8] |= bits as u8;
            if bits > 255 {
                packed[3 * at / 8 + 1] |= (bits >> 8) as u8;
            }
        }
        bytes.extend([0, 2]); // no palette of its own; codes begin with two bits
        for block in packed.chunks(255) {
            bytes.push(block.len() as u8);
            bytes.extend(block);
        }
        bytes.push(0);
    }
    bytes.push(0x3b);
    bytes
}

const RED: [u8; 3] = [200, 0, 0];
const GREEN: [u8; 3] = [0, 200, 0];
const BLUE: [u8; 3] = [0, 0, 200];
const WHITE: [u8; 3] = [255; 3];

/// Where a gif is transparent it shows what its palette holds there, as Pillow's `convert("RGB")` of every frame.
#[test]
fn transparent_gifs_show_the_colour_of_their_palette() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    // Number 3 is transparent. A point inside all frames, one inside the second alone, one outside all.
    let places = [(4, 4), (12, 4), (30, 30)];
    let check = |disposal: u8, transparent: Option<u8>, expect: [[[u8; 3]; 3]; 3]| {
        let first = (0, 0, 8, 0, transparent, disposal);
        let second = (2, 2, 16, 2, transparent, disposal);
        let third = (0, 0, 32, 3, Some(3), 0);
        std::fs::write(&path, gif([RED, GREEN, BLUE, WHITE], &[first, second, third])).unwrap();
        let pixels = frames(&path, ReadType::Gif).unwrap();
        for (frame, expect) in pixels.chunks(3 * SIDE * SIDE).zip(expect) {
            let got = places.map(|place| pixel(frame, place));
            assert_eq!(got, expect.each_ref().map(|colour| &colour[..]), "disposal {disposal}");
        }
        assert_eq!(single(&path).unwrap(), pixels[..3 * SIDE * SIDE], "as a single picture");
    };
    let kept = [[RED, WHITE, WHITE], [BLUE, BLUE, WHITE], [BLUE, BLUE, WHITE]];
    check(0, Some(3), kept);
    check(1, Some(3), kept);
    check(2, Some(3), [[RED, WHITE, WHITE], [BLUE, BLUE, WHITE], [WHITE; 3]]);
    check(3, Some(3), [[RED, WHITE, WHITE], [BLUE, BLUE, WHITE], [WHITE; 3]]);
    // Nothing is transparent: the ground is the first colour, what is wiped off becomes the background (green).
    check(1, None, [[RED; 3], [BLUE, BLUE, RED], [BLUE, BLUE, RED]]);
    check(2, None, [[RED; 3], [BLUE, BLUE, RED], [GREEN, GREEN, RED]]);
    check(3, None, [[RED; 3], [BLUE, BLUE, RED], [RED; 3]]);
}

/// One picture, whoever reads it.
#[test]
fn all_readers_give_the_same_pixels() {
    let test = "all_readers_give_the_same_pixels";
    let folder = tempfile::tempdir().unwrap();
    let pictures = [drawn(), drawn().to_luma8().into(), drawn().to_rgba8().into()];
    for (at, picture) in pictures.iter().enumerate() {
        let (file, frames_of) =
            written(folder.path(), &format!("f_{at}.png"), &encoded(picture, ImageFormat::Png));
        let expect = picture.to_rgb8().into_raw();
        assert!(single(&file).unwrap() == expect, "{at}: single");
        assert!(frames(&frames_of, ReadType::Frame).unwrap() == expect, "{at}: folder");
        if has_ffmpeg(test) {
            assert!(frames(&file, ReadType::Decord).unwrap() == expect, "{at}: FFmpeg");
        }
    }
    let (file, frames_of) =
        written(folder.path(), "f_9.jpg", &encoded(&drawn(), ImageFormat::Jpeg));
    assert!(single(&file).unwrap() == frames(&frames_of, ReadType::Img).unwrap());
    let path = folder.path().join("a.gif");
    std::fs::write(
        &path,
        gif([RED, GREEN, BLUE, WHITE], &[(0, 0, 20, 2, Some(3), 1), (4, 4, 20, 1, Some(3), 1)]),
    )
    .unwrap();
    let all = frames(&path, ReadType::Gif).unwrap();
    assert!(single(&path).unwrap() == all[..3 * SIDE * SIDE]);
    assert!(
        frames(&path, ReadType::Decord).unwrap() == all,
        "white is transparent for FFmpeg, too"
    );
}

/// What is not read is named by its kind, as a picture and as a video.
#[test]
fn kinds_that_are_not_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let kinds: [(&[u8], &str); 6] = [
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "TIFF"),
        (b"CWS\x08\x20\0\0\0\x78\x9c\0\0\0\0", "SWF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\x01\0\x08\0\x03", "Photoshop"),
        (b"<!DOCTYPE html><html><title>404</title></html>", "HTML"),
        (b"%PDF-1.4\n", "PDF"),
    ];
    for (bytes, kind) in kinds {
        std::fs::write(&path, bytes).unwrap();
        let start = format!("this kind of file ({kind}) is not read; read are ");
        for result in [single(&path), frames(&path, ReadType::Decord)] {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(&start), "{message}");
        }
    }
}
