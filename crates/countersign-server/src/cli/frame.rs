//! Content that is or was signed, drawn in a frame.
//!
//! The guarantee: all text inside comes through [`display`], so it cannot draw a frame's line or a
//! row of its own, and all of it is shown: long lines are broken, never cut.

use countersign_device::{View, display};

use super::paint::Paint;

/// Columns inside the frame.
const INSIDE_MAX: usize = 68;
/// The largest number of columns for labels.
const LABEL_MAX: usize = 24;
const GAP: usize = 2;

/// A frame's lines, with `title` in the upper line.
pub(super) fn frame(title: &str, view: &View, paint: Paint) -> Vec<String> {
    let (text, rows) = match view {
        View::Text(text) | View::Html(text) => (wrapped_text(text), Vec::new()),
        View::Statement(statement) => {
            let rows = statement
                .rows
                .iter()
                .map(|(label, value)| (display::line(label), display::line(value)));
            (wrapped_text(&statement.message), aligned(&rows.collect::<Vec<_>>()))
        }
        View::Bytes(_) => (dumped(view), Vec::new()),
        View::Digest(digest) => {
            let rows = digest.rows().into_iter();
            let rows = rows.map(|(label, value)| (label.to_owned(), display::line(&value)));
            let html = digest.html.as_deref().map(wrapped_text).unwrap_or_default();
            (html, aligned(&rows.collect::<Vec<_>>()))
        }
    };
    let title = title_of(title);
    let widest = text.iter().chain(&rows).map(|line| columns(line)).max().unwrap_or(0);
    let inside = widest.max(columns(&title) + 2);

    let edge = |text: String| paint.dim(text);
    let line = |content: &String| {
        let blank = " ".repeat(inside - columns(content));
        format!("{} {content}{blank} {}", paint.dim("│"), paint.dim("│"))
    };
    let upper = "─".repeat(inside - columns(&title) - 1);
    let mut lines =
        vec![format!("{} {} {}", paint.dim("╭─"), paint.bold(&title), edge(format!("{upper}╮")))];
    lines.extend(text.iter().map(line));
    if !text.is_empty() && !rows.is_empty() {
        lines.push(edge(format!("├{}┤", "─".repeat(inside + 2))));
    }
    lines.extend(rows.iter().map(line));
    lines.push(edge(format!("╰{}╯", "─".repeat(inside + 2))));
    lines
}

fn title_of(title: &str) -> String {
    let title = display::line(title);
    wrapped(&title, INSIDE_MAX - 2).into_iter().next().unwrap_or_default()
}

fn wrapped_text(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    display::text(text).split('\n').flat_map(|line| wrapped(line, INSIDE_MAX)).collect()
}

/// Labels in their own column, with the values beside them.
fn aligned(rows: &[(String, String)]) -> Vec<String> {
    let label_width = rows.iter().map(|(label, _)| columns(label)).max().unwrap_or(0);
    let label_width = label_width.min(LABEL_MAX);
    let mut lines = Vec::new();
    for (label, value) in rows {
        let labels = wrapped(label, label_width.max(1));
        let values = wrapped(value, INSIDE_MAX - label_width - GAP);
        for at in 0..labels.len().max(values.len()) {
            let label = labels.get(at).map_or("", String::as_str);
            let value = values.get(at).map_or("", String::as_str);
            let blank = " ".repeat(label_width + GAP - columns(label));
            lines.push(format!("{label}{blank}{value}"));
        }
    }
    lines
}

fn dumped(view: &View) -> Vec<String> {
    let lines = view.to_string();
    lines.lines().map(|line| line.strip_prefix("│ ").unwrap_or(line).to_owned()).collect()
}

/// The line in pieces of at most `width` columns, broken after a blank if there is one. At least
/// one piece; no character is lost.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let (mut piece, mut used) = (String::new(), 0);
    for letter in line.chars() {
        let needed = columns_of(letter);
        if used + needed > width && !piece.is_empty() {
            let blank = piece.rfind(' ').map(|at| at + 1).filter(|at| *at < piece.len());
            let rest = blank.map(|at| piece.split_off(at)).unwrap_or_default();
            pieces.push(std::mem::replace(&mut piece, rest));
            used = columns(&piece);
        }
        piece.push(letter);
        used += needed;
    }
    pieces.push(piece);
    pieces
}

fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The columns that a character takes in a terminal, by Unicode block; only for the layout.
fn columns_of(letter: char) -> usize {
    match letter {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use countersign_wire::statement::Statement;

    use super::super::paint::Color;
    use super::*;

    fn drawn(title: &str, view: &View) -> String {
        frame(title, view, Paint::new(Color::Never)).join("\n")
    }

    fn statement(message: &str, rows: &[(&str, &str)]) -> View {
        let rows = rows.iter().map(|(label, value)| ((*label).into(), (*value).into()));
        View::Statement(Statement { message: message.into(), rows: rows.collect() })
    }

    #[test]
    fn a_statement_has_its_message_above_its_rows() {
        let view = statement("Pay", &[("To", "Zoë"), ("Amount", "5 €")]);
        let expected = "\
╭─ Acme asks ─╮
│ Pay         │
├─────────────┤
│ To      Zoë │
│ Amount  5 € │
╰─────────────╯";
        assert_eq!(drawn("Acme asks", &view), expected);
    }

    #[test]
    fn the_frame_is_straight_whatever_is_in_it() {
        let long = "word ".repeat(40) + &"x".repeat(200);
        for view in [
            statement(&long, &[(&long, &long), ("日本", "漢字"), ("", "")]),
            statement("", &[("a", "b")]),
            View::Text("e\u{301}\n\n日本語".into()),
            View::Text(String::new()),
            View::Bytes((0..40).collect()),
        ] {
            let drawn = drawn(&long, &view);
            let widths: Vec<usize> = drawn.lines().map(columns).collect();
            assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
            assert!(widths[0] <= 80, "{drawn}");
        }
    }

    #[test]
    fn no_text_draws_the_frame_or_moves_the_cursor() {
        let view = statement("a\r\u{1b}[1A\n├───┤", &[("x\ny", "\u{202e}z")]);
        let drawn = drawn("t", &view);
        assert!(!drawn.contains(['\u{1b}', '\r', '\u{202e}']));
        assert_eq!(drawn.lines().filter(|line| line.starts_with('├')).count(), 1);
        assert_eq!(drawn.lines().count(), 6);
    }

    #[test]
    fn breaking_a_line_loses_nothing() {
        for line in ["", "a", "two  blanks and a-very-long-word", " leading", "日本語の文"] {
            for width in [1, 2, 3, 7] {
                let pieces = wrapped(line, width);
                assert_eq!(pieces.concat(), line);
                assert!(pieces.iter().all(|piece| columns(piece) <= width.max(2)), "{pieces:?}");
            }
        }
    }
}
