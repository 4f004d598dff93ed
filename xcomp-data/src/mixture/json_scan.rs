//! Finds the records of an annotation file without holding it: byte ranges of the elements of one array, or of lines.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use crate::DataError;
use crate::open::open_regular;
use crate::python::json::MARK;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What foreign JSON may not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonLimits {
    /// Longest single record, in bytes; a longer one is a broken sample.
    pub record_bytes: u64,
    /// Most records of one file.
    pub records: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self { record_bytes: 64 << 20, records: 100_000_000 }
    }
}

/// Byte ranges of the records of a `.json` array or of a `.jsonl` file.
///
/// # Errors
/// When the file cannot be read, its suffix is neither, its brackets do not match, or a limit is passed.
pub fn scan_records(path: &Path, limits: &JsonLimits) -> Result<Vec<Range<u64>>, DataError> {
    let suffix = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match suffix.as_str() {
        "json" => scan_file(path, ArrayScan::new(*limits)),
        "jsonl" => scan_file(path, LineScan::new(*limits)),
        _ => Err(DataError::Json {
            path: path.to_owned(),
            offset: 0,
            message: format!(
                "suffix `{suffix}` is neither `json` (one array) nor `jsonl` (one record a line)"
            ),
        }),
    }
}

/// Reads the bytes of one record.
pub(crate) fn read_range(
    file: &mut File,
    path: &Path,
    range: &Range<u64>,
) -> Result<Vec<u8>, DataError> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.seek(SeekFrom::Start(range.start))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|source| DataError::read(path, source))?;
    Ok(bytes)
}

/// Tells the lines of growing places of a file.
pub(crate) struct Lines {
    file: File,
    at: u64,
    line: usize,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        Ok(Self { file: open_regular(path)?, at: 0, line: 1 })
    }

    /// The line of a byte, counted from 1; no byte before that of the last call.
    pub(crate) fn of(&mut self, byte: u64) -> std::io::Result<usize> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.at < byte {
            let wanted = chunk.len().min((byte - self.at) as usize);
            let count = self.file.read(&mut chunk[..wanted])?;
            if count == 0 {
                break;
            }
            self.line += chunk[..count].split(|byte| *byte == b'\n').count() - 1;
            self.at += count as u64;
        }
        Ok(self.line)
    }
}

/// Puts a file behind the byte order mark that Windows programs write, and tells its length.
fn mark_bytes(file: &mut File) -> std::io::Result<u64> {
    let mut first = Vec::new();
    file.by_ref().take(MARK.len() as u64).read_to_end(&mut first)?;
    let length = if first == MARK { MARK.len() as u64 } else { 0 };
    file.seek(SeekFrom::Start(length))
}

/// A scan fed with consecutive chunks of a file.
trait Scan {
    /// The first byte that is fed, behind a byte order mark.
    fn starts_at(&mut self, _: u64) {}
    fn feed(&mut self, chunk: &[u8], offset: u64) -> Result<(), (u64, String)>;
    fn finish(self, length: u64) -> Result<Vec<Range<u64>>, (u64, String)>;
}

fn scan_file(path: &Path, mut scan: impl Scan) -> Result<Vec<Range<u64>>, DataError> {
    let wrong = |(offset, message)| DataError::Json { path: path.to_owned(), offset, message };
    let mut file = open_regular(path)?;
    let mut offset = mark_bytes(&mut file).map_err(|source| DataError::read(path, source))?;
    scan.starts_at(offset);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk).map_err(|source| DataError::read(path, source))?;
        if count == 0 {
            return scan.finish(offset).map_err(wrong);
        }
        scan.feed(&chunk[..count], offset).map_err(wrong)?;
        offset += count as u64;
    }
}

/// Follows strings and brackets of one top-level array.
struct ArrayScan {
    limits: JsonLimits,
    depth: usize,
    in_string: bool,
    escaped: bool,
    closed: bool,
    start: Option<u64>,
    ranges: Vec<Range<u64>>,
}

impl ArrayScan {
    fn new(limits: JsonLimits) -> Self {
        Self {
            limits,
            depth: 0,
            in_string: false,
            escaped: false,
            closed: false,
            start: None,
            ranges: Vec::new(),
        }
    }

    /// Skips to the end of a string; gives the number of bytes taken.
    fn skip_string(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.escaped {
            self.escaped = false;
            at = 1;
        }
        while let Some(found) =
            bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'"' || b == b'\\'))
        {
            at += found + 1;
            if bytes[at - 1] == b'"' {
                self.in_string = false;
                return at;
            }
            if at == bytes.len() {
                self.escaped = true;
                return at;
            }
            at += 1;
        }
        bytes.len()
    }

    fn open(&mut self, byte: u8, at: u64) -> Result<(), (u64, String)> {
        if self.depth == 0 && (byte != b'[' || self.closed) {
            return Err((
                at,
                "a `.json` annotation is one array of records; use `.jsonl` for one record a line"
                    .into(),
            ));
        }
        if self.depth == 1 {
            self.begin(at);
        }
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, at: u64) -> Result<(), (u64, String)> {
        if self.depth == 0 {
            return Err((at, "a bracket closes that was never opened".into()));
        }
        if self.depth == 1 {
            self.end(at)?;
            self.closed = true;
        }
        self.depth -= 1;
        Ok(())
    }

    fn begin(&mut self, at: u64) {
        self.start.get_or_insert(at);
    }

    fn end(&mut self, at: u64) -> Result<(), (u64, String)> {
        let Some(start) = self.start.take() else { return Ok(()) };
        if self.ranges.len() == self.limits.records {
            return Err((start, format!("more than {} records", self.limits.records)));
        }
        self.ranges.push(start..at);
        Ok(())
    }
}

