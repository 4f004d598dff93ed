//! A table of words: Markdown, aligned text, HTML.

/// Heads and cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub fn new<const N: usize>(
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        Self::wide(head.map(String::from).to_vec(), rows.into_iter().map(Vec::from))
    }

    /// As [`Table::new`], with as many columns as there turn out to be.
    pub fn wide(head: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        Self { head, rows: rows.into_iter().collect() }
    }

    /// For Markdown.
    pub fn markdown(&self) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> = self.head.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|cells| row(cells)).collect();
        row(&self.head) + &row(&rule) + &rows
    }

    /// For a terminal: the first column to the left, numbers behind it to the right.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| lines().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).filter_map(width).collect();
        let line = |cells: &Vec<String>| {
            let cell = |(at, cell): (usize, &String)| match (at, widths[at]) {
                (0, width) => format!("{cell:<width$}"),
                (_, width) => format!("  {cell:>width$}"),
            };
            let line: String = cells.iter().enumerate().map(cell).collect();
            line.trim_end().to_owned() + "\n"
        };
        lines().map(line).collect()
    }

    /// For a page; a row whose last word is a verdict carries it as its class.
    pub fn html(&self) -> String {
        let cells = |cells: &[String], tag: &str| {
            let one = |cell: &String| format!("<{tag}>{}</{tag}>", marked_up(cell));
            cells.iter().map(one).collect::<Vec<_>>().concat()
        };
        let row = |row: &Vec<String>| {
            let verdict = row.last().filter(|word| ["better", "worse"].contains(&word.as_str()));
            let class = verdict.map_or(String::new(), |word| format!(" class=\"{word}\""));
            format!("<tr{class}>{}</tr>\n", cells(row, "td"))
        };
        let rows: String = self.rows.iter().map(row).collect();
        format!("<table>\n<tr>{}</tr>\n{rows}</table>\n", cells(&self.head, "th"))
    }
}

/// Words that mean themselves in HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Words of a report for a page: what stands between backquotes becomes code, a backquote alone stays.
pub fn marked_up(text: &str) -> String {
    let text = escaped(text);
    let parts: Vec<&str> = text.split('`').collect();
    let pairs = (parts.len() - 1) / 2;
    let mut whole = parts[0].to_owned();
    for two in parts[1..][..2 * pairs].chunks(2) {
        whole += &["<code>", two[0], "</code>", two[1]].concat();
    }
    let alone = parts[1..][2 * pairs..].iter().map(|rest| format!("`{rest}"));
    whole + &alone.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_same_in_every_form() {
        let rows = [["a<b".into(), "1.25".into()], ["c".into(), "better".into()]];
        let table = Table::new(["arm", "x"], rows);
        assert_eq!(
            table.markdown(),
            "| arm | x |\n| --- | --- |\n| a<b | 1.25 |\n| c | better |\n"
        );
        assert_eq!(table.text(), "arm       x\na<b    1.25\nc    better\n");
        let html = table.html();
        assert!(html.contains("<tr><th>arm</th><th>x</th></tr>"), "{html}");
        assert!(html.contains("<tr><td>a&lt;b</td><td>1.25</td></tr>"), "{html}");
        assert_eq!(marked_up("`a<b` less `c`, `d"), "<code>a&lt;b</code> less <code>c</code>, `d");
        assert_eq!(marked_up("plain"), "plain");
        assert!(html.contains("<tr class=\"better\"><td>c</td>"), "{html}");
    }
}
