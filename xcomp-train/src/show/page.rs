//! A page that needs nothing else: tables and pictures inside, no script, no network.

use std::fmt::Write as _;

use super::table::{Table, escaped, marked_up};

/// Colours by name, light and dark; everything else takes them.
const STYLE: &str = ":root{color-scheme:light dark;--ink:#222;--ground:#fff;--head:#f3f3f3;--line:#ccc;--better:#e2f3e2;--worse:#f8e0dd}\
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--ground:#1b1d1f;--head:#2a2d30;--line:#4a4e52;--better:#1f3d24;--worse:#4a2522}}\
body{font:15px/1.5 sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:var(--ink);background:var(--ground)}\
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}td,th{border:1px solid var(--line);padding:.3em .6em;text-align:left}\
th{background:var(--head)}.better{background:var(--better)}.worse{background:var(--worse)}\
figure{display:inline-block;margin:.5em}svg{max-width:100%;height:auto;border:1px solid var(--line)}\
pre{background:var(--head);padding:1em;overflow:auto}";

/// A page that is being written from top to bottom.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    head: String,
    body: String,
}

impl Page {
    /// A page that begins with its title.
    pub fn new(title: &str) -> Self {
        let title = escaped(title);
        Self { body: format!("<h1>{title}</h1>\n"), head: String::new(), title }
    }

    /// Lets whoever looks at the page read its file again every so many seconds.
    pub fn reload_every(&mut self, seconds: u64) {
        self.head = format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">");
    }

    /// Begins a section.
    pub fn heading(&mut self, words: &str) {
        self.put(&format!("<h2>{}</h2>", marked_up(words)));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, words: &str) {
        self.put(&format!("<p>{}</p>", marked_up(words)));
    }

    /// Lines as a list.
    pub fn list(&mut self, lines: impl IntoIterator<Item = String>) {
        let items = lines.into_iter().map(|line| format!("<li>{}</li>\n", marked_up(&line)));
        self.put(&format!("<ul>\n{}</ul>", items.collect::<String>()));
    }

    /// A table.
    pub fn table(&mut self, table: &Table) {
        self.put(table.html().trim_end());
    }

    /// Pictures as SVG, which become part of the page.
    pub fn pictures<'a>(&mut self, svgs: impl IntoIterator<Item = &'a String>) {
        for svg in svgs {
            self.put(&format!("<figure>{svg}</figure>"));
        }
    }

    /// Text as it stands in its file.
    pub fn verbatim(&mut self, text: &str) {
        self.put(&format!("<pre>{}</pre>", escaped(text)));
    }

    /// The whole file.
    pub fn into_html(self) -> String {
        let Self { title, head, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">{head}<title>{title}</title><style>{STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n"
        )
    }

    fn put(&mut self, line: &str) {
        writeln!(self.body, "{line}").expect("a string takes every line");
    }
}
