//! Pictures as SVG that need nothing else; their text and axes follow the light or dark of whoever shows them.

mod axis;
pub mod chart;
pub mod forest;
pub mod heat_map;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Text, axes and grid; `currentColor` in the file.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_AS_DRAWN: &str = "\"#010203\"";
const STYLE: &str = "<style>.chart{color:#222;background:#fff}\
@media(prefers-color-scheme:dark){.chart{color:#ddd;background:#1b1d1f}}</style>";
const TEXT: u32 = 16;
/// Pixels of a letter, rather too many than too few.
const LETTER: usize = 8;
/// A longer title is cut.
const TITLE_LETTERS: usize = 100;

/// A part of a picture, in pixels.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn ink() -> TextStyle<'static> {
    ("sans-serif", TEXT).into_font().color(&INK)
}

/// A title, and below it what `paint` draws, on a ground of at least these pixels.
fn picture(title: &str, (width, height): (u32, u32), paint: impl Fn(&Area) -> Drawn) -> String {
    let mut title = title.to_owned();
    if let Some((end, _)) = title.char_indices().nth(TITLE_LETTERS) {
        title.replace_range(end.., "…");
    }
    let width = width.max(width_of(&title));
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    let titled = root.titled(&title, ink()).map_err(Into::into);
    titled.and_then(|below| paint(&below)).expect("a string takes every element");
    root.present().expect("a string takes the end of a picture");
    drop(root);
    let svg = svg.replacen("<svg ", "<svg class=\"chart\" ", 1);
    svg.replacen('>', &[">", STYLE].concat(), 1).replace(INK_AS_DRAWN, "\"currentColor\"")
}

fn width_of(text: &str) -> u32 {
    (text.chars().count() * LETTER) as u32
}
