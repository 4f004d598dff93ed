//! Differences beside each other, each with its interval around a line of no difference.

use plotters::coord::ranged1d::Ranged as _;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::{INK, ink, picture, width_of};

/// Pixels of the intervals, from row to row, and of the axis below them.
const WIDTH: u32 = 460;
const ROW: u32 = 30;
const AXIS: u32 = 50;
/// Pixels of the title and of what is left free around.
const TITLE: u32 = 46;

/// What a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// What was claimed.
    For,
    /// Its opposite.
    Against,
    /// Nothing.
    Open,
}

impl Tone {
    fn colour(self) -> RGBColor {
        match self {
            Self::For => RGBColor(0x00, 0x9e, 0x73),
            Self::Against => RGBColor(0xd5, 0x5e, 0x00),
            Self::Open => RGBColor(0x7f, 0x7f, 0x7f),
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Between what.
    pub name: String,
    /// The difference.
    pub mean: f64,
    /// Ends of its interval.
    pub interval: (f64, f64),
    /// What it says.
    pub tone: Tone,
}

/// The picture of several differences; those that are not finite are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest<'a> {
    /// What is shown.
    pub title: &'a str,
    /// Name and unit of the differences.
    pub label: &'a str,
    /// From top to bottom.
    pub rows: Vec<Difference>,
}

impl Forest<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let rows: Vec<&Difference> = self.rows.iter().filter(|row| row.is_finite()).collect();
        let names = rows.iter().map(|row| width_of(&row.name)).max().unwrap_or(0) + 16;
        let ends = |row: &&Difference| [row.interval.0, row.interval.1, 0.0];
        let x = Axis::around(rows.iter().flat_map(ends));
        let height = ROW * rows.len() as u32 + AXIS;
        picture(self.title, (names + WIDTH, height + TITLE), |area| {
            let end = rows.len() as f64;
            let mut chart = ChartBuilder::on(area)
                .margin(10)
                .margin_left(names)
                .x_label_area_size(AXIS)
                .build_cartesian_2d(x, 0.0..end)?;
            let mut mesh = chart.configure_mesh();
            mesh.x_desc(self.label).label_style(ink()).axis_desc_style(ink()).disable_y_axis();
            mesh.axis_style(INK.mix(0.6)).bold_line_style(INK.mix(0.15)).disable_y_mesh().draw()?;
            let nothing = PathElement::new([(0.0, 0.0), (0.0, end)], INK.mix(0.5).stroke_width(2));
            chart.draw_series([nothing])?;
            for (at, row) in rows.iter().enumerate() {
                let (y, colour) = (end - at as f64 - 0.5, row.tone.colour());
                let (low, high) = row.interval;
                let bar = ErrorBar::new_horizontal(
                    y,
                    low,
                    row.mean,
                    high,
                    colour.filled().stroke_width(2),
                    10,
                );
                chart.draw_series([bar])?;
                let (left, middle) = chart.backend_coord(&(x.range().start, y));
                let (_, top) = area.get_base_pixel();
                let right = ink().pos(Pos::new(HPos::Right, VPos::Center));
                area.draw(&Text::new(row.name.clone(), (left - 8, middle - top), right))?;
            }
            Ok(())
        })
    }
}

impl Difference {
    fn is_finite(&self) -> bool {
        self.mean.is_finite() && self.interval.0.is_finite() && self.interval.1.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_difference_has_its_name_and_its_mark() {
        let row = |name: &str, mean: f64, tone| Difference {
            name: name.into(),
            mean,
            interval: (mean - 1.0, mean + 1.0),
            tone,
        };
        let rows = vec![
            row("a < b", 2.0, Tone::For),
            row("c", -2.0, Tone::Against),
            row("d", f64::NAN, Tone::Open),
        ];
        let svg = Forest { title: "claims", label: "points", rows }.svg();
        for text in ["claims", "points", "a &lt; b\n", "c\n"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(
            svg.contains("#009E73") && svg.contains("#D55E00") && !svg.contains("NaN"),
            "{svg}"
        );
        assert!(!Forest { title: "none", label: "points", rows: vec![] }.svg().contains("<circle"));
    }
}
