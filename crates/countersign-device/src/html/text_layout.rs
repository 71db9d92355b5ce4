//! The layout of text: words in lines, lines in paragraphs, lists and tables.

use core::mem;

use crate::display;

/// The deepest indentation. Further levels are not indented, because a line would be all blanks.
const INDENT_MAX: usize = 8;

/// The separator between two pieces of text; the greater one wins.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Break {
    #[default]
    None,
    Word,
    Line,
    /// An empty line.
    Paragraph,
}

/// A text that is being written.
#[derive(Default)]
pub(super) struct TextLayout {
    column: Column,
    /// The outer columns of the current table cell, innermost last.
    around: Vec<Column>,
    /// The current rows, innermost last, each with the lines of its cells.
    rows: Vec<Vec<Vec<String>>>,
    /// The current lists, innermost last; numbered ones with their next number.
    lists: Vec<Option<i32>>,
    /// The number of open `pre` elements.
    preformatted: usize,
    /// The address and the text of the current link; links do not nest.
    link: Option<(String, String)>,
}

/// Lines below each other: the page, or a cell of a table.
#[derive(Default)]
struct Column {
    lines: Vec<String>,
    gap: Break,
    indent: usize,
    /// The prefix of the next line: an item's dash or number.
    marker: String,
}

impl TextLayout {
    /// Writes text of HTML: several blanks become one, except in `pre`.
    pub(super) fn text(&mut self, text: &str) {
        if self.preformatted > 0 {
            for (at, line) in text.split('\n').enumerate() {
                if at > 0 {
                    self.line_break();
                }
                self.write(&line.replace('\t', "    "));
            }
            return;
        }
        // HTML's white space, which does not include the no-break space.
        for (at, word) in text.split([' ', '\t', '\n', '\r', '\u{c}']).enumerate() {
            if at > 0 {
                self.need(Break::Word);
            }
            self.write(word);
        }
    }

    /// Writes text that stands for an element.
    pub(super) fn mark(&mut self, mark: &str) {
        self.write(mark);
    }

    pub(super) fn need(&mut self, gap: Break) {
        self.column.gap = self.column.gap.max(gap);
    }

    /// Breaks the line. Several breaks give at most one empty line, so that they cannot push text
    /// out of sight.
    pub(super) fn line_break(&mut self) {
        self.need(if self.column.gap >= Break::Line { Break::Paragraph } else { Break::Line });
    }

    pub(super) fn rule(&mut self) {
        self.need(Break::Line);
        self.write("----------");
        self.need(Break::Line);
    }

    pub(super) fn link(&mut self, address: Option<&str>) {
        self.link = address.map(|address| (address.to_owned(), String::new()));
    }

    /// Ends a link, and writes its address unless the text was the address.
    pub(super) fn link_end(&mut self) {
        if let Some((address, text)) = self.link.take()
            && address != text
        {
            self.need(Break::Word);
            self.write(&format!("<{address}>"));
        }
    }

    pub(super) fn preformatted(&mut self) {
        self.need(Break::Paragraph);
        self.preformatted += 1;
    }

    pub(super) fn preformatted_end(&mut self) {
        self.need(Break::Paragraph);
        self.preformatted = self.preformatted.saturating_sub(1);
    }

    pub(super) fn indent(&mut self, gap: Break) {
        self.need(gap);
        self.column.indent += 1;
    }

    pub(super) fn indent_end(&mut self, gap: Break) {
        self.need(gap);
        self.column.indent = self.column.indent.saturating_sub(1);
    }

    /// Begins a list, with numbers from `first` on, or with dashes.
    pub(super) fn list(&mut self, first: Option<i32>) {
        let is_inner = !self.lists.is_empty();
        self.indent(if is_inner { Break::Line } else { Break::Paragraph });
        self.lists.push(first);
    }

    pub(super) fn list_end(&mut self) {
        self.lists.pop();
        let is_inner = !self.lists.is_empty();
        self.indent_end(if is_inner { Break::Line } else { Break::Paragraph });
    }

    pub(super) fn item(&mut self, number: Option<i32>) {
        self.item_end();
        self.column.marker = match self.lists.last_mut() {
            Some(Some(next)) => {
                let number = number.unwrap_or(*next);
                *next = number.saturating_add(1);
                format!("{number}. ")
            }
            _ => "- ".to_owned(),
        };
    }

    /// Ends an item. An empty item is shown too.
    pub(super) fn item_end(&mut self) {
        self.need(Break::Line);
        if !self.column.marker.is_empty() {
            self.column.begin();
            self.need(Break::Line);
        }
    }

    pub(super) fn row(&mut self) {
        self.rows.push(Vec::new());
    }

    /// Ends a row. Cells of one line each are written beside each other, with separators, so that
    /// each is distinct. Larger cells, such as those of a layout table, are written below each
    /// other.
    pub(super) fn row_end(&mut self) {
        let cells = self.rows.pop().unwrap_or_default();
        self.need(Break::Line);
        if cells.iter().all(|cell| cell.len() <= 1) {
            if !cells.is_empty() {
                let cells: Vec<_> = cells.iter().map(|cell| cell.concat()).collect();
                self.column.write(&cells.join(" | "));
            }
        } else {
            for line in cells.into_iter().flatten() {
                self.column.write(&line);
                self.need(Break::Line);
            }
        }
        self.need(Break::Line);
    }

    pub(super) fn cell(&mut self) {
        self.around.push(mem::take(&mut self.column));
    }

    pub(super) fn cell_end(&mut self) {
        let Some(around) = self.around.pop() else { return };
        let cell = mem::replace(&mut self.column, around);
        match self.rows.last_mut() {
            Some(row) => row.push(cell.finish()),
            None => cell.lines.iter().for_each(|line| self.column.write(line)),
        }
    }

    /// All lines.
    pub(super) fn finish(mut self) -> String {
        while !self.around.is_empty() {
            self.cell_end();
            self.row_end();
        }
        self.column.finish().join("\n")
    }

    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some((_, heard)) = &mut self.link {
            heard.push_str(text);
        }
        self.column.write(&display::line(text));
    }
}

impl Column {
    /// Writes text in the form that is safe for a terminal.
    fn write(&mut self, text: &str) {
        match self.gap {
            Break::None | Break::Word if !self.lines.is_empty() && self.marker.is_empty() => {
                if self.gap == Break::Word {
                    self.last().push(' ');
                }
            }
            _ => self.begin(),
        }
        self.gap = Break::None;
        self.last().push_str(text);
    }

    /// Begins a line.
    fn begin(&mut self) {
        if self.gap == Break::Paragraph && !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        let mut line = "  ".repeat(self.indent.min(INDENT_MAX));
        if !self.marker.is_empty() {
            line.truncate(line.len().saturating_sub(2));
            line.push_str(&mem::take(&mut self.marker));
        }
        self.lines.push(line);
        self.gap = Break::None;
    }

    fn last(&mut self) -> &mut String {
        self.lines.last_mut().expect("a line was begun")
    }

    fn finish(self) -> Vec<String> {
        self.lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
    }
}
