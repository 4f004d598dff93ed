//! Pictures of a sweep: accuracy against tokens and against frames, losses, and how the base was learnt.

use super::base::BaseReport;
use super::outcome::Outcome;
use crate::eval::crossed::{Scores, estimate_seeds};
use crate::show::charts::chart::{Chart, Point, Series};

/// Name of a file and the picture in it.
pub type Plot = (&'static str, String);

/// Every picture that there is something to draw in.
pub fn plots(base: Option<&BaseReport>, outcomes: &[Outcome]) -> Vec<Plot> {
    let guess = base.and_then(|base| base.tasks.last()).map(|all| (all.guess, "guessing"));
    let tokens = outcomes
        .iter()
        .map(|outcome| series(&outcome.arm, [(outcome.mean_tokens, &outcome.scores)]));
    let frames = |outcome: &Outcome| {
        series(
            &outcome.arm,
            outcome.by_frames.iter().map(|(frames, scores)| (*frames as f64, scores)),
        )
    };
    let losses = |outcome: &Outcome| curve(&outcome.arm, &outcome.losses);
    let right = "share of right answers";
    let mut plots = vec![
        (
            "tokens.svg",
            chart(
                "Accuracy against tokens",
                "tokens of a frame, mean over layers",
                right,
                tokens.collect(),
                guess,
            ),
        ),
        (
            "frames.svg",
            chart(
                "Accuracy against frames",
                "frames looked at",
                right,
                outcomes.iter().map(frames).collect(),
                guess,
            ),
        ),
        (
            "losses.svg",
            chart(
                "Training losses, first seed",
                "step",
                "loss",
                outcomes.iter().map(losses).collect(),
                None,
            ),
        ),
    ];
    if let Some(base) = base {
        let learnt = vec![curve("validation questions", &base.curve)];
        plots.push((
            "base.svg",
            chart("The base while it is trained", "step", right, learnt, guess),
        ));
        let losses = vec![curve("loss", &base.losses)];
        plots.push(("base-loss.svg", chart("Loss of the base", "step", "loss", losses, None)));
    }
    plots.retain(|(_, svg)| svg.contains("<circle") || svg.contains(','));
    plots
}

fn chart(
    title: &str,
    x_label: &str,
    y_label: &str,
    series: Vec<Series>,
    level: Option<(f64, &str)>,
) -> String {
    let series: Vec<Series> = series.into_iter().filter(|s| !s.points.is_empty()).collect();
    Chart { title, x_label, y_label, series, level }.svg()
}

fn series<'a>(name: &str, places: impl IntoIterator<Item = (f64, &'a Scores)>) -> Series {
    let point = |(x, scores): (f64, &Scores)| {
        let estimate = estimate_seeds(scores)?.within_shares();
        Some(Point { x, y: estimate.mean, interval: Some((estimate.low, estimate.high)) })
    };
    Series { name: name.into(), points: places.into_iter().filter_map(point).collect() }
}

fn curve(name: &str, points: &[(f64, f64)]) -> Series {
    let point = |(x, y): &(f64, f64)| Point { x: *x, y: *y, interval: None };
    Series { name: name.into(), points: points.iter().map(point).collect() }
}
