//! A table of shares as a picture.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{INK, ink, picture};

/// Pixels of a cell, left of the cells, and above them.
const CELL: (i32, i32) = (72, 32);
const LEFT: i32 = 96;
const TOP: i32 = 32;
/// Words on a coloured ground.
const DARK: RGBColor = RGBColor(0x22, 0x22, 0x22);

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
        let center = ink().pos(Pos::new(HPos::Center, VPos::Center));
        let middle = |column: usize, row: usize| {
            (LEFT + column as i32 * CELL.0 + CELL.0 / 2, TOP + row as i32 * CELL.1 + CELL.1 / 2)
        };
        let width = (LEFT + CELL.0 * self.columns.len() as i32 + 16) as u32;
        let height = TOP + CELL.1 * self.rows.len() as i32 + 32;
        picture(self.title, (width, height as u32), |root| {
            for (column, name) in self.columns.iter().enumerate() {
                root.draw(&Text::new(
                    name.as_str(),
                    (middle(column, 0).0, TOP / 2),
                    center.clone(),
                ))?;
            }
            for (row, (name, cells)) in self.rows.iter().enumerate() {
                let left = (LEFT / 2, middle(0, row).1);
                root.draw(&Text::new(name.as_str(), left, center.clone()))?;
                for (column, cell) in cells.iter().enumerate() {
                    let (x, y) = middle(column, row);
                    let (half, grey) = ((CELL.0 / 2 - 1, CELL.1 / 2 - 1), INK.mix(0.15).filled());
                    let fill = |share: f64| HSLColor(share / 3.0, 0.65, 0.62).filled();
                    let corners = [(x - half.0, y - half.1), (x + half.0, y + half.1)];
                    root.draw(&Rectangle::new(corners, cell.map_or(grey, fill)))?;
                    let word = cell.map_or(String::new(), |share| format!("{share:.2}"));
                    root.draw(&Text::new(word, (x, y), center.color(&DARK)))?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heat_map_has_a_cell_for_each_pair() {
        let rows = vec![("0.5".into(), vec![Some(1.0), None])];
        let columns = vec!["1000".into(), "2000".into()];
        let svg = HeatMap { title: "recall", columns, rows }.svg();
        assert_eq!(svg.matches("<rect").count(), 2);
        for text in ["recall", "2000", "1.00"] {
            assert!(svg.contains(&format!("{text}\n")), "{text}: {svg}");
        }
        assert!(svg.contains("fill=\"#5FDD5F\"") && svg.contains("opacity=\"0.15\""), "{svg}");
    }
}
