//! Tables that fit a terminal.

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Columns of a terminal that can be counted on.
const PAGE: usize = 80;

/// Rows under a heading, columns two spaces apart, no trailing spaces.
///
/// The last column may be as long as it likes: names are never cut, so that they can be copied.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    Table::new(columns).page(rows)
}

/// The same where the last column is made of sentences: they go on in lines of their own rather than
/// beyond [`PAGE`].
pub(crate) fn prose_table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let last = columns.len().saturating_sub(1);
    let before: usize = (0..last)
        .map(|index| {
            let cells = rows.iter().filter_map(|row| row.get(index));
            let widths = cells.map(|cell| width(cell)).max();
            let title = columns.get(index).map_or(0, |(title, _)| width(title));
            widths.unwrap_or(0).max(title) + 2
        })
        .sum();
    // Narrower than this, a sentence is no pleasure.
    let room = PAGE.saturating_sub(before).max(20);
    let mut lines = Vec::new();
    for row in rows {
        let mut row = row.clone();
        let text = row.get(last).cloned().unwrap_or_default();
        for line in broken(&text, room) {
            row.resize(last, String::new());
            row.push(line);
            lines.push(std::mem::take(&mut row));
        }
    }
    table(columns, &lines)
}

/// The lines of a text, broken between words; one at least.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if width(line) + 1 + width(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A table that is too long to be held as a whole: it is set page by page, and a column never
/// becomes narrower than it was.
pub(crate) struct Table<'a> {
    columns: &'a [(&'a str, Align)],
    /// Of the columns, once the heading is set.
    widths: Option<Vec<usize>>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(columns: &'a [(&'a str, Align)]) -> Self {
        Self {
            columns,
            widths: None,
        }
    }

    /// The next rows; the first ones stand under the heading.
    pub(crate) fn page(&mut self, rows: &[Vec<String>]) -> String {
        let columns = self.columns;
        let titles: Option<Vec<String>> = self.widths.is_none().then(|| {
            let titles = columns.iter().map(|(title, _)| (*title).to_owned());
            titles.collect()
        });
        let widths = self.widths.get_or_insert_with(|| vec![0; columns.len()]);
        for row in titles.iter().chain(rows) {
            for (cell, most) in row.iter().zip(&mut *widths) {
                *most = width(cell).max(*most);
            }
        }
        let mut text = String::new();
        for row in titles.iter().chain(rows) {
            let mut line = String::new();
            for ((cell, (_, align)), most) in row.iter().zip(columns).zip(&*widths) {
                let space = " ".repeat(most.saturating_sub(width(cell)));
                match align {
                    Align::Left => line.push_str(&format!("{cell}{space}  ")),
                    Align::Right => line.push_str(&format!("{space}{cell}  ")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Columns of a terminal that a text takes; colours take none.
fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_spaces() {
        let columns = [
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("WHERE", Align::Left),
        ];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["a", "1 B", "here"]), row(["é long", "12 kB", ""])];
        let lines = [
            "NAME     SIZE  WHERE",
            "a         1 B  here",
            "é long  12 kB",
            "",
        ];
        assert_eq!(table(&columns, &rows), lines.join("\n"));
    }

    #[test]
    fn sentences_go_on_in_lines_of_their_own() {
        let columns = [("IF", Align::Left), ("FROM", Align::Left)];
        let sentence = "every good copy is in this house, ".repeat(4);
        let rows = [
            vec!["fire".to_owned(), sentence.trim_end().to_owned()],
            vec!["a fault of one format".to_owned(), "disk".to_owned()],
        ];
        let text = prose_table(&columns, &rows);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[2].starts_with(&" ".repeat(23)), "{text}");
        assert_eq!(lines[4], "a fault of one format  disk");
        let words = text
            .split_whitespace()
            .skip(2)
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(words, format!("fire {sentence}a fault of one format disk"));
    }

    #[test]
    fn a_long_table_is_set_in_pages_that_only_grow_wider() {
        let columns = [("NAME", Align::Left), ("SIZE", Align::Right)];
        let rows = |name: &str| vec![vec![name.to_owned(), "1 B".to_owned()]];
        let mut table = Table::new(&columns);
        assert_eq!(table.page(&rows("a")), "NAME  SIZE\na      1 B\n");
        assert_eq!(table.page(&rows("longer")), "longer   1 B\n");
        assert_eq!(table.page(&rows("b")), "b        1 B\n");
        assert_eq!(table.page(&[]), "");
    }
}
