//! Small material made by code: a byte-level tokenizer, pictures, mixtures.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part; helpers fail like tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use xcomp_data::{FrameOptions, LoadOptions, Mixture, MixtureOptions, PythonRandom, Tokenizer};

/// The byte-level alphabet of GPT-2: printable bytes stand for themselves, others for letters from U+0100 on.
fn byte_letters() -> Vec<char> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    let mut letter = |byte: u32| {
        if printable(byte) {
            return char::from_u32(byte).unwrap();
        }
        next += 1;
        char::from_u32(next - 1).unwrap()
    };
    (0..256).map(&mut letter).collect()
}

/// A tokenizer of single bytes with the tokens of the chat template.
pub(crate) fn tiny_tokenizer(folder: &Path) -> Arc<Tokenizer> {
    let vocab: BTreeMap<String, usize> = byte_letters()
        .into_iter()
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), id))
        .collect();
    let added: Vec<Value> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        .iter()
        .enumerate()
        .map(|(i, token)| {
            json!({"id": 256 + i, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let file = json!({
        "version": "1.0", "added_tokens": added, "pre_tokenizer": level, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, file.to_string()).unwrap();
    Arc::new(Tokenizer::from_file(&path).unwrap())
}

/// A picture of one colour as PNG.
pub(crate) fn write_picture(path: &Path, colour: [u8; 3], size: u32) {
    let pixels: Vec<u8> = colour.iter().copied().cycle().take((3 * size * size) as usize).collect();
    image::save_buffer(path, &pixels, size, size, image::ColorType::Rgb8).unwrap();
}

/// `count` records that each show a small picture of their own colour; those for which `broken` says so have no file.
pub(crate) fn picture_mixture(
    folder: &Path,
    count: usize,
    broken: impl Fn(usize) -> bool,
) -> Arc<Mixture> {
    // The mixture shuffles its file: record i has to lie where the shuffle takes it from.
    let mut places: Vec<usize> = (0..count).collect();
    PythonRandom::new(12345).shuffle(&mut places);
    let words = |i: usize| "word ".repeat(1 + i * 7 % 23);
    let mut records = vec![Value::Null; count];
    for (i, place) in places.into_iter().enumerate() {
        if !broken(i) {
            write_picture(&folder.join(format!("p{i}.png")), [i as u8, (i >> 8) as u8, 7], 4);
        }
        records[place] = json!({"id": i, "image": format!("p{i}.png"), "conversations": [
            {"from": "human", "value": format!("<image>\nWhat is {i}?")},
            {"from": "gpt", "value": words(i)},
        ]});
    }
    std::fs::write(folder.join("a.json"), Value::Array(records).to_string()).unwrap();
    let yaml = folder.join("mixture.yaml");
    std::fs::write(&yaml, "datasets:\n  - json_path: a.json\n    tag: pictures\n").unwrap();
    let options = MixtureOptions { check_media: false, ..MixtureOptions::default() };
    Arc::new(Mixture::load(&yaml, &options).unwrap())
}

/// Frames of 8 pixels, and few of them.
pub(crate) fn small_options(folder: &Path) -> LoadOptions {
    LoadOptions {
        frames: FrameOptions {
            image_size: 8,
            min_frames: 8,
            max_frames: 16,
            ..FrameOptions::default()
        },
        ..LoadOptions::new(tiny_tokenizer(folder))
    }
}

/// A place for files of one test.
pub(crate) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}
