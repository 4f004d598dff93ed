//! One sample as the model gets it: its prompt with the label mask, its frames with their times, a sheet of its pictures.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::media::picture::Rgb;
use crate::prompt::templates::{IGNORE, IMAGE_TAG, IMAGE_TOKEN};
use crate::resize::{Picture, Resize, resize_into};
use crate::sample::example::{Example, Frames};
use crate::sample::load::load_example;
use crate::sample::options::LoadOptions;
use crate::{Choice, DataError, Media, Mixture, Tokenizer, Visual};

/// Pixels between two pictures of a sheet.
const GAP: usize = 4;

/// Neighbouring tokens that are all trained on, or all not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Their text, special tokens written out.
    pub text: String,
    /// Whether they carry loss.
    pub supervised: bool,
    /// How many there are.
    pub tokens: usize,
}

/// A picture or video of a sample.
#[derive(Debug, Clone, Serialize)]
pub struct VisualReport {
    /// Picture or video.
    pub media: Media,
    /// Its media file.
    pub path: PathBuf,
    /// Duration that the prompt reports, in seconds; 0 for pictures.
    pub duration_s: f64,
    /// Frames per second of the file.
    pub fps: f64,
    /// Chosen frames and their times in seconds.
    pub frames: Vec<(usize, f64)>,
}

/// One sample.
#[derive(Debug, Clone, Serialize)]
pub struct ShowReport {
    /// Index in the mixture.
    pub index: usize,
    /// Its dataset.
    pub source: String,
    /// Its id in the annotation.
    pub id: String,
    /// The first of `visuals`, whose keys stand beside the sample's: most samples show one.
    #[serde(flatten)]
    pub first: Option<VisualReport>,
    /// What it shows, in the order of its prompt.
    pub visuals: Vec<VisualReport>,
    /// The prompt, cut where the label mask changes.
    pub spans: Vec<Span>,
    /// Tokens of the prompt, each visual counted as one.
    pub tokens: usize,
    /// How many of them carry loss.
    pub supervised: usize,
}

/// Reads one sample and describes it; the sample comes along for its pictures.
///
/// # Errors
/// When there is no such sample or it cannot be read.
pub fn show(
    mixture: &Mixture,
    index: usize,
    options: &LoadOptions,
) -> Result<(ShowReport, Example), DataError> {
    let record = mixture.records().get(index).ok_or_else(|| {
        DataError::Options(format!("there is no sample {index}; the mixture has {}", mixture.len()))
    })?;
    // Its pictures are wanted, whether or not their features are kept.
    let options = LoadOptions { features: None, ..options.clone() };
    let example = load_example(record, index, &options)?;
    let of = |(visual, path)| VisualReport::of(visual, path);
    let visuals: Vec<_> = example.visuals.iter().zip(record.paths()).map(of).collect();
    let report = ShowReport {
        index,
        source: record.source().to_string(),
        id: record.id.clone(),
        first: visuals.first().cloned(),
        visuals,
        spans: spans(&options.tokenizer, &example)?,
        tokens: example.input_ids.len(),
        supervised: example.labels.iter().filter(|&&label| label != IGNORE).count(),
    };
    Ok((report, example))
}

impl VisualReport {
    fn of(visual: &Visual, path: PathBuf) -> Self {
        let Choice { indices, first, fps, duration_s } = &visual.choice;
        let times = indices.iter().map(|&at| (at + first, (at + first) as f64 / fps));
        let frames = times.collect();
        Self { media: visual.media, path, duration_s: *duration_s, fps: *fps, frames }
    }
}

fn spans(tokenizer: &Tokenizer, example: &Example) -> Result<Vec<Span>, DataError> {
    let pairs: Vec<(i32, bool)> = example
        .input_ids
        .iter()
        .zip(&example.labels)
        .map(|(&id, &label)| (id, label != IGNORE))
        .collect();
    let span = |run: &[(i32, bool)]| {
        let mut text = String::new();
        for part in run.chunk_by(|a, b| (a.0 == IMAGE_TOKEN) == (b.0 == IMAGE_TOKEN)) {
            let ids: Vec<i32> = part.iter().map(|pair| pair.0).collect();
            match ids[0] {
                IMAGE_TOKEN => text.push_str(&IMAGE_TAG.repeat(ids.len())),
                _ => text.push_str(&tokenizer.decode_all(&ids)?),
            }
        }
        Ok(Span { text, supervised: run[0].1, tokens: run.len() })
    };
    pairs.chunk_by(|a, b| a.1 == b.1).map(span).collect()
}

/// Pictures side by side, `columns` in a row, each `tile` pixels wide and high, on white.
///
/// # Panics
/// When `columns` or `tile` is 0.
pub fn contact_sheet<'a>(
    frames: impl IntoIterator<Item = &'a Frames>,
    columns: usize,
    tile: usize,
) -> Rgb {
    assert!(columns > 0 && tile > 0, "a sheet has columns of some width");
    let packed = |frames: &'a Frames| {
        frames.iter().map(|pixels| Picture::packed(frames.size, frames.size, pixels))
    };
    let pictures: Vec<Picture> = frames.into_iter().flat_map(packed).collect();
    let count = pictures.len();
    let columns = columns.min(count.max(1));
    let rows = count.div_ceil(columns).max(1);
    let (width, height) = (columns * (tile + GAP) + GAP, rows * (tile + GAP) + GAP);
    let mut sheet = Rgb { width, height, pixels: vec![255; 3 * width * height] };
    let mut small = Vec::new();
    for (place, picture) in pictures.into_iter().enumerate() {
        small.clear();
        resize_into(picture, tile, tile, Resize::Exact, &mut small);
        let (left, top) =
            (GAP + place % columns * (tile + GAP), GAP + place / columns * (tile + GAP));
        for (y, row) in small.chunks_exact(3 * tile).enumerate() {
            sheet.pixels[3 * ((top + y) * width + left)..][..3 * tile].copy_from_slice(row);
        }
    }
    sheet
}

/// Writes a picture as PNG.
///
/// # Errors
/// When the file cannot be written.
pub fn write_png(path: &Path, picture: &Rgb) -> Result<(), DataError> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    image::save_buffer(path, &picture.pixels, width, height, image::ColorType::Rgb8).map_err(
        |error| DataError::Write { path: path.to_owned(), source: std::io::Error::other(error) },
    )
}
