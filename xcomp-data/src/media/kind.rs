//! Kinds of file by their first bytes, to say which one is not read.

use std::path::Path;

use crate::DataError;

/// How many first bytes tell the kind.
pub(crate) const PROBE_BYTES: usize = 4096;

/// Name, where the mark stands, and the mark.
type Mark = (&'static str, usize, &'static [u8]);

/// Kinds that are met in data sets and not read, by what every such file holds.
const OTHER: [Mark; 26] = [
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("BigTIFF", 0, b"II+\0"),
    ("BigTIFF", 0, b"MM\0+"),
    ("SWF", 0, b"FWS"),
    ("SWF", 0, b"CWS"),
    ("SWF", 0, b"ZWS"),
    ("HEIF", 4, b"ftypheic"),
    ("HEIF", 4, b"ftypheix"),
    ("HEIF", 4, b"ftypmif1"),
    ("HEIF", 4, b"ftypmsf1"),
    ("AVIF", 4, b"ftypavif"),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XL", 4, b"JXL \r\n\x87\n"),
    ("JPEG 2000", 4, b"jP  \r\n\x87\n"),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("Photoshop", 0, b"8BPS\0"),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
    ("Radiance HDR", 0, b"#?RADIANCE"),
    ("icon", 0, b"\0\0\x01\0"),
    ("DDS", 0, b"DDS "),
    ("PDF", 0, b"%PDF-"),
    ("ZIP", 0, b"PK\x03\x04"),
    ("gzip", 0, b"\x1f\x8b\x08"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("RAR", 0, b"Rar!\x1a\x07"),
];

/// What text begins with that is a page in the place of a file, or a drawing.
const TEXT: [(&str, &str); 6] = [
    ("HTML", "<!doctype html"),
    ("HTML", "<html"),
    ("SVG", "<svg"),
    ("SVG", "<!doctype svg"),
    ("XML", "<?xml"),
    ("playlist", "#extm3u"),
];

/// The name of a kind that is not read.
pub(crate) fn name_of_other(start: &[u8]) -> Option<&'static str> {
    let has = |(_, at, mark): &Mark| start.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    OTHER.iter().find(|mark| has(mark)).map(|(name, ..)| *name).or_else(|| name_of_text(start))
}

fn name_of_text(start: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(start).trim_start_matches('\u{feff}').to_lowercase();
    let text = text.trim_start();
    let (name, _) = TEXT.iter().find(|(_, mark)| text.starts_with(mark))?;
    Some(if *name == "XML" && text.contains("<svg") { "SVG" } else { name })
}

/// The first bytes of a file; fewer where it is shorter.
pub(crate) fn start_of(path: &Path) -> Result<Vec<u8>, DataError> {
    use std::io::Read;
    let mut start = Vec::new();
    let mut file = crate::open::open_regular(path)?.take(PROBE_BYTES as u64);
    file.read_to_end(&mut start).map_err(|source| DataError::read(path, source))?;
    Ok(start)
}

/// The error that says which kinds are read instead.
pub(crate) fn not_read(path: &Path, kind: &str, read: &str) -> DataError {
    let message = format!("this kind of file ({kind}) is not read; read are {read}");
    DataError::Unsupported { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let check = |start: &[u8], expect| assert_eq!(name_of_other(start), expect, "{start:?}");
        check(b"MM\0*\0\0\0\x08", Some("TIFF"));
        check(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some("HEIF"));
        check(b"\xef\xbb\xbf\n <!DOCTYPE HTML>\n<title>404</title>", Some("HTML"));
        check(b"<?xml version=\"1.0\"?>\n<svg xmlns=\"\"/>", Some("SVG"));
        check(b"\0\0\0\x18ftypmp42", None);
        check(b"\xff\xd8\xff\xe0", None);
        check(b"", None);
    }
}
