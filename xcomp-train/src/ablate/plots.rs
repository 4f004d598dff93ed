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
    let tokens = |o: &Outcome| series(&o.arm, [(o.mean_tokens, &o.scores)]);
    let frames = |o: &Outcome| {
        let by_frames = o.by_frames.iter().map(|(frames, scores)| (*frames as f64, scores));
        series(&o.arm, by_frames)
    };
    let each = |of: &dyn Fn(&Outcome) -> Series| outcomes.iter().map(of).collect();
    let (right, mean_tokens) = ("share of right answers", "tokens of a frame, mean over layers");
    let losses = each(&|outcome| curve(&outcome.arm, &outcome.losses));
    let mut charts = vec![
        (
            "tokens.svg",
            chart(["Accuracy against tokens", mean_tokens, right], each(&tokens), guess),
        ),
        (
            "frames.svg",
            chart(["Accuracy against frames", "frames looked at", right], each(&frames), guess),
        ),
        ("losses.svg", chart(["Training losses, first seed", "step", "loss"], losses, None)),
    ];
    if let Some(base) = base {
        let learnt = vec![curve("validation questions", &base.curve)];
        let losses =
            base.losses.iter().map(|base| curve(&base_name(base.seed), &base.curve)).collect();
        let title = "The base while it is trained";
        charts.push(("base.svg", chart([title, "step", right], learnt, guess)));
        charts.push(("base-loss.svg", chart(["Loss of the base", "step", "loss"], losses, None)));
    }
    charts.retain(|(_, chart)| !chart.series.is_empty());
    charts.into_iter().map(|(name, chart)| (name, chart.svg())).collect()
}

/// A chart of those series that have points.
fn chart<'a>(
    [title, x_label, y_label]: [&'a str; 3],
    series: Vec<Series>,
    level: Option<(f64, &'a str)>,
) -> Chart<'a> {
    let series = series.into_iter().filter(|series| !series.points.is_empty()).collect();
    Chart { title, x_label, y_label, series, level, ..Chart::default() }
}

fn series<'a>(name: &str, places: impl IntoIterator<Item = (f64, &'a Scores)>) -> Series {
    let point = |(x, scores): (f64, &Scores)| {
        let estimate = estimate_seeds(scores)?.as_share();
        Some(Point { x, y: estimate.mean, interval: Some((estimate.low, estimate.high)) })
    };
    Series { name: name.into(), points: places.into_iter().filter_map(point).collect() }
}

/// How a base is called.
pub fn base_name(seed: u64) -> String {
    if seed == 0 { "base".into() } else { format!("base {seed}") }
}

fn curve(name: &str, points: &[(f64, f64)]) -> Series {
    let point = |(x, y): &(f64, f64)| Point { x: *x, y: *y, interval: None };
    Series { name: name.into(), points: points.iter().map(point).collect() }
}
