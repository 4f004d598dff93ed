//! Files of lines of JSON that grow: whatever ends a process in a write, readers and later writers see whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// A file to which values are appended, one a line.
#[derive(Debug)]
pub struct JsonLines(File);

impl JsonLines {
    /// Opens or creates a file, and mends its end: a kill, a full disk or a lost machine can leave half a line there.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.is_file() {
            mend(&file, &std::fs::read(path)?)?;
        }
        Ok(Self(file))
    }

    /// Appends a value; where the disk takes only a part of its line, that part is taken back.
    ///
    /// # Errors
    /// If the disk refuses.
    ///
    /// # Panics
    /// Never on plain data.
    pub fn push(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value).expect("plain data is JSON");
        line.push(b'\n');
        let before = self.0.metadata()?;
        self.0.write_all(&line).inspect_err(|_| {
            if before.is_file() {
                // What cannot be cut off now is cut off when the file is opened again.
                self.0.set_len(before.len()).unwrap_or_default();
            }
        })
    }
}

/// Ends a last line that is whole, and cuts off any other.
fn mend(file: &File, bytes: &[u8]) -> io::Result<()> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let rest = &bytes[whole..];
    if rest.is_empty() {
        return Ok(());
    }
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(rest).is_ok() {
        return (&*file).write_all(b"\n");
    }
    file.set_len(whole as u64)
}

/// What such a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines<T> {
    /// The lines that can be read, in order.
    pub values: Vec<T>,
    /// Numbers of the others, from 1: half a line, and what a lost machine left. Empty lines are none.
    pub broken: Vec<usize>,
}

/// Reads the lines of such a file as `T`.
///
/// # Errors
/// If the file cannot be read.
pub fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Lines<T>> {
    let bytes = std::fs::read(path)?;
    let mut lines = Lines { values: vec![], broken: vec![] };
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(value) => lines.values.push(value),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => lines.broken.push(at + 1),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a file that ends in `end` holds after one more value.
    fn after(end: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, [b"{\"a\":1}\n", end].concat()).unwrap();
        JsonLines::open(&path).unwrap().push(&json!({"a": 3})).unwrap();
        let values = read_lines::<Value>(&path).unwrap().values;
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(values.len(), bytes.split(|byte| *byte == b'\n').count() - 1, "whole lines");
        bytes
    }

    #[test]
    fn half_a_line_is_cut_off_and_a_whole_one_ended() {
        let cut = b"{\"a\":1}\n{\"a\":3}\n";
        let accent = "{\"a\":\"é".as_bytes();
        let halves: [&[u8]; 7] =
            [b"", b"{", b"{\"a\":", b"{\"a\":2", b"2", &[0; 9], &accent[..accent.len() - 1]];
        for half in halves {
            assert_eq!(after(half), cut, "{half:?}");
        }
        assert_eq!(after(b"{\"a\":2}"), b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    }

    #[test]
    fn a_line_that_is_no_text_hides_no_other_and_is_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, b"{\"a\":1}\n{\"a\":\"\xc3\n\n\0\0\0{\"a\":2}\n{\"a\":3}\n{")
            .unwrap();
        let lines = read_lines::<Value>(&path).unwrap();
        assert_eq!(lines.values, [json!({"a": 1}), json!({"a": 3})]);
        assert_eq!(lines.broken, [2, 4, 6]);
    }
}
