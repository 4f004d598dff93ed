//! Packet scans kept on disk, so that a later run need not read whole files to learn their frames.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::DataError;

/// Changes when the scan or its form on disk changes; older entries are then read anew.
const VERSION: u32 = 1;

/// A folder of scans, one small file for each media file, found by path, length and time of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexCache {
    folder: PathBuf,
}

/// One file of the cache.
#[derive(Serialize, Deserialize)]
struct Entry {
    version: u32,
    path: PathBuf,
    length: u64,
    changed_ns: u128,
    /// Differences of neighbouring time stamps, with how often each repeats: short where frames are even.
    pts: Runs,
    keys: Runs,
    index: VideoIndex,
}

/// A first number, then runs of equal differences.
#[derive(Serialize, Deserialize, Default)]
struct Runs {
    first: i64,
    steps: Vec<(i64, u32)>,
}

#[cfg(feature = "video")]
use crate::media::decode::VideoIndex;
#[cfg(not(feature = "video"))]
use no_video::VideoIndex;

/// Without a video decoder there is nothing to keep.
#[cfg(not(feature = "video"))]
mod no_video {
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize)]
    pub(crate) struct VideoIndex {
        pub(crate) pts: Vec<i64>,
        pub(crate) keys: Vec<i64>,
        pub(crate) frames: usize,
        pub(crate) fps: f64,
    }
}

impl IndexCache {
    /// Uses this folder, and makes it where it does not exist.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| DataError::Write { path: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The scan of an unchanged file; `None` when it is not here or cannot be read.
    pub(crate) fn get(&self, path: &Path) -> Option<VideoIndex> {
        let entry: Entry = serde_json::from_slice(&std::fs::read(self.file(path)).ok()?).ok()?;
        let (length, changed_ns) = stamp(path)?;
        if (entry.version, entry.length, entry.changed_ns) != (VERSION, length, changed_ns)
            || entry.path != path
        {
            return None;
        }
        let index =
            VideoIndex { pts: entry.pts.expand()?, keys: entry.keys.expand()?, ..entry.index };
        // A damaged entry must not lead to wrong frames.
        let whole = index.pts.is_empty() || index.pts.len() == index.frames;
        whole.then_some(index)
    }

    /// Frames and frames per second of an unchanged file.
    pub(crate) fn frames_and_rate(&self, path: &Path) -> Option<(usize, f64)> {
        let index = self.get(path)?;
        (index.fps > 0.0).then_some((index.frames, index.fps))
    }

    /// Keeps a scan; written aside and moved into place, so that a reader never sees half of it.
    #[cfg_attr(not(feature = "video"), expect(dead_code, reason = "only videos are scanned"))]
    pub(crate) fn put(&self, path: &Path, index: &VideoIndex) -> Result<(), DataError> {
        let Some((length, changed_ns)) = stamp(path) else { return Ok(()) };
        let short = VideoIndex { pts: Vec::new(), keys: Vec::new(), ..index.clone() };
        let (pts, keys) = (Runs::of(&index.pts), Runs::of(&index.keys));
        let entry = Entry {
            version: VERSION,
            path: path.to_owned(),
            length,
            changed_ns,
            pts,
            keys,
            index: short,
        };
        let text = serde_json::to_vec(&entry).expect("an index is plain data");
        let file = self.file(path);
        let aside = file.with_extension(format!("{:?}.part", std::thread::current().id()));
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, &file))
            .map_err(|source| DataError::Write { path: file, source })
    }

    fn file(&self, path: &Path) -> PathBuf {
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        self.folder.join(format!("{}.json", &crate::hash::hex(&digest)[..32]))
    }
}

/// Length and time of change of a file.
fn stamp(path: &Path) -> Option<(u64, u128)> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), changed.as_nanos()))
}

impl Runs {
    fn of(numbers: &[i64]) -> Self {
        let mut steps: Vec<(i64, u32)> = Vec::new();
        for pair in numbers.windows(2) {
            let step = pair[1].wrapping_sub(pair[0]);
            match steps.last_mut() {
                Some((last, count)) if *last == step && *count < u32::MAX => *count += 1,
                _ => steps.push((step, 1)),
            }
        }
        // An empty list is a run of -1 numbers: no first one.
        if numbers.is_empty() {
            steps.push((0, 0));
        }
        Self { first: numbers.first().copied().unwrap_or(0), steps }
    }

    /// The numbers again; `None` when there are too many to be true.
    fn expand(&self) -> Option<Vec<i64>> {
        if self.steps.first() == Some(&(0, 0)) {
            return Some(Vec::new());
        }
        let count: u64 = self.steps.iter().map(|&(_, count)| u64::from(count)).sum();
        if count > 1 << 28 {
            return None;
        }
        let mut numbers = vec![self.first];
        for &(step, count) in &self.steps {
            for _ in 0..count {
                let last = *numbers.last().expect("there is a first number");
                numbers.push(last.wrapping_add(step));
            }
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_give_back_the_numbers() {
        for numbers in [vec![], vec![5], vec![0, 512, 1024, 1536, 1600], vec![-3, -3]] {
            assert_eq!(Runs::of(&numbers).expand().unwrap(), numbers);
        }
        assert_eq!(Runs::of(&(0..1000).map(|i| i * 512).collect::<Vec<_>>()).steps.len(), 1);
    }
}
