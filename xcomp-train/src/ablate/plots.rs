//! Pictures of a sweep: its claims, accuracy against cost, tokens and frames, losses, and how the base was learnt.

use std::collections::BTreeMap;

use super::base::BaseReport;
use super::outcome::Outcome;
use super::report::{ClaimOutcome, Claimed, Table};
use crate::eval::crossed::{Scores, estimate_seeds};
use crate::show::charts::chart::{Chart, Point, Series};
use crate::show::charts::forest::{Difference, Forest, Tone};

/// Name of a file and the picture in it.
pub type Plot = (String, String);

/// Every picture that there is something to draw in.
pub fn plots(base: Option<&BaseReport>, tables: &[Table], outcomes: &[Outcome]) -> Vec<Plot> {
    let guess = base.and_then(|base| base.tasks.last()).map(|all| (all.guess, "guessing"));
    let tokens = |o: &Outcome| series(&o.arm, [(o.mean_tokens, &o.scores)]);
    let frames = |o: &Outcome| {
        let by_frames = o.by_frames.iter().map(|(frames, scores)| (*frames as f64, scores));
        series(&o.arm, by_frames)
    };
    let each =
        |of: &dyn Fn(&Outcome) -> Series| -> Vec<Series> { outcomes.iter().map(of).collect() };
    let (right, mean_tokens) = ("share of right answers", "tokens of a frame, mean over layers");
    let losses = each(&|outcome| curve(&outcome.arm, &outcome.losses));
    let over_frames = [each(&frames), vec![ideal_by_frames(outcomes)]].concat();
    let mut charts = vec![
        (
            "budget.svg",
            Chart {
                x_by_factors: true,
                ..chart(
                    [
                        "Accuracy against the cost of a question",
                        "FLOPs of the language model",
                        right,
                    ],
                    by_cost(outcomes),
                    guess,
                )
            },
        ),
        (
            "tokens.svg",
            chart(["Accuracy against tokens", mean_tokens, right], each(&tokens), guess),
        ),
        (
            "frames.svg",
            chart(["Accuracy against frames", "frames looked at", right], over_frames, guess),
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
    let charts = charts.into_iter().map(|(name, chart)| (name.to_owned(), chart.svg()));
    forest(tables).into_iter().chain(charts).collect()
}

/// The claims of all tables.
fn forest(tables: &[Table]) -> Option<Plot> {
    let row = |claim: &Claimed| {
        let difference = claim.difference?;
        let tone = match claim.outcome {
            ClaimOutcome::Holds => Tone::For,
            ClaimOutcome::Contradicted => Tone::Against,
            ClaimOutcome::NotShown | ClaimOutcome::Open => Tone::Open,
        };
        let interval = (100.0 * difference.low, 100.0 * difference.high);
        let name = claim.pair().replace('`', "");
        Some(Difference { name, mean: 100.0 * difference.mean, interval, tone })
    };
    let rows: Vec<Difference> =
        tables.iter().flat_map(|table| &table.claims).filter_map(row).collect();
    let label = "points, 95 % interval of each alone; colour: judged together in each table";
    let picture = Forest { title: "Claims", label, rows };
    (!picture.rows.is_empty()).then(|| ("claims.svg".into(), picture.svg()))
}

/// Accuracy over what a question costs, the arms of a curve joined, with the ideal observer's over the cheapest way to its frames.
fn by_cost(outcomes: &[Outcome]) -> Vec<Series> {
    let known = || outcomes.iter().filter_map(|outcome| Some((outcome.cost?.llm_flops, outcome)));
    let mut curves: Vec<(&str, Vec<(f64, &Scores)>)> = vec![];
    for (flops, outcome) in known() {
        let name = outcome.curve.as_ref().unwrap_or(&outcome.arm);
        match curves.iter_mut().find(|(known, _)| known == name) {
            Some((_, places)) => places.push((flops, &outcome.scores)),
            None => curves.push((name, vec![(flops, &outcome.scores)])),
        }
    }
    let of = |(name, mut places): (&str, Vec<(f64, &Scores)>)| {
        places.sort_by(|one, other| one.0.total_cmp(&other.0));
        series(name, places)
    };
    let mut limits: Vec<(f64, f64)> =
        known().filter_map(|(flops, outcome)| Some((flops, outcome.ceiling?))).collect();
    limits.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut best = 0.0;
    for limit in &mut limits {
        best = limit.1.max(best);
        limit.1 = best;
    }
    curves.into_iter().map(of).chain([curve(IDEAL, &limits)]).collect()
}

const IDEAL: &str = "ideal observer";

fn ideal_by_frames(outcomes: &[Outcome]) -> Series {
    let all = outcomes.iter().flat_map(|outcome| &outcome.ceilings);
    let by_frames: BTreeMap<usize, f64> = all.map(|(frames, best)| (*frames, *best)).collect();
    let points: Vec<(f64, f64)> =
        by_frames.into_iter().map(|(frames, best)| (frames as f64, best)).collect();
    curve(IDEAL, &points)
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
