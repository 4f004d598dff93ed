//! Small SVG pictures: a line over time with marks, and a heat map.

pub mod chart;

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 56.0;

/// A curve with marked points.
#[derive(Debug, Clone, Copy)]
pub struct Curve<'a> {
    /// What is drawn.
    pub title: &'a str,
    /// Name and unit of the horizontal axis.
    pub x_label: &'a str,
    /// Points, ascending in x.
    pub points: &'a [(f64, f64)],
    /// Indices of the points that are marked.
    pub marked: &'a [usize],
}

impl Curve<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let finite = || self.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let (x0, x1) = range(finite().map(|point| point.0));
        let (y0, y1) = range(finite().map(|point| point.1));
        let place = |(x, y): (f64, f64)| {
            let across = MARGIN + (x - x0) / (x1 - x0) * (WIDTH - 2.0 * MARGIN);
            let down = HEIGHT - MARGIN - (y - y0) / (y1 - y0) * (HEIGHT - 2.0 * MARGIN);
            (across, down)
        };
        let mut body = String::new();
        for &(x, _) in self.marked.iter().filter_map(|index| self.points.get(*index)) {
            let (across, _) = place((x, y0));
            let (top, bottom) = (MARGIN, HEIGHT - MARGIN);
            put(
                &mut body,
                &format!(
                    r##"<line x1="{across:.1}" y1="{top}" x2="{across:.1}" y2="{bottom}" stroke="#f2b84b" stroke-width="1"/>"##
                ),
            );
        }
        let line: Vec<String> = finite()
            .map(|point| place(*point))
            .map(|(across, down)| format!("{across:.1},{down:.1}"))
            .collect();
        put(
            &mut body,
            &format!(
                r##"<polyline points="{}" fill="none" stroke="#1f5fa8" stroke-width="1.2"/>"##,
                line.join(" ")
            ),
        );
        put(&mut body, &text(WIDTH / 2.0, 24.0, self.title));
        put(&mut body, &text(WIDTH / 2.0, HEIGHT - 12.0, self.x_label));
        put(&mut body, &text(MARGIN, HEIGHT - 36.0, &format!("{x0:.1}")));
        put(&mut body, &text(WIDTH - MARGIN, HEIGHT - 36.0, &format!("{x1:.1}")));
        put(&mut body, &text(26.0, HEIGHT - MARGIN, &format!("{y0:.3}")));
        put(&mut body, &text(26.0, MARGIN, &format!("{y1:.3}")));
        page(WIDTH, HEIGHT, &body)
    }
}

/// A table of shares from 0 (red) to 1 (green); `None` is left grey.
#[derive(Debug, Clone)]
pub struct HeatMap<'a> {
    /// What is drawn.
    pub title: &'a str,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Name and cells of each row.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

impl HeatMap<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        const CELL: (f64, f64) = (72.0, 32.0);
        const LEFT: f64 = 96.0;
        const TOP: f64 = 64.0;
        let mut body = text(LEFT + CELL.0 * self.columns.len() as f64 / 2.0, 24.0, self.title);
        for (column, name) in self.columns.iter().enumerate() {
            put(&mut body, &text(LEFT + (column as f64 + 0.5) * CELL.0, TOP - 10.0, name));
        }
        for (row, (name, cells)) in self.rows.iter().enumerate() {
            let top = TOP + row as f64 * CELL.1;
            put(&mut body, &text(LEFT / 2.0, top + 20.0, name));
            for (column, cell) in cells.iter().enumerate() {
                let left = LEFT + column as f64 * CELL.0;
                let (colour, word) = match cell {
                    Some(share) => {
                        (format!("hsl({:.0},65%,62%)", share * 120.0), format!("{share:.2}"))
                    }
                    None => ("#dddddd".to_owned(), String::new()),
                };
                put(
                    &mut body,
                    &format!(
                        r##"<rect x="{left}" y="{top}" width="{}" height="{}" fill="{colour}" stroke="#ffffff"/>"##,
                        CELL.0, CELL.1
                    ),
                );
                put(&mut body, &text(left + CELL.0 / 2.0, top + 20.0, &word));
            }
        }
        let width = LEFT + CELL.0 * self.columns.len() as f64 + 16.0;
        page(width, TOP + CELL.1 * self.rows.len() as f64 + 16.0, &body)
    }
}

/// Smallest and largest value, never equal.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    match low < high {
        true => (low, high),
        false if low.is_finite() => (low, low + 1.0),
        false => (0.0, 1.0),
    }
}

fn put(body: &mut String, line: &str) {
    writeln!(body, "{line}").expect("a string takes every line");
}

fn text(x: f64, y: f64, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle">{words}</text>"#)
}

fn page(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}\n</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_spans_the_picture_and_marks_its_points() {
        let points = [(0.0, 1.0), (5.0, 3.0), (10.0, f64::NAN)];
        let svg = Curve { title: "a < b", x_label: "s", points: &points, marked: &[1] }.svg();
        assert!(svg.contains(r#"points="56.0,264.0 904.0,56.0""#), "{svg}");
        assert_eq!(svg.matches("<line").count(), 1);
        assert!(svg.contains("a &lt; b"));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn a_heat_map_has_a_cell_for_each_pair() {
        let map = HeatMap {
            title: "recall",
            columns: vec!["1000".into(), "2000".into()],
            rows: vec![("0.5".into(), vec![Some(1.0), None])],
        };
        let svg = map.svg();
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.contains("hsl(120,65%,62%)") && svg.contains("#dddddd"));
    }
}
