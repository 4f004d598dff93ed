//! A report in words: the same sections on a terminal, in Markdown and on a page.

use std::fmt;

use super::Learnability;
use super::drops::DropRow;
use super::layers::LayerRow;
use super::losses::{GroupRow, Mean};
use crate::run::metrics::broken;
use crate::show::numbers::decimal;
use crate::show::page::Page;
use crate::show::table::Table;

/// A table with what it means.
struct Section {
    title: &'static str,
    meaning: &'static str,
    table: Table,
}

/// The report in Markdown.
pub fn markdown(report: &Learnability) -> String {
    let facts = facts(report).into_iter().map(|fact| format!("- {fact}\n"));
    let section = |Section { title, meaning, table }: Section| {
        format!("\n## {title}\n\n{meaning}\n\n{}", table.markdown())
    };
    let head = std::iter::once(format!("# {}\n\n", title(report)));
    head.chain(facts).chain(sections(report).map(section)).collect()
}

/// The report as one page, with pictures.
pub fn page(report: &Learnability, pictures: &[String]) -> String {
    let mut page = Page::new(&title(report));
    page.list(facts(report));
    page.pictures(pictures);
    for Section { title, meaning, table } in sections(report) {
        page.heading(title);
        page.paragraph(meaning);
        page.table(&table);
    }
    page.into_html()
}

impl fmt::Display for Learnability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        facts(self).iter().try_for_each(|fact| writeln!(f, "{fact}"))?;
        for Section { title, table, .. } in sections(self) {
            write!(f, "\n{title}\n{}", table.text())?;
        }
        Ok(())
    }
}

fn title(report: &Learnability) -> String {
    format!("Learnability of {}", report.run.display())
}

fn facts(report: &Learnability) -> Vec<String> {
    let weights = report.weights.display();
    let mut facts = vec![match (report.step, report.last_rate) {
        (Some(step), Some(rate)) => format!(
            "weights and moments: {weights}, after step {step}, whose learning rate was {rate:.3} of the peak"
        ),
        _ => format!(
            "weights: {weights}; no checkpoint and so no moments: each update is that of a first step"
        ),
    }];
    facts.push(format!(
        "loss {} over {} samples, gradient norm {:.3e}",
        interval(&report.loss),
        report.loss.samples,
        report.grad_norm
    ));
    if let Some(last) = report.held_out.last() {
        let lowest = report.held_out.iter().filter(|held_out| held_out.eval_loss.0.is_finite());
        let lowest = lowest.min_by(|a, b| a.eval_loss.0.total_cmp(&b.eval_loss.0)).unwrap_or(last);
        facts.push(format!(
            "held-out loss {:.4} after step {} over {} samples, lowest {:.4} after step {}",
            last.eval_loss.0, last.step, last.eval_samples, lowest.eval_loss.0, lowest.step
        ));
    }
    facts.extend(report.left_out.iter().map(|why| format!("left out: {why}")));
    facts.extend(broken(&report.broken_lines));
    facts
}

fn sections(report: &Learnability) -> [Section; 4] {
    let layers = Section {
        title: "Layers",
        meaning: "Gradient: L2 norm of the gradient of the samples' mean loss, before clipping. Update/weight: L2 norm of what the next step of AdamW would move, over that of the weights, were that gradient (clipped as in the run) the step's, with the checkpoint's moments and the peak learning rate.",
        table: Table::new(
            ["part", "tokens a frame", "gradient", "weights", "update/weight"],
            report.layers.iter().map(layer),
        ),
    };
    let drops = Section {
        title: "Drops",
        meaning: "Loss, less that of the run's own plan on the same samples, when this drop alone comes one layer earlier, and when its tokens stay until the next drop; 95 % intervals from drawing samples again. Predicted: R² of a linear map from the kept tokens of a frame to the dropped ones, before the drop, fit on every other sample and tested on the rest; 1 is all of their variance, 0 none. Layers count from 0.",
        table: Table::new(
            ["on entry to", "tokens a frame", "one layer earlier", "removed", "predicted"],
            report.drops.iter().map(drop),
        ),
    };
    [
        layers,
        drops,
        groups("Datasets", "dataset", &report.sources),
        groups("Frames", "frames", &report.frames),
    ]
}

fn layer(row: &LayerRow) -> [String; 5] {
    [
        row.part.clone(),
        row.tokens.map_or("-".into(), decimal),
        format!("{:.3e}", row.grad_norm),
        format!("{:.3e}", row.weight_norm),
        format!("{:.3e}", row.update_to_weight),
    ]
}

fn drop(row: &DropRow) -> [String; 5] {
    let increase = |mean: &Option<Mean>| mean.as_ref().map_or("-".into(), signed_interval);
    [
        format!("layer {}", row.layer),
        format!("{} -> {}", decimal(row.tokens_before), decimal(row.tokens)),
        increase(&row.earlier),
        increase(&row.removed),
        row.predicted.map_or("-".into(), |share| format!("{share:.3}")),
    ]
}

fn groups(title: &'static str, head: &str, rows: &[GroupRow]) -> Section {
    let row =
        |row: &GroupRow| [row.name.clone(), row.loss.samples.to_string(), interval(&row.loss)];
    Section {
        title,
        meaning: "Mean loss of a sample, which is the mean over its supervised tokens; 95 % intervals from drawing samples again.",
        table: Table::new([head, "samples", "loss"], rows.iter().map(row)),
    }
}

fn interval(mean: &Mean) -> String {
    format!("{:.4} ({:.4} to {:.4})", mean.mean, mean.low, mean.high)
}

/// In powers of ten: what a drop costs may be far below the loss.
fn signed_interval(mean: &Mean) -> String {
    format!("{:+.2e} ({:+.2e} to {:+.2e})", mean.mean, mean.low, mean.high)
}
