//! Pictures of a report, and the run's own curves beside them.

use std::collections::BTreeMap;

use super::Learnability;
use super::drops::DropRow;
use super::losses::{GroupRow, Mean};
use crate::show::charts::chart::{Chart, Point, Series};
use crate::train::meter::Record;

/// Every picture that there is something to draw in; `records` are what the run logged.
pub fn plots(report: &Learnability, records: &BTreeMap<usize, Record>) -> Vec<String> {
    let layer = "layer (0-based)";
    let of_layers = |number: fn(&super::LayerRow) -> f64| -> Vec<Point> {
        let rows = report.layers.iter();
        rows.filter_map(|row| Some(point(row.layer?, number(row)))).collect()
    };
    let logged = |number: fn(&Record) -> f64| -> Vec<Point> {
        records.iter().map(|(step, record)| point(*step, number(record))).collect()
    };
    let held_out =
        report.held_out.iter().map(|held_out| point(held_out.step, held_out.eval_loss.0));
    let predicted = report.drops.iter().filter_map(|row| Some(point(row.layer, row.predicted?)));
    let charts = [
        chart(
            "Loss of the run",
            "step",
            "loss",
            [("logged", logged(|r| r.loss)), ("held out", held_out.collect())],
        ),
        chart(
            "Gradient of the run",
            "step",
            "norm",
            [("before clipping", logged(|r| r.grad_norm))],
        ),
        chart("Gradient by layer", layer, "norm", [("gradient", of_layers(|row| row.grad_norm))]),
        chart(
            "Update by layer",
            layer,
            "share of the weights' norm",
            [("update/weight", of_layers(|row| row.update_to_weight))],
        ),
        chart(
            "What each drop costs",
            layer,
            "loss less the run's",
            [
                ("one layer earlier", increases(report, |row| row.earlier)),
                ("removed", increases(report, |row| row.removed)),
            ],
        ),
        chart("Dropped tokens, predicted", layer, "R²", [("from the kept", predicted.collect())]),
        groups("Loss by dataset", &report.sources),
        groups("Loss by frames", &report.frames),
    ];
    charts.into_iter().filter(|chart| !chart.series.is_empty()).map(|c| c.svg()).collect()
}

fn increases(report: &Learnability, of: fn(&DropRow) -> Option<Mean>) -> Vec<Point> {
    report.drops.iter().filter_map(|row| Some(with_interval(row.layer, of(row)?))).collect()
}

/// A series for each group, so that its name stands beside its colour.
fn groups<'a>(title: &'a str, rows: &[GroupRow]) -> Chart<'a> {
    let series = |(at, row): (usize, &GroupRow)| Series {
        name: row.name.clone(),
        points: vec![with_interval(at + 1, row.loss)],
    };
    let series = rows.iter().enumerate().map(series).collect();
    Chart {
        title,
        x_label: "group, in the order of the table",
        y_label: "loss",
        series,
        ..Chart::default()
    }
}

fn chart<'a, const N: usize>(
    title: &'a str,
    x_label: &'a str,
    y_label: &'a str,
    series: [(&str, Vec<Point>); N],
) -> Chart<'a> {
    let drawn = series.into_iter().filter(|(_, points)| !points.is_empty());
    let series = drawn.map(|(name, points)| Series { name: name.into(), points }).collect();
    Chart { title, x_label, y_label, series, ..Chart::default() }
}

fn point(x: usize, y: f64) -> Point {
    Point { x: x as f64, y, interval: None }
}

fn with_interval(x: usize, mean: Mean) -> Point {
    Point { interval: Some((mean.low, mean.high)), ..point(x, mean.mean) }
}
