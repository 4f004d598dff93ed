//! Several series over one pair of axes, with intervals where they are known.

use plotters::coord::ranged1d::Ranged as _;
use plotters::element::ErrorBarOrientV;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::{Area, Drawn, INK, ink, picture, width_of};

/// Pixels of the axes with all that is drawn between them.
const PLOT: (u32, u32) = (560, 380);
/// Pixels from name to name in the legend.
const ROW: i32 = 20;
/// A series of more points is a curve, of which about so many points are marked.
const FEW: usize = 40;
const MARKED: usize = 10;
/// Colours that stay apart for most eyes (after Okabe and Ito) and show on white as on black.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x1f, 0x83, 0xc4),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xc0, 0x6c, 0x98),
    RGBColor(0xb5, 0x80, 0x00),
    RGBColor(0x7f, 0x7f, 0x7f),
    INK,
];
/// Corners around a point: disc, square, triangle, diamond, triangle on its tip.
const MARKERS: [&[(i32, i32)]; 5] = [
    &[(-2, -4), (2, -4), (4, -2), (4, 2), (2, 4), (-2, 4), (-4, 2), (-4, -2)],
    &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
    &[(0, -5), (5, 4), (-5, 4)],
    &[(0, -6), (5, 0), (0, 6), (-5, 0)],
    &[(0, 5), (5, -4), (-5, -4)],
];

type Axes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

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
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// Whether equal factors are equal lengths on the horizontal axis.
    pub x_by_factors: bool,
    /// Places of vertical lines, such as the frames that were chosen.
    pub marked: Vec<f64>,
}

impl Chart<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let names = || self.series.iter().map(|series| series.name.as_str());
        let names = || names().chain(self.level.map(|level| level.1));
        let legend = 48 + names().map(width_of).max().unwrap_or(0);
        let height = PLOT.1.max(ROW as u32 * (names().count() as u32 + 3));
        picture(self.title, (PLOT.0 + legend, height), |area| {
            let (plot, legend) = area.split_horizontally(PLOT.0);
            self.plot(&plot)?;
            names().enumerate().try_for_each(|(at, name)| self.row(&legend, at, name))
        })
    }

    /// A name in the legend; behind the series stands the level.
    fn row(&self, legend: &Area, at: usize, name: &str) -> Drawn {
        let y = (at as i32 + 1) * ROW;
        let line = |style: ShapeStyle| PathElement::new([(6, y), (30, y)], style);
        if at < self.series.len() {
            legend.draw(&line(colour(at).stroke_width(2)))?;
            legend.draw(&(EmptyElement::at((18, y)) + marker(at)))?;
        } else {
            legend.draw(&line(grey()))?;
        }
        let middle = Pos::new(HPos::Left, VPos::Center);
        Ok(legend.draw(&Text::new(name.to_owned(), (36, y), ink().pos(middle)))?)
    }

    fn plot(&self, area: &Area) -> Drawn {
        let (x, y) = self.axes();
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x_label).y_desc(self.y_label).label_style(ink()).axis_desc_style(ink());
        mesh.axis_style(INK.mix(0.6)).bold_line_style(INK.mix(0.15)).disable_x_mesh().draw()?;

        let level = self.level.map(|(at, _)| [(x.range().start, at), (x.range().end, at)]);
        chart.draw_series(level.map(|line| PathElement::new(line, grey())))?;
        let upright = |at: &f64| [(*at, y.range().start), (*at, y.range().end)];
        let upright = |at| PathElement::new(upright(at), COLOURS[1]);
        chart.draw_series(self.marked.iter().map(upright))?;
        self.series.iter().enumerate().try_for_each(|(at, series)| series.draw(at, &mut chart))
    }

    fn axes(&self) -> (Axis, Axis) {
        let points = || self.series.iter().flat_map(Series::finite);
        let values = |p: Point| p.interval.map_or([p.y; 2], |(low, high)| [low, high]);
        let level = self.level.map(|level| level.0);
        let places = points().map(|point| point.x).chain(self.marked.iter().copied());
        (
            if self.x_by_factors { Axis::by_factors(places) } else { Axis::around(places) },
            Axis::around(points().flat_map(values).chain(level)),
        )
    }
}

