//! The tables of a sweep in Markdown and CSV.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::base::BaseReport;
use super::report::{Claimed, Row, SweepReport, Table};
use crate::eval::crossed::{SeedEstimate, Spread};
use crate::eval::statistics::Verdict;
use crate::show::numbers::{bytes, scaled};
use crate::show::table::Table as Cells;

/// The report in Markdown: facts, base, tables, claims.
pub fn markdown(report: &SweepReport) -> String {
    let mut text = String::new();
    for (name, value) in &report.facts {
        line(&mut text, &format!("- {name}: {value}"));
    }
    if let Some(base) = &report.base {
        text += &base_markdown(base);
    }
    for table in &report.tables {
        text += &table_markdown(table);
    }
    line(&mut text, &format!("\n## {VARIANCES_TITLE}\n\n{VARIANCES}\n"));
    text += &variances(report).markdown();
    text
}

/// Words for a verdict.
pub fn verdict_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NotDistinguishable => "not distinguishable",
    }
}

/// `52.3 (48.1 to 56.5)`, in percent.
pub fn interval(estimate: &SeedEstimate) -> String {
    format!(
        "{:.1} ({:.1} to {:.1})",
        100.0 * estimate.mean,
        100.0 * estimate.low,
        100.0 * estimate.high
    )
}

/// `+1.2 (-0.3 to +2.7)`, in points.
pub fn signed_interval(estimate: &SeedEstimate) -> String {
    format!(
        "{:+.1} ({:+.1} to {:+.1})",
        100.0 * estimate.mean,
        100.0 * estimate.low,
        100.0 * estimate.high
    )
}

/// The arms of a table, the same for Markdown and HTML; costs and ceilings where they are known.
pub fn arms(table: &Table) -> Cells {
    let costs = table.rows.iter().any(|row| row.cost.is_some());
    let limits = table.rows.iter().any(|row| row.ceiling.is_some());
    let mut head = vec!["arm", "frames", "tokens a frame"];
    head.extend(costs.then_some(["LLM FLOPs", "KV bytes"]).into_iter().flatten());
    head.extend(["seeds", "right %, 95 % interval"]);
    head.extend(limits.then_some("ideal observer %"));
    let mut head: Vec<String> = head.into_iter().map(String::from).collect();
    head.extend(table.tasks.iter().cloned());
    head.push(format!("less `{}`", table.reference));
    head.push("verdict".into());
    let rows = table.rows.iter().map(|row| row_cells(row, costs, limits)).collect();
    Cells { head, rows }
}

fn row_cells(row: &Row, costs: bool, limits: bool) -> Vec<String> {
    let frames = row.frames.map_or("-".into(), |frames| frames.to_string());
    let mut cells = vec![row.arm.clone(), frames, format!("{:.2}", row.mean_tokens)];
    if costs {
        cells.extend(row.cost.map_or(["-".into(), "-".into()], |cost| {
            [scaled(cost.llm_flops), bytes(cost.kv_bytes)]
        }));
    }
    cells.push(trainings(row));
    cells.push(row.accuracy.as_ref().map_or("-".into(), interval));
    if limits {
        cells.push(row.ceiling.map_or("-".into(), |best| format!("{:.1}", 100.0 * best)));
    }
    cells.extend(
        row.tasks.iter().zip(&row.task_ceilings).map(|(right, best)| of_task(*right, *best)),
    );
    cells.push(row.difference.as_ref().map_or(String::new(), signed_interval));
    cells.push(row.verdict.map_or(String::new(), |verdict| verdict_words(verdict).into()));
    cells
}

/// `54`, or `54 of 63` where the ideal observer does not score all.
fn of_task(right: Option<f64>, best: Option<f64>) -> String {
    let percent = |share: f64| format!("{:.0}", 100.0 * share);
    let right = right.map_or("-".into(), percent);
    let best = best.map(percent).filter(|best| best != "100");
    best.map_or(right.clone(), |best| format!("{right} of {best}"))
}

/// How many trainings a row rests on: `3`, `3 from 3 bases`, `2 (1 missing)`.
fn trainings(row: &Row) -> String {
    let (seeds, bases) = row.accuracy.map_or((0, 0), |accuracy| (accuracy.seeds, accuracy.bases));
    let from = if bases > 1 { format!(" from {bases} bases") } else { String::new() };
    match row.missing.len() {
        0 => format!("{seeds}{from}"),
        missing => format!("{seeds}{from} ({missing} missing)"),
    }
}

/// What makes the means of a report uncertain, in points: every arm once, then every claim's difference.
pub fn variances(report: &SweepReport) -> Cells {
    let mut known = BTreeSet::new();
    let rows = report.tables.iter().flat_map(|table| &table.rows);
    let arms = rows.filter(|row| known.insert(&row.arm));
    let arms = arms.filter_map(|row| Some(variance_cells(row.arm.clone(), row.accuracy.as_ref()?)));
    let mut known = BTreeSet::new();
    let claims = report.tables.iter().flat_map(|table| &table.claims);
    let claims = claims.filter(|claim| known.insert(claim.pair()));
    let claims =
        claims.filter_map(|claim| Some(variance_cells(claim.pair(), claim.difference.as_ref()?)));
    let head = ["right %", "deviation of bases", "deviation of seeds of a base", "error by videos"];
    Cells::new(head, arms.chain(claims))
}

fn variance_cells(name: String, estimate: &SeedEstimate) -> [String; 4] {
    let points = |share: f64| format!("{:.1}", 100.0 * share);
    let Spread { base_deviation, seed_deviation, video_error } = estimate.spread;
    let known = |deviation: Option<f64>| deviation.map_or("-".into(), points);
    [name, known(base_deviation), known(seed_deviation), points(video_error)]
}