impl Scan for ArrayScan {
    fn feed(&mut self, chunk: &[u8], offset: u64) -> Result<(), (u64, String)> {
        let mut at = 0;
        while at < chunk.len() {
            if self.in_string {
                at += self.skip_string(&chunk[at..]);
                continue;
            }
            let here = offset + at as u64;
            match chunk[at] {
                b'"' => {
                    self.in_string = true;
                    if self.depth == 1 {
                        self.begin(here);
                    }
                }
                byte @ (b'[' | b'{') => self.open(byte, here)?,
                b']' | b'}' => self.close(here)?,
                b',' if self.depth == 1 => self.end(here)?,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if self.depth == 1 => self.begin(here),
                _ if self.depth == 0 => return Err((here, "not a JSON array".into())),
                _ => {}
            }
            at += 1;
        }
        Ok(())
    }

    fn finish(self, length: u64) -> Result<Vec<Range<u64>>, (u64, String)> {
        if self.depth > 0 || self.in_string {
            return Err((length, "the file ends inside a record; it is truncated".into()));
        }
        Ok(self.ranges)
    }
}

/// Cuts at line breaks; blank lines are no records.
struct LineScan {
    limits: JsonLimits,
    start: u64,
    blank: bool,
    ranges: Vec<Range<u64>>,
}

impl LineScan {
    fn new(limits: JsonLimits) -> Self {
        Self { limits, start: 0, blank: true, ranges: Vec::new() }
    }

    fn end(&mut self, at: u64) -> Result<(), (u64, String)> {
        if !self.blank {
            if self.ranges.len() == self.limits.records {
                return Err((self.start, format!("more than {} records", self.limits.records)));
            }
            self.ranges.push(self.start..at);
        }
        self.start = at + 1;
        self.blank = true;
        Ok(())
    }
}

impl Scan for LineScan {
    fn starts_at(&mut self, at: u64) {
        self.start = at;
    }

    fn feed(&mut self, chunk: &[u8], offset: u64) -> Result<(), (u64, String)> {
        let mut rest = 0;
        while rest < chunk.len() {
            let line = &chunk[rest..];
            let length = line.iter().position(|&b| b == b'\n').unwrap_or(line.len());
            self.blank &= line[..length].iter().all(u8::is_ascii_whitespace);
            rest += length;
            if rest < chunk.len() {
                self.end(offset + rest as u64)?;
                rest += 1;
            }
        }
        Ok(())
    }

    fn finish(mut self, length: u64) -> Result<Vec<Range<u64>>, (u64, String)> {
        self.end(length)?;
        Ok(self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a text in chunks of every size, so that each state crosses a border.
    fn array(text: &str) -> Result<Vec<&str>, String> {
        let mut results = (1..=text.len().max(1)).map(|size| {
            let mut scan = ArrayScan::new(JsonLimits::default());
            let fed = text
                .as_bytes()
                .chunks(size)
                .enumerate()
                .try_for_each(|(i, chunk)| scan.feed(chunk, (i * size) as u64));
            fed.and_then(|()| scan.finish(text.len() as u64)).map_err(|(_, message)| message)
        });
        let first = results.next().unwrap();
        assert!(results.all(|other| other == first), "the chunk size changes the result of {text}");
        first.map(|ranges| {
            ranges.iter().map(|r| text[r.start as usize..r.end as usize].trim()).collect()
        })
    }

    #[test]
    fn finds_the_elements_of_an_array() {
        assert_eq!(array("[]").unwrap(), [""; 0]);
        assert_eq!(
            array(r#"[{"a": "x]\",\\"}, {"b": [1, 2]} ]"#).unwrap(),
            [r#"{"a": "x]\",\\"}"#, r#"{"b": [1, 2]}"#]
        );
        assert_eq!(array(r#"[1, "two", null]"#).unwrap(), ["1", "\"two\"", "null"]);
    }

    #[test]
    fn refuses_what_is_not_one_array() {
        for wrong in ["{\"a\": 1}", "[{\"a\": 1}", "[\"x", "]", "[] []", "x"] {
            assert!(array(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, text: &str, want: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, [MARK, text.as_bytes()].concat()).unwrap();
            let ranges = scan_records(&path, &JsonLimits::default()).unwrap();
            let mut file = File::open(&path).unwrap();
            let read = read_range(&mut file, &path, &ranges[0]).unwrap();
            assert_eq!(String::from_utf8(read).unwrap().trim(), want);
        };
        check("a.jsonl", "{\"a\": 1}\n{}", "{\"a\": 1}");
        check("a.json", "[{\"a\": 1}]", "{\"a\": 1}");
        std::fs::write(folder.path().join("b.json"), b"\xbb[]").unwrap();
        assert!(scan_records(&folder.path().join("b.json"), &JsonLimits::default()).is_err());
    }

    #[test]
    fn finds_lines() {
        let text = b"{}\n\n  \n{\"a\": 1}\r\n{}";
        for size in 1..text.len() {
            let mut scan = LineScan::new(JsonLimits::default());
            for (i, chunk) in text.chunks(size).enumerate() {
                scan.feed(chunk, (i * size) as u64).unwrap();
            }
            assert_eq!(scan.finish(text.len() as u64).unwrap(), [0..2, 7..16, 17..19]);
        }
    }
}
