//! Single pictures, and folders of frames.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Reader, Sink};
use crate::DataError;
use crate::frames::{Choice, FrameOptions, Sampling, Truncated, folder, one_fps, whole};
use crate::media::limits::Watch;
use crate::media::picture::{read_frame, read_picture};
use crate::media::rgb::Rgb;
use crate::open::read_regular;
use crate::resize::{Canvas, Fit, Picture, Resize, canvases};

/// Largest note beside a folder, in bytes.
const MAX_NOTE_BYTES: u64 = 1 << 20;

/// One picture: one frame, or as many as it has tiles.
pub(super) struct Single {
    path: PathBuf,
    truncated: Truncated,
    /// Side of a tile, if it is cut into tiles.
    tile: Option<usize>,
    most_tiles: usize,
    resize: Resize,
    watch: Watch,
    picture: OnceCell<Rgb>,
}

impl Single {
    pub(super) fn new(path: &Path, options: &FrameOptions, watch: Watch) -> Self {
        let tile = (options.fit == Fit::Tiles).then_some(options.image_size);
        let (truncated, resize) = (options.truncated, options.resize);
        let (path, most_tiles, picture) = (path.to_owned(), options.most_tiles, OnceCell::new());
        Self { path, truncated, tile, most_tiles, resize, watch, picture }
    }

    fn picture(&self) -> Result<&Rgb, DataError> {
        if self.picture.get().is_none() {
            let read = read_picture(&self.path, self.watch.limits(), self.truncated)?;
            return Ok(self.picture.get_or_init(|| read));
        }
        Ok(self.picture.get().expect("it has been read"))
    }

    fn canvas(&self, tile: usize) -> Result<Canvas, DataError> {
        let picture = self.picture()?;
        Ok(Canvas::of(picture.width, picture.height, &canvases(tile, self.most_tiles)))
    }
}

impl Reader for Single {
    fn choose(&self, _: Option<(f64, f64)>, _: &FrameOptions) -> Result<Choice, DataError> {
        let tiles = match self.tile {
            Some(tile) => self.canvas(tile)?.tiles(tile),
            None => 1,
        };
        Ok(Choice { indices: (0..tiles).collect(), first: 0, fps: 1.0, duration_s: 0.0 })
    }

    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError> {
        let picture = self.picture()?;
        let Some(side) = self.tile else {
            return numbers.iter().try_for_each(|_| sink(picture.view()));
        };
        let tiles = self.canvas(side)?.cut(picture.view(), side, self.resize);
        let tile = |number: usize| &tiles[3 * side * side * number..][..3 * side * side];
        numbers.iter().try_for_each(|number| sink(Picture::packed(side, side, tile(*number))))
    }
}

/// Pictures in order, taken as the frames of a video.
pub(super) struct Pictures {
    files: Vec<PathBuf>,
    fps: f64,
    duration_s: Option<f64>,
    truncated: Truncated,
    watch: Watch,
}

/// `<folder>.json`, which tells how long the video was (only in the `XComp` fork).
#[derive(Deserialize)]
struct FolderNote {
    duration: f64,
}

impl Pictures {
    /// Files in the order of the number before their suffix (`video_utils.py:319-342`), what a file manager left passed over.
    ///
    /// Files without such a number come first, in natural order (`2.png` before `10.png`); the reference leaves their order to the file system.
    pub(super) fn folder(
        path: &Path,
        truncated: Truncated,
        watch: Watch,
    ) -> Result<Self, DataError> {
        let read_error = |source| DataError::read(path, source);
        let mut numbered = Vec::new();
        for entry in std::fs::read_dir(path).map_err(read_error)? {
            let file = entry.map_err(read_error)?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !is_stray(&name) {
                numbered.push((frame_number(&file)?, natural_order(&name), file));
            }
        }
        numbered.sort_unstable();
        let files = numbered.into_iter().map(|(.., file)| file).collect();
        // TVQA's folders hold three frames a second; any other is taken for one a second.
        let is_tvqa = path.to_string_lossy().to_lowercase().contains("tvqa");
        let fps = if is_tvqa { 3.0 } else { 1.0 };
        Ok(Self { files, fps, duration_s: noted_duration(path)?, truncated, watch })
    }
}

