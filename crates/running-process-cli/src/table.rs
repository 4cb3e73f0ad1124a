//! Tables for people: on a narrow terminal without their least important columns, in a pipe with all of them.

use crate::text::{columns, cut, safe};
use crate::wrap::fitted;
use anstyle::Style;
use std::fmt::{Display, Write as _};

const BOLD: Style = Style::new().bold();
/// Blanks between two columns.
const GAP: usize = 2;

/// The side of a column on which its cells begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) align: Align,
    /// The column with the largest rank is left out first. One with rank 0 stays.
    pub(crate) rank: u8,
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Creates a cell; hostile characters of `text` are escaped.
    pub(crate) fn new(text: impl Display) -> Self {
        Self::styled(text, Style::new())
    }

    /// Creates a cell in a style.
    pub(crate) fn styled(text: impl Display, style: Style) -> Self {
        Self { text: safe(text).to_string(), style }
    }
}

/// A table with a header.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// Creates a table without rows.
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// Formats the table as lines of at most `width` columns, if there is a width. The last line names the columns that are left out.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let (shown, left_out) = self.fitting(width.unwrap_or(usize::MAX));
        let header = self.columns.map(|column| Cell { text: column.title.to_owned(), style: BOLD });
        let rows = std::iter::once(&header).chain(&self.rows);
        let mut lines: Vec<String> = rows.map(|row| self.line(row, &shown)).collect();
        if !left_out.is_empty() {
            let names: Vec<&str> = left_out.iter().map(|&index| self.columns[index].title).collect();
            let notice = format!("not shown for lack of room: {}", names.join(", ").to_lowercase());
            let width = width.unwrap_or(usize::MAX);
            lines.extend(fitted(&notice, width).split('\n').map(|line| cut(line, width)));
        }
        lines
    }

    /// Returns the columns that fit, each with its width, and those that do not.
    fn fitting(&self, width: usize) -> (Vec<(usize, usize)>, Vec<usize>) {
        let natural = |index: usize| {
            let cells = self.rows.iter().map(|row| columns(&row[index].text));
            cells.max().unwrap_or_default().max(columns(self.columns[index].title))
        };
        let mut shown: Vec<(usize, usize)> = (0..N).map(|index| (index, natural(index))).collect();
        let mut left_out = Vec::new();
        loop {
            let taken = shown.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP);
            if taken <= width {
                break;
            }
            let rank = |&(_, &(index, _)): &(usize, &(usize, usize))| self.columns[index].rank;
            let least = shown.iter().enumerate().filter(|entry| rank(entry) > 0).max_by_key(rank);
            let Some((position, _)) = least else {
                // The widest column is cut.
                let excess = taken - width;
                if let Some((_, widest)) = shown.iter_mut().max_by_key(|(_, width)| *width) {
                    *widest = widest.saturating_sub(excess);
                }
                break;
            };
            left_out.push(shown.remove(position).0);
        }
        left_out.sort_unstable();
        (shown, left_out)
    }

    fn line(&self, row: &[Cell; N], shown: &[(usize, usize)]) -> String {
        let mut line = String::new();
        let mut pending = 0;
        for &(index, width) in shown {
            let Cell { text, style } = &row[index];
            let text = cut(text, width);
            let pad = width - columns(&text);
            let before = if self.columns[index].align == Align::Right { pad } else { 0 };
            let _infallible = write!(line, "{:1$}{style}{text}{style:#}", "", pending + before);
            pending = pad - before + GAP;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let column = |title, align, rank| Column { title, align, rank };
        let mut table = Table::new([
            column("NAME", Align::Left, 0),
            column("PID", Align::Right, 2),
            column("STATE", Align::Left, 1),
        ]);
        table.row(["cache", "4711", "live"].map(Cell::new));
        table.row(["日本", "7", "a\x1b"].map(Cell::new));
        table
    }

    fn plain(width: Option<usize>) -> String {
        let lines = table().lines(width).join("\n");
        anstream::adapter::strip_str(&lines).to_string()
    }

    #[test]
    fn cells_are_aligned_and_escaped_and_lines_have_no_blanks_at_the_end() {
        let expected = "NAME    PID  STATE\ncache  4711  live\n日本      7  a\\u{1b}";
        assert_eq!(plain(None), expected);
        assert_eq!(plain(Some(20)), expected);
    }

    #[test]
    fn a_narrow_terminal_gets_the_most_important_columns_and_is_told_which_are_left_out() {
        let two = "NAME   STATE\ncache  live\n日本   a\\u{1b}";
        assert_eq!(plain(Some(19)), format!("{two}\nnot shown for lack\n  of room: pid"));
        assert!(plain(Some(5)).starts_with("NAME\ncache\n日本\nnot\n"));
        assert!(plain(Some(4)).starts_with("NAME\ncac…\n日本\nnot\n"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 0..30 {
            for line in plain(Some(width)).lines() {
                assert!(columns(line) <= width, "{width}: {line:?}");
            }
        }
    }
}
