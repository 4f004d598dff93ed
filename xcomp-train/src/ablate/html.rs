//! The report as one page.

use super::plots::Plot;
use super::report::SweepReport;
use super::text::{
    VARIANCES, VARIANCES_TITLE, arms, base_tasks, base_title, claim_lines, notes, tokens_line,
    variances,
};
use crate::show::page::Page;

/// The page.
pub fn page(report: &SweepReport, plots: &[Plot], recipe: &str) -> String {
    let mut page = Page::new(&format!("Sweep {}", report.sweep));
    page.list(report.facts.iter().map(|(name, value)| format!("{name}: {value}")));
    page.paragraph("Every interval holds the mean of other draws of bases, or from one base of other seeds, and of other videos in 95 of 100 cases; of many comparisons some differ by chance. Guessing takes the most frequent answer to the same words.");
    if let Some(base) = &report.base {
        page.heading(&base_title(base));
        page.table(&base_tasks(base));
    }
    for table in &report.tables {
        page.heading(&table.title);
        page.table(&arms(table));
        let tokens = table.same_tokens.map(|same| tokens_line(same).to_owned());
        page.list(notes(table).chain(tokens).chain(claim_lines(table)));
    }
    page.heading(VARIANCES_TITLE);
    page.paragraph(VARIANCES);
    page.table(&variances(report));
    page.heading("Pictures");
    page.pictures(plots.iter().map(|(_, svg)| svg));
    page.heading("The sweep");
    page.verbatim(recipe);
    page.into_html()
}
