//! Frames of gifs as Pillow composes them (`GifImagePlugin.py` of 13.0, `convert("RGB")` of every frame).
//!
//! Browsers show transparent places of the ground as nothing; in RGB they are what the palette holds at the transparent number.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use gif::{ColorOutput, Decoder, DecodingError, DisposalMethod, MemoryLimit};

use crate::DataError;
use crate::media::limits::Limits;
use crate::open::open_regular;
use crate::resize::Picture;

/// A place on the canvas.
#[derive(Debug, Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// Pixels that go back onto the canvas before the next frame is drawn.
struct Patch {
    area: Area,
    pixels: Vec<[u8; 3]>,
}

/// Decodes one frame after the other.
pub(crate) struct GifFrames {
    path: PathBuf,
    limits: Limits,
    decoder: Decoder<BufReader<std::fs::File>>,
    numbers: Vec<u8>,
    canvas: Option<Canvas>,
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
    dispose: Option<Patch>,
    method: DisposalMethod,
}

impl GifFrames {
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self, DataError> {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(ColorOutput::Indexed);
        options.set_memory_limit(MemoryLimit::Unlimited); // frames are checked before they are read
        let file = BufReader::new(open_regular(path)?);
        let decoder = options.read_info(file).map_err(|error| wrong(path, &error))?;
        let (width, height) = (decoder.width(), decoder.height());
        limits.check_pixels(path, width.into(), height.into())?;
        let (path, limits) = (path.to_owned(), limits.clone());
        Ok(Self { path, limits, decoder, numbers: Vec::new(), canvas: None })
    }

    /// Reads the next frame without composing it; `false` at the end.
    pub(crate) fn skip(&mut self) -> Result<bool, DataError> {
        let fail = |error: &DecodingError| wrong(&self.path, error);
        let Some(frame) = self.decoder.next_frame_info().map_err(|error| fail(&error))? else {
            return Ok(false);
        };
        let (width, height) = (
            u64::from(frame.left) + u64::from(frame.width),
            u64::from(frame.top) + u64::from(frame.height),
        );
        let (width, height) =
            (width.max(self.decoder.width().into()), height.max(self.decoder.height().into()));
        self.limits.check_pixels(&self.path, width, height)?;
        self.numbers.resize(self.decoder.buffer_size(), 0);
        self.decoder.read_into_buffer(&mut self.numbers).map_err(|error| fail(&error))?;
        Ok(true)
    }

    /// The next frame as it is shown; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Picture<'_>>, DataError> {
        if !self.skip()? {
            return Ok(None);
        }
        let size = (self.decoder.width().into(), self.decoder.height().into());
        let frame = self.decoder.current_frame_info().expect("a frame was just read");
        let palette = frame.palette.as_deref().or(self.decoder.global_palette()).unwrap_or(&[]);
        let drawn = Drawn {
            area: Area {
                left: frame.left.into(),
                top: frame.top.into(),
                width: frame.width.into(),
                height: frame.height.into(),
            },
            palette: palette.as_chunks::<3>().0,
            transparent: frame.transparent,
            background: self.decoder.bg_color().map_or(0, |number| number as u8),
            method: frame.dispose,
            numbers: &self.numbers,
        };
        let canvas = match &mut self.canvas {
            Some(canvas) => {
                canvas.draw(&drawn);
                canvas
            }
            none => none.insert(Canvas::first(size, &drawn)),
        };
        Ok(Some(Picture::packed(canvas.width, canvas.height, canvas.pixels.as_flattened())))
    }
}

/// A frame before it is drawn: numbers in a palette.
struct Drawn<'a> {
    area: Area,
    palette: &'a [[u8; 3]],
    transparent: Option<u8>,
    background: u8,
    method: DisposalMethod,
    numbers: &'a [u8],
}

impl Drawn<'_> {
    /// Numbers behind the end of a palette are greys.
    fn colour(&self, number: u8) -> [u8; 3] {
        self.palette.get(usize::from(number)).copied().unwrap_or([number; 3])
    }

    /// What replaces a frame that is to be wiped off, after the first frame.
    fn wiped(&self) -> [u8; 3] {
        let number = self.transparent.unwrap_or(self.background);
        let known = self.palette.get(usize::from(number)).or(self.palette.first());
        known.copied().unwrap_or([number; 3])
    }
}

