//! Rows and columns for people. The table keeps its shape whatever a cell contains.

use countersign_device::display;

/// Longest cell, in characters; a longer one is cut, and ends in `…`.
const CELL_MAX: usize = 48;
const GAP: &str = "  ";

/// Rows under a head.
#[derive(Debug)]
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with this head and no rows.
    pub(super) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&name| name.to_owned()).collect()])
    }

    /// Adds a row with a cell for each column.
    pub(super) fn row(&mut self, cells: &[&str]) {
        assert_eq!(cells.len(), self.0[0].len(), "a cell for each column");
        self.0.push(cells.iter().map(|cell| fitted(cell)).collect());
    }

    /// The table's lines, or `nothing` if it has no rows.
    pub(super) fn text(&self, nothing: &str) -> String {
        if self.0.len() == 1 {
            return nothing.to_owned();
        }
        let width = |column: usize| self.0.iter().map(|row| length(&row[column])).max();
        let widths: Vec<usize> = (0..self.0[0].len()).filter_map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let cells =
                cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width - length(cell))));
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Names with their values, one a line.
pub(super) fn list(entries: &[(&str, String)]) -> String {
    let width = entries.iter().map(|(name, _)| length(name)).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        format!("{name}{}{GAP}{}", " ".repeat(width - length(name)), display::line(value))
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn fitted(cell: &str) -> String {
    let cell = display::line(cell);
    if cell.is_empty() {
        return "-".to_owned();
    }
    if length(&cell) <= CELL_MAX {
        return cell;
    }
    cell.chars().take(CELL_MAX - 1).chain(['…']).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["USER", "STATE"]);
        table.row(&["jane", "active"]);
        table.row(&["bartholomäus", ""]);
        let expected = "USER          STATE\njane          active\nbartholomäus  -";
        assert_eq!(table.text("No users."), expected);
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(Table::new(&["USER"]).text("No users."), "No users.");
    }

    #[test]
    fn no_cell_breaks_the_table() {
        let mut table = Table::new(&["NAME"]);
        table.row(&["a\nb\u{1b}[2J"]);
        table.row(&[&"x".repeat(100)]);
        let text = table.text("");
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains('\u{1b}'));
        assert!(text.lines().all(|line| length(line) <= CELL_MAX));
    }

    #[test]
    fn a_list_keeps_one_line_a_name() {
        let text = list(&[("id", "1".to_owned()), ("reason", "a\nb".to_owned())]);
        assert_eq!(text, "id      1\nreason  a⟨U+000A⟩b");
    }
}