fn noted_duration(folder: &Path) -> Result<Option<f64>, DataError> {
    let mut name = folder.components().as_path().as_os_str().to_owned();
    name.push(".json");
    let note = PathBuf::from(name);
    if !note.exists() {
        return Ok(None);
    }
    let text = read_regular(&note, MAX_NOTE_BYTES)?;
    let wrong = |message| DataError::Json { path: note.clone(), offset: 0, message };
    let parsed: FolderNote =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if parsed.duration.is_finite() && parsed.duration > 0.0 {
        return Ok(Some(parsed.duration));
    }
    Err(wrong(format!("duration {} is not a number of seconds", parsed.duration)))
}

/// What file managers leave beside files: hidden files, thumbnails, folder settings.
fn is_stray(name: &str) -> bool {
    let leftovers = ["thumbs.db", "desktop.ini"];
    name.starts_with('.') || leftovers.contains(&name.to_lowercase().as_str())
}

/// Orders names as people do: runs of digits by their value. Of a run: digits of its value, and its text.
fn natural_order(name: &str) -> Vec<(usize, String)> {
    let is_digit = |character: &char| character.is_ascii_digit();
    let characters: Vec<char> = name.chars().collect();
    let run = |run: &[char]| {
        let text: String = run.iter().collect();
        if !is_digit(&run[0]) {
            return (0, text);
        }
        let value = text.trim_start_matches('0');
        (1 + value.len(), value.to_owned())
    };
    characters.chunk_by(|a, b| is_digit(a) == is_digit(b)).map(run).collect()
}

/// The number in `name_12.jpg`, or -1.
fn frame_number(file: &Path) -> Result<i64, DataError> {
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let known = |suffix: &str| ["jpg", "jpeg", "png"].contains(&suffix.to_lowercase().as_str());
    let stem = name.rsplit_once('.').filter(|(_, suffix)| known(suffix)).map(|(stem, _)| stem);
    let stem = stem.ok_or_else(|| DataError::Unsupported {
        path: file.to_owned(),
        message: "a frame folder holds only .jpg, .jpeg and .png files".into(),
    })?;
    let digits = stem.rsplit_once('_').map_or("", |(_, digits)| digits);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    Ok(if is_number { digits.parse().unwrap_or(-1) } else { -1 })
}

impl Reader for Pictures {
    fn choose(
        &self,
        part: Option<(f64, f64)>,
        options: &FrameOptions,
    ) -> Result<Choice, DataError> {
        let (files, known) = (self.files.len(), self.duration_s);
        if options.sampling == Sampling::Clips {
            return Ok(folder(files, self.fps, known, part, options));
        }
        let fps = known.map_or(self.fps, |seconds| files as f64 / seconds);
        match part {
            Some(part) => one_fps::part(files, fps, part, options),
            None => whole(files, fps, options),
        }
    }

    fn read(&mut self, numbers: &[usize], sink: &mut Sink<'_>) -> Result<(), DataError> {
        for &number in numbers {
            let file = &self.files[number];
            self.watch.tick(file)?;
            sink(read_frame(file, self.watch.limits(), self.truncated)?.view())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_numbered_by_the_end_of_their_name() {
        let check = |name: &str, expect| {
            assert_eq!(frame_number(Path::new(name)).unwrap(), expect);
        };
        check("a/frame_00012.jpg", 12);
        check("img_3.jpeg", 3);
        check("x_y_7.png", 7);
        check("00012.jpg", -1);
        check("frame_.jpg", -1);
        check("frame_15.JPG", 15);
        assert!(frame_number(Path::new("frame_1.bmp")).is_err());
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_numbers_without_strays() {
        let check = |names: &[&str], expect: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                std::fs::write(folder.path().join(name), []).unwrap();
            }
            let watch = Watch::start(&crate::Limits::default(), &std::sync::Arc::default());
            let read = Pictures::folder(folder.path(), Truncated::Refuse, watch).unwrap().files;
            let read: Vec<_> = read.iter().map(|file| file.file_name().unwrap()).collect();
            assert_eq!(read, expect);
        };
        check(&["10.png", "2.png", "1.png"], &["1.png", "2.png", "10.png"]);
        check(&["f-10.PNG", "f-9.png"], &["f-9.png", "f-10.PNG"]);
        check(&["img_10_s6.png", "img_3_s6.png"], &["img_3_s6.png", "img_10_s6.png"]);
        check(&["b_10.jpg", "a_9.jpg", "x.jpg"], &["x.jpg", "a_9.jpg", "b_10.jpg"]);
        check(&[".DS_Store", "._f_1.png", "Thumbs.db", "f_1.png"], &["f_1.png"]);
    }
}
