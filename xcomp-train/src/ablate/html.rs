//! The report as one page that needs nothing else: tables and pictures inside, no script, no network.

use std::fmt::Write as _;

use super::plots::Plot;
use super::report::{SweepReport, Table};
use super::text::{base_cells, cells, claim_line, tokens_line};

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left}\
th{background:#f3f3f3}.better{background:#e2f3e2}.worse{background:#f8e0dd}\
figure{display:inline-block;margin:.5em}svg{max-width:100%;height:auto;border:1px solid #eee}\
pre{background:#f6f6f6;padding:1em;overflow:auto}";

/// The page.
pub fn page(report: &SweepReport, plots: &[Plot], recipe: &str) -> String {
    let mut body = format!("<h1>Sweep {}</h1>\n<ul>\n", escaped(&report.sweep));
    for (name, value) in &report.facts {
        put(&mut body, &format!("<li>{}: {}</li>", escaped(name), escaped(value)));
    }
    put(&mut body, "</ul>");
    put(
        &mut body,
        "<p>Every interval holds the mean of other seeds and other videos in 95 of 100 cases; of many comparisons some differ by chance. Guessing takes the most frequent answer to the same words.</p>",
    );
    if let Some(base) = &report.base {
        let (head, rows) = base_cells(base);
        put(&mut body, "<h2>The base, before any arm</h2>");
        put(&mut body, &grid(&head, &rows));
    }
    for table in &report.tables {
        put(&mut body, &section(table));
    }
    put(&mut body, "<h2>Pictures</h2>");
    for (_, svg) in plots {
        put(&mut body, &format!("<figure>{svg}</figure>"));
    }
    put(&mut body, &format!("<h2>The sweep</h2>\n<pre>{}</pre>", escaped(recipe)));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n",
        escaped(&report.sweep)
    )
}

fn section(table: &Table) -> String {
    let (head, rows) = cells(table);
    let mut text = format!("<h2>{}</h2>\n{}<ul>\n", escaped(&table.title), grid(&head, &rows));
    let claims = table.claims.iter().map(claim_line);
    let tokens = table.same_tokens.map(|same| tokens_line(same).to_owned());
    for line in tokens.into_iter().chain(claims) {
        put(&mut text, &format!("<li>{}</li>", escaped(&line)));
    }
    text + "</ul>\n"
}

fn grid(head: &[String], rows: &[Vec<String>]) -> String {
    let cells = |cells: &[String], tag: &str| {
        let one = |cell: &String| format!("<{tag}>{}</{tag}>", escaped(cell));
        cells.iter().map(one).collect::<Vec<_>>().concat()
    };
    let mut text = format!("<table>\n<tr>{}</tr>\n", cells(head, "th"));
    for row in rows {
        let class = row.last().filter(|word| ["better", "worse"].contains(&word.as_str()));
        let class = class.map_or(String::new(), |word| format!(" class=\"{word}\""));
        put(&mut text, &format!("<tr{class}>{}</tr>", cells(row, "td")));
    }
    text + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn put(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes every line");
}