/// The title of the table of variances.
pub const VARIANCES_TITLE: &str = "What makes the means uncertain";
/// What is said of it.
pub const VARIANCES: &str = "In points. A deviation is that of one base, or of one training from a base, from another; the error is that of the mean over all trainings by the choice of the videos. Where every base has one training, the deviation of bases holds that of seeds.";

/// What became of the claims, and how several were judged together.
pub fn claim_lines(table: &Table) -> impl Iterator<Item = String> {
    let together = (table.claims.len() > 1).then(|| SEVERAL_CLAIMS.to_owned());
    table.claims.iter().map(claim_line).chain(together)
}

/// What a claim says and what became of it.
fn claim_line(claim: &Claimed) -> String {
    let difference = claim.difference.as_ref().map_or(String::new(), |difference| {
        format!(" ({}: {}{})", claim.pair(), signed_interval(difference), p_words(claim))
    });
    format!("{}: {}{difference}", claim.text, claim.outcome.words())
}

/// `, p 0.012`, corrected for the claims of the table.
fn p_words(claim: &Claimed) -> String {
    claim.p_value.map_or(String::new(), |p| {
        if p < 0.001 { ", p < 0.001".into() } else { format!(", p {p:.3}") }
    })
}

/// What is said of costs and ceilings, where a table has them.
pub fn notes(table: &Table) -> impl Iterator<Item = String> {
    let costs = table.rows.iter().any(|row| row.cost.is_some()).then_some(COSTS);
    let limits = table.rows.iter().any(|row| row.ceiling.is_some()).then_some(LIMITS);
    costs.into_iter().chain(limits).map(String::from)
}

const COSTS: &str = "LLM FLOPs and KV bytes (bf16) are those of one question in the plan, up to the first token of the answer; choosing frames counts.";
const LIMITS: &str = "The ideal observer sees the same frames without fault and knows by which law the world is drawn: in the mean over clips drawn by it nothing can score more. A task has its ceiling behind `of` where that is not 100 %.";

/// What is said of a table with several claims.
const SEVERAL_CLAIMS: &str = "The p-values are corrected for the number of claims of this table (Holm), so that the chance that any of them is wrongly held is 5 %; intervals stay those of a single difference.";

/// What is said of tokens that ought to be equal.
pub fn tokens_line(same: bool) -> &'static str {
    if same {
        "The arms use as many visual tokens in the mean, within 5 %."
    } else {
        "The arms do not use as many visual tokens in the mean; part of a difference may be that."
    }
}

fn table_markdown(table: &Table) -> String {
    let mut text = format!("\n## {}\n\n", table.title);
    text += &arms(table).markdown();
    line(&mut text, "");
    notes(table).for_each(|note| line(&mut text, &format!("- {note}")));
    table.same_tokens.iter().for_each(|same| line(&mut text, &format!("- {}", tokens_line(*same))));
    claim_lines(table).for_each(|claim| line(&mut text, &format!("- {claim}")));
    text
}

/// The title above the table of the bases.
pub fn base_title(base: &BaseReport) -> String {
    match base.losses.len() {
        1 => "The base, before any arm".into(),
        bases => format!("The {bases} bases, before any arm"),
    }
}

/// What the bases know.
pub fn base_tasks(base: &BaseReport) -> Cells {
    let head = ["task", "guessing %", "base right %, 95 % interval", "clear of guessing"];
    let row = |task: &super::base::BaseTask| {
        let clear = if task.clear { "yes" } else { "no" };
        let guess = format!("{:.1}", 100.0 * task.guess);
        [task.task.clone(), guess, interval(&task.estimate), clear.to_owned()]
    };
    Cells::new(head, base.tasks.iter().map(row))
}

fn base_markdown(base: &BaseReport) -> String {
    format!("\n## {}\n\n{}", base_title(base), base_tasks(base).markdown())
}

/// One line for each arm of each table, numbers as shares.
pub fn csv(report: &SweepReport) -> String {
    let mut text = "table,arm,frames,tokens_per_frame,llm_flops,kv_bytes,seeds,questions,right,low,high,ideal,difference,difference_low,difference_high,verdict\n".to_owned();
    for table in &report.tables {
        for row in &table.rows {
            let mut cells = vec![quoted(&table.title), quoted(&row.arm)];
            cells.push(row.frames.map_or(String::new(), |frames| frames.to_string()));
            cells.push(row.mean_tokens.to_string());
            cells.extend(row.cost.map_or([const { String::new() }; 2], |cost| {
                [cost.llm_flops.to_string(), cost.kv_bytes.to_string()]
            }));
            cells.extend(match &row.accuracy {
                Some(a) => [a.seeds as f64, a.questions as f64, a.mean, a.low, a.high]
                    .map(|number| number.to_string()),
                None => [const { String::new() }; 5],
            });
            cells.push(row.ceiling.map_or(String::new(), |best| best.to_string()));
            cells.extend(match &row.difference {
                Some(d) => [d.mean, d.low, d.high].map(|number| number.to_string()),
                None => [const { String::new() }; 3],
            });
            cells.push(row.verdict.map_or(String::new(), |v| verdict_words(v).to_owned()));
            line(&mut text, &cells.join(","));
        }
    }
    text
}

fn quoted(words: &str) -> String {
    format!("\"{}\"", words.replace('"', "\"\""))
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("a string takes every line");
}
