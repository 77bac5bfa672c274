//! Tables that fit a terminal.

/// How a column is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading, columns two spaces apart, no trailing spaces.
///
/// The last column may be as long as it likes: names are never cut, so that they can be copied.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|(title, _)| width(title)).collect();
    for row in rows {
        for (cell, most) in row.iter().zip(&mut widths) {
            *most = width(cell).max(*most);
        }
    }
    let titles: Vec<String> = columns
        .iter()
        .map(|(title, _)| (*title).to_owned())
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, (_, align)), most) in row.iter().zip(columns).zip(&widths) {
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

fn width(text: &str) -> usize {
    text.chars().count()
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
}
