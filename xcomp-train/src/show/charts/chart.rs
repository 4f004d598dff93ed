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
/// Marks that an axis has at most, without its ends.
const MARKS: f64 = 5.0;
/// Colours that stay apart for most eyes (Okabe and Ito), then again with dashes and hollow dots.
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

/// Values from mark to mark.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Around all values, with marks at 1, 2 or 5 times a power of ten.
    fn around((low, high): (f64, f64)) -> Self {
        const ROUNDING: f64 = 1e-9;
        let least = (high - low) / MARKS;
        let power = 10_f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 5.0].map(|times| times * power);
        let wide = |step: &f64| *step >= least * (1.0 - ROUNDING);
        let step = steps.into_iter().find(wide).unwrap_or(10.0 * power);
        Self {
            low: (low / step + ROUNDING).floor() * step,
            high: (high / step - ROUNDING).ceil() * step,
            step,
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step);
        let count = ((self.high - self.low) / step).round() as usize;
        (0..=count).map(move |mark| low + step * mark as f64)
    }

    /// As many digits as tell marks apart.
    fn number(&self, value: f64) -> String {
        let digits = -self.step.log10().floor();
        match digits {
            ..=0.0 => format!("{value:.0}"),
            ..=3.0 => format!("{value:.*}", digits as usize),
            _ => format!("{value:.0e}"),
        }
    }
}

/// Where values stand in the picture.
struct Frame {
    x: Axis,
    y: Axis,
}

impl Frame {
    fn across(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (SIZE.0 - LEFT - RIGHT)
    }

    fn down(&self, y: f64) -> f64 {
        SIZE.1 - BOTTOM - self.y.share(y) * (SIZE.1 - TOP - BOTTOM)
    }
}

impl Chart<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let finite = || self.series.iter().flat_map(Series::finite);
        let ends = |p: &Point| p.interval.map_or([p.y; 2], |(low, high)| [low, high]);
        let level = self.level.iter().map(|level| level.0);
        let frame = Frame {
            x: Axis::around(range(finite().map(|point| point.x))),
            y: Axis::around(range(finite().flat_map(|p| ends(&p)).chain(level))),
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
        for x in frame.x.marks() {
            put(&mut body, &text(frame.across(x), bottom + 18.0, &frame.x.number(x)));
        }
        for y in frame.y.marks() {
            put(&mut body, &text(LEFT - 28.0, frame.down(y) + 4.0, &frame.y.number(y)));
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
        let style = Style::of(at);
        let places: Vec<_> = self.finite().map(|p| (frame.across(p.x), frame.down(p.y))).collect();
        style.line(&places, body);
        for point in self.finite().filter(|_| self.points.len() <= FEW) {
            let (across, down) = (frame.across(point.x), frame.down(point.y));
            if let Some((low, high)) = point.interval {
                line(body, [across, frame.down(low), across, frame.down(high)], style.colour);
            }
            style.dot((across, down), body);
        }
        let (start, row) = (SIZE.0 - RIGHT + 8.0, TOP + 10.0 + 18.0 * at as f64);
        style.line(&[(start, row - 4.0), (start + 20.0, row - 4.0)], body);
        if self.points.len() <= FEW {
            style.dot((start + 10.0, row - 4.0), body);
        }
        put(body, &left(start + 26.0, row, &self.name, "#222222"));
    }
}

/// How a series looks, in the picture and beside its name.
struct Style {
    colour: &'static str,
    /// The colours have come round once.
    again: bool,
}

impl Style {
    fn of(at: usize) -> Self {
        Self { colour: COLOURS[at % COLOURS.len()], again: at >= COLOURS.len() }
    }

    fn line(&self, places: &[(f64, f64)], body: &mut String) {
        let places: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (points, colour) = (places.join(" "), self.colour);
        let dashes = if self.again { "5 3" } else { "none" };
        put(
            body,
            &format!(
                r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}"/>"#
            ),
        );
    }

    fn dot(&self, (x, y): (f64, f64), body: &mut String) {
        let colour = self.colour;
        let fill = if self.again { "#ffffff" } else { colour };
        put(
            body,
            &format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{fill}" stroke="{colour}"/>"#),
        );
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
        // Two points, and a dot beside each name.
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("a &lt; b") && svg.contains("guessing"));
        assert!(!svg.contains("NaN"));
        // The right-most, highest point stands in the right upper corner of the frame.
        assert!(svg.contains(r#"<circle cx="490.0" cy="44.0""#), "{svg}");
    }

    #[test]
    fn marks_are_round_numbers_around_all_values() {
        for (ends, want) in [
            ((0.36, 0.9), ["0.2", "0.4", "0.6", "0.8", "1.0"].as_slice()),
            ((8.0, 32.0), &["5", "10", "15", "20", "25", "30", "35"]),
            ((0.3, 0.5), &["0.30", "0.35", "0.40", "0.45", "0.50"]),
            ((0.0, 4e-5), &["0e0", "1e-5", "2e-5", "3e-5", "4e-5"]),
        ] {
            let axis = Axis::around(ends);
            let marks: Vec<String> = axis.marks().map(|mark| axis.number(mark)).collect();
            assert_eq!(marks, want);
        }
    }
}