impl Canvas {
    /// The first frame stands on the transparent colour, else on the first one, and is drawn whole.
    fn first((width, height): (usize, usize), drawn: &Drawn<'_>) -> Self {
        let ground = drawn.colour(drawn.transparent.unwrap_or(0));
        let method = drawn.method;
        let mut canvas = Self { width: 0, height: 0, pixels: Vec::new(), dispose: None, method };
        canvas.grow(width, height, ground);
        canvas.grow(drawn.area.left + drawn.area.width, drawn.area.top + drawn.area.height, ground);
        canvas.dispose = match method {
            DisposalMethod::Background => {
                let number = drawn.transparent.unwrap_or(drawn.background);
                Some(Patch::filled(drawn.area, drawn.colour(number)))
            }
            DisposalMethod::Previous => {
                drawn.transparent.map(|number| Patch::filled(drawn.area, drawn.colour(number)))
            }
            DisposalMethod::Any | DisposalMethod::Keep => None,
        };
        canvas.put(drawn, None);
        canvas
    }

    /// Draws a later frame over what the frames before have left.
    fn draw(&mut self, drawn: &Drawn<'_>) {
        if let Some(patch) = self.dispose.take() {
            for (row, pixels) in self.rows(patch.area).zip(patch.pixels.chunks(patch.area.width)) {
                row.copy_from_slice(pixels);
            }
        }
        let ground = if drawn.transparent.is_some() { [0; 3] } else { drawn.colour(0) };
        self.grow(drawn.area.left + drawn.area.width, drawn.area.top + drawn.area.height, ground);
        if drawn.method != DisposalMethod::Any {
            self.method = drawn.method; // a frame that does not say goes like the one before
        }
        self.dispose = match self.method {
            DisposalMethod::Background => Some(Patch::filled(drawn.area, drawn.wiped())),
            DisposalMethod::Previous => {
                let pixels = self.rows(drawn.area).flat_map(|row| row.iter().copied()).collect();
                Some(Patch { area: drawn.area, pixels })
            }
            DisposalMethod::Any | DisposalMethod::Keep => None,
        };
        self.put(drawn, drawn.transparent);
    }

    /// Writes the pixels of a frame, but for those of one number.
    fn put(&mut self, drawn: &Drawn<'_>, but: Option<u8>) {
        let rows = drawn.numbers.chunks(drawn.area.width.max(1));
        for (row, numbers) in self.rows(drawn.area).zip(rows) {
            for (pixel, &number) in row.iter_mut().zip(numbers) {
                if Some(number) != but {
                    *pixel = drawn.colour(number);
                }
            }
        }
    }

    fn rows(&mut self, area: Area) -> impl Iterator<Item = &mut [[u8; 3]]> {
        let rows = self.pixels.chunks_mut(self.width.max(1)).skip(area.top).take(area.height);
        rows.map(move |row| &mut row[area.left..area.left + area.width])
    }

    /// Makes the canvas at least so large.
    fn grow(&mut self, width: usize, height: usize, ground: [u8; 3]) {
        let (width, height) = (width.max(self.width), height.max(self.height));
        if (width, height) == (self.width, self.height) {
            return;
        }
        let mut pixels = vec![ground; width * height];
        let old = self.pixels.chunks(self.width.max(1));
        for (row, old) in pixels.chunks_mut(width.max(1)).zip(old) {
            row[..old.len()].copy_from_slice(old);
        }
        (self.width, self.height, self.pixels) = (width, height, pixels);
    }
}

impl Patch {
    fn filled(area: Area, colour: [u8; 3]) -> Self {
        Self { area, pixels: vec![colour; area.width * area.height] }
    }
}

fn wrong(path: &Path, error: &DecodingError) -> DataError {
    DataError::Decode { path: path.to_owned(), message: error.to_string() }
}
