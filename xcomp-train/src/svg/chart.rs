//! Several series over one pair of axes, with intervals where they are known.

use super::{page, put, range, text};

const SIZE: (f64, f64) = (720.0, 400.0);
/// Room for the axes and, on the right, for the names.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// A series of more points is a curve and gets no dots.
const FEW: usize = 12;
/// Marks on an axis.
const MARKS: usize = 4;
/// Colours that stay apart for most eyes (Okabe and Ito), then again with dashes.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f"];

/// A point with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Place.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Ends of the interval, if one is known.
    pub interval: Option<(f64, f64)>,
}

/// Points of one name; several are joined by a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its points, ascending in x.
    pub points: Vec<Point>,
}

/// The picture of several series.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart<'a> {
    /// What is shown.
    pub title: &'a str,
    /// Name and unit of the horizontal axis.
    pub x_label: &'a str,
    /// Name and unit of the vertical axis.
    pub y_label: &'a str,
    /// What is drawn; points that are not finite are left out.
    pub series: Vec<Series>,
    /// A horizontal line and its name, such as what guessing gives.
    pub level: Option<(f64, &'a str)>,
}

/// Where values stand in the picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn across(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (SIZE.0 - LEFT - RIGHT)
    }

    fn down(&self, y: f64) -> f64 {
        SIZE.1 - BOTTOM - (y - self.y.0) / (self.y.1 - self.y.0) * (SIZE.1 - TOP - BOTTOM)
    }
}

impl Chart<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let finite = || self.series.iter().flat_map(Series::finite);
        let ends = |p: &Point| p.interval.map_or([p.y; 2], |(low, high)| [low, high]);
        let level = self.level.iter().map(|level| level.0);
        let frame = Frame {
            x: range(finite().map(|point| point.x)),
            y: range(finite().flat_map(|p| ends(&p)).chain(level)),
        };
        let mut body = self.axes(&frame);
        if let Some((y, name)) = self.level {
            line(&mut body, [LEFT, frame.down(y), SIZE.0 - RIGHT, frame.down(y)], "#999999");
            put(&mut body, &left(SIZE.0 - RIGHT + 8.0, frame.down(y) + 4.0, name, "#666666"));
        }
        for (at, series) in self.series.iter().enumerate() {
            series.draw(&frame, at, &mut body);
        }
        page(SIZE.0, SIZE.1, &body)
    }

    fn axes(&self, frame: &Frame) -> String {
        let mut body = text(f64::midpoint(LEFT, SIZE.0 - RIGHT), 24.0, self.title);
        let (bottom, right) = (SIZE.1 - BOTTOM, SIZE.0 - RIGHT);
        for mark in 0..=MARKS {
            let at = |(low, high): (f64, f64)| low + (high - low) * mark as f64 / MARKS as f64;
            let (x, y) = (at(frame.x), at(frame.y));
            put(&mut body, &text(frame.across(x), bottom + 18.0, &number(x)));
            put(&mut body, &text(LEFT - 28.0, frame.down(y) + 4.0, &number(y)));
            line(&mut body, [LEFT, frame.down(y), right, frame.down(y)], "#e8e8e8");
        }
        line(&mut body, [LEFT, bottom, right, bottom], "#444444");
        line(&mut body, [LEFT, TOP, LEFT, bottom], "#444444");
        put(&mut body, &text(f64::midpoint(LEFT, right), SIZE.1 - 14.0, self.x_label));
        let words = text(0.0, 0.0, self.y_label);
        let turned = format!(
            r#"<g transform="translate(16 {}) rotate(-90)">{words}</g>"#,
            f64::midpoint(TOP, bottom)
        );
        put(&mut body, &turned);
        body
    }
}

impl Series {
    fn finite(&self) -> impl Iterator<Item = Point> + '_ {
        self.points.iter().copied().filter(|point| point.x.is_finite() && point.y.is_finite())
    }

    fn draw(&self, frame: &Frame, at: usize, body: &mut String) {
        let colour = COLOURS[at % COLOURS.len()];
        let dashes = if at < COLOURS.len() { "none" } else { "5 3" };
        let places: Vec<String> = self
            .finite()
            .map(|p| format!("{:.1},{:.1}", frame.across(p.x), frame.down(p.y)))
            .collect();
        put(
            body,
            &format!(
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}"/>"#,
                places.join(" ")
            ),
        );
        for point in self.finite().filter(|_| self.points.len() <= FEW) {
            let (across, down) = (frame.across(point.x), frame.down(point.y));
            if let Some((low, high)) = point.interval {
                line(body, [across, frame.down(low), across, frame.down(high)], colour);
            }
            put(
                body,
                &format!(r#"<circle cx="{across:.1}" cy="{down:.1}" r="4" fill="{colour}"/>"#),
            );
        }
        let row = TOP + 10.0 + 18.0 * at as f64;
        put(body, &left(SIZE.0 - RIGHT + 24.0, row, &self.name, "#222222"));
        line(body, [SIZE.0 - RIGHT + 8.0, row - 4.0, SIZE.0 - RIGHT + 20.0, row - 4.0], colour);
    }
}

fn line(body: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    put(
        body,
        &format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="1.4"/>"#
        ),
    );
}

fn left(x: f64, y: f64, words: &str, colour: &str) -> String {
    text(x, y, words)
        .replace("text-anchor=\"middle\"", &format!("fill=\"{colour}\" font-size=\"12\""))
}

/// Few digits, as many as tell marks apart.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size > 0.0 && size < 0.01 => format!("{value:.0e}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_every_finite_point_with_its_interval() {
        let point = |x, y, interval| Point { x, y, interval };
        let series = vec![
            Series {
                name: "a < b".into(),
                points: vec![point(1.0, 0.2, Some((0.1, 0.3))), point(2.0, 0.5, None)],
            },
            Series { name: "c".into(), points: vec![point(1.5, f64::NAN, None)] },
        ];
        let level = Some((0.0, "guessing"));
        let chart = Chart { title: "t", x_label: "x", y_label: "y", series, level };
        let svg = chart.svg();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("guessing"));
        assert!(!svg.contains("NaN"));
        // The right-most, highest point stands in the right upper corner of the frame.
        assert!(svg.contains(r#"<circle cx="490.0" cy="44.0""#), "{svg}");
    }
}