impl Series {
    /// Points that are finite, with those intervals that are.
    fn finite(&self) -> impl Iterator<Item = Point> + Clone + '_ {
        let points = self.points.iter().filter(|p| p.x.is_finite() && p.y.is_finite());
        let known = |(low, high): &(f64, f64)| low.is_finite() && high.is_finite();
        points.map(move |p| Point { interval: p.interval.filter(known), ..*p })
    }

    fn draw(&self, at: usize, chart: &mut Axes) -> Drawn {
        let points: Vec<Point> = self.finite().collect();
        let places = || points.iter().map(|point| (point.x, point.y));
        chart.draw_series(LineSeries::new(places(), colour(at).stroke_width(2)))?;
        chart.draw_series(points.iter().filter_map(|point| bar(at, point)))?;
        let every = if points.len() > FEW { points.len().div_ceil(MARKED) } else { 1 };
        let marked = places().step_by(every).map(|place| EmptyElement::at(place) + marker(at));
        chart.draw_series(marked)?;
        Ok(())
    }
}

fn grey() -> ShapeStyle {
    INK.mix(0.5).stroke_width(2)
}

fn colour(at: usize) -> RGBColor {
    COLOURS[at % COLOURS.len()]
}

fn bar(at: usize, point: &Point) -> Option<ErrorBar<f64, f64, ErrorBarOrientV<f64, f64>>> {
    let (low, high) = point.interval?;
    Some(ErrorBar::new_vertical(point.x, low, point.y, high, colour(at), 6))
}

/// What marks the points of a series; the same colour comes with another form each time round.
fn marker(at: usize) -> Polygon<(i32, i32)> {
    Polygon::new(MARKERS[at % MARKERS.len()], colour(at).filled())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        let point =
            |(x, y): &(f64, f64)| Point { x: *x, y: *y, interval: Some((y - 0.1, y + 0.1)) };
        Series { name: name.into(), points: points.iter().map(point).collect() }
    }

    /// Texts in the order of the file.
    fn texts(svg: &str) -> Vec<&str> {
        let after = svg.split("<text").skip(1).filter_map(|text| text.split_once('>'));
        after
            .map(|(_, text)| text.split_once('<').map_or(text, |(words, _)| words).trim())
            .collect()
    }

    #[test]
    fn every_series_has_its_name_its_marker_and_its_finite_points() {
        let all = [
            series("a < b & c", &[(1.0, 0.2), (2.0, 0.5)]),
            series("d", &[(1.5, f64::NAN), (1.0, 0.3), (f64::INFINITY, 1.0)]),
        ];
        let level = Some((0.0, "guessing"));
        let svg = Chart { title: "t>", series: all.into(), level, ..Chart::default() }.svg();
        let texts = texts(&svg);
        for name in ["t&gt;", "a &lt; b &amp; c", "d", "guessing"] {
            assert!(texts.contains(&name), "{name}: {texts:?}");
        }
        let drawn = |colour: &str| {
            svg.matches(&format!("<polygon opacity=\"1\" fill=\"{colour}\"")).count()
        };
        assert_eq!((drawn("#1F83C4"), drawn("#D55E00")), (3, 2), "{svg}");
        let long = Chart { title: &"why ".repeat(99), ..Chart::default() }.svg();
        assert!(long.contains("why …") && long.contains("width=\"808\""), "{long}");
        assert!(!svg.contains("NaN") && !svg.contains("#010203"), "{svg}");
    }

    #[test]
    fn a_long_curve_is_marked_here_and_there() {
        let points: Vec<_> = (0..1000).map(|x| (f64::from(x), 0.5)).collect();
        let chart = Chart { series: vec![series("loss", &points)], ..Chart::default() };
        assert_eq!(chart.svg().matches("<polygon").count(), MARKED + 1);
    }

    #[test]
    fn forms_and_colours_do_not_come_together_again_soon() {
        let look = |at: usize| (colour(at), MARKERS[at % MARKERS.len()]);
        assert!((1..35).all(|at| look(at) != look(0)));
    }
}
