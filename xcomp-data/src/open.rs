//! Opening foreign files: only regular ones, because a pipe or a device could block for ever.

use std::fs::File;
use std::path::Path;

use crate::DataError;

/// Opens a regular file for reading.
pub(crate) fn open_regular(path: &Path) -> Result<File, DataError> {
    let read_error = |source| DataError::read(path, source);
    if !std::fs::metadata(path).map_err(read_error)?.is_file() {
        let message = "not a regular file".to_owned();
        return Err(DataError::Unsupported { path: path.to_owned(), message });
    }
    File::open(path).map_err(read_error)
}

/// Reads a regular file of at most `max_bytes` whole.
pub(crate) fn read_regular(path: &Path, max_bytes: u64) -> Result<Vec<u8>, DataError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let mut file = open_regular(path)?.take(max_bytes + 1);
    file.read_to_end(&mut bytes).map_err(|source| DataError::read(path, source))?;
    if bytes.len() as u64 <= max_bytes {
        return Ok(bytes);
    }
    let message = format!("larger than {max_bytes} bytes");
    Err(DataError::Unsupported { path: path.to_owned(), message })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_could_block_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.mp4");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let message = open_regular(path).unwrap_err().to_string();
            assert!(message.ends_with("not a regular file"), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert!(read_regular(&path, 4).unwrap_err().to_string().ends_with("larger than 4 bytes"));
    }
}
