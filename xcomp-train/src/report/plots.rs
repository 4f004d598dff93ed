//! Pictures of a report, and the run's own curves beside them.

use std::collections::BTreeMap;

use super::Learnability;
use super::drops::DropRow;
use super::losses::{GroupRow, Mean};
use crate::show::charts::chart::{Chart, Point, Series};
use crate::train::held_out::HeldOut;
use crate::train::meter::Record;

/// Every picture that there is something to draw in; `records` are what the run logged.
pub fn plots(report: &Learnability, records: &BTreeMap<usize, Record>) -> Vec<String> {
    let layer = "layer (0-based)";
    let of_layers = |number: fn(&super::LayerRow) -> f64| -> Vec<Point> {
        let rows = report.layers.iter();
        rows.filter_map(|row| Some(point(row.layer?, number(row)))).collect()
    };
    let predicted = report.drops.iter().filter_map(|row| Some(point(row.layer, row.predicted?)));
    let charts = [
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
    let held_out: Vec<&HeldOut> = report.held_out.iter().collect();
    let of_run = curves(records, &held_out).into_iter();
    of_run.chain(charts.iter().filter_map(drawn)).collect()
}

/// The curves of a run over its steps: losses, those of held-out samples beside them, gradient, rate, speed.
pub fn curves(records: &BTreeMap<usize, Record>, held_out: &[&HeldOut]) -> Vec<String> {
    let logged = |number: fn(&Record) -> f64| -> Vec<Point> {
        records.iter().map(|(step, record)| point(*step, number(record))).collect()
    };
    let validated = held_out.iter().map(|held| point(held.step, held.eval_loss.0));
    let (loss, step) =
        ([("logged", logged(|r| r.loss)), ("held out", validated.collect())], "step");
    let charts = [
        chart("Loss of the run", step, "loss", loss),
        by_dataset(held_out),
        chart("Gradient of the run", step, "norm", [("before clipping", logged(|r| r.grad_norm))]),
        chart("Learning rate", step, "rate", [("used", logged(|r| r.lr_used))]),
        chart("Speed", step, "samples/s", [("logged", logged(|r| r.samples_per_sec))]),
    ];
    charts.iter().filter_map(drawn).collect()
}

/// Held-out losses of each dataset; nothing where there is one, whose loss is that of all.
fn by_dataset(held_out: &[&HeldOut]) -> Chart<'static> {
    let mut series: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
    for held in held_out {
        for (name, loss) in &held.eval_sources {
            series.entry(name).or_default().push(point(held.step, loss.0));
        }
    }
    let several = series.len() > 1;
    let series = series.into_iter().map(|(name, points)| Series { name: name.into(), points });
    let series = series.filter(|_| several).collect();
    let title = "Held-out loss by dataset";
    Chart { title, x_label: "step", y_label: "loss", series, ..Chart::default() }
}

fn drawn(chart: &Chart<'_>) -> Option<String> {
    (!chart.series.is_empty()).then(|| chart.svg())
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
