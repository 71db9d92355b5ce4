//! Rules for comments and documents: forbidden phrases, fragments, and the length of lines.

use super::Finding;
use super::files::{File, Files, Line};

const COMMENT_COLUMNS_MAX: usize = 100;
const MARKDOWN_COLUMNS_MAX: usize = 200;

/// A line of Markdown with fewer letters than this outside code and links is a list of names.
const LIST_LETTERS_MAX: usize = 60;

/// Phrases that a reader has to translate, each with plain words for it.
const PHRASES: &[(&str, &str)] = &[
    ("told from", "say `distinguished from`, or what differs"),
    ("nobody's", "say which thing it is, or that it is unknown"),
    ("none's", "say which thing it is, or that it is unknown"),
    ("on the line", "say `connected`"),
];

/// This file, which contains the phrases.
const OWN_PATH: &str = "xtask/src/tidy/words.rs";

/// Words that begin a question. A comment that is only a question names nothing.
const QUESTIONS: &[&str] =
    &["both", "how", "what", "when", "where", "whether", "which", "who", "whom", "whose", "why"];
const BEFORE_QUESTIONS: &[&str] =
    &["and", "at", "by", "for", "from", "in", "of", "on", "since", "to", "until", "with"];
const FRAGMENT_WORDS_MAX: usize = 3;

fn finding(file: &File, line: usize, what: String) -> Finding {
    Finding { path: file.path.clone(), line, what }
}

/// Finds doc comments that are a fragment, such as `Which.` or `And why.`
pub(super) fn fragments(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.rust() {
        let docs: Vec<Option<&str>> = file.lines.iter().map(doc_text).collect();
        for (index, doc) in docs.iter().enumerate() {
            let Some(text) = *doc else { continue };
            let before = index.checked_sub(1).and_then(|before| docs[before]);
            let is_whole = before.is_none() && docs.get(index + 1).copied().flatten().is_none();
            if is_whole && is_fragment(text) {
                findings.push(finding(file, index + 1, format!("`{text}`")));
            }
        }
    }
    findings
}

/// The text of a line, if it is a doc comment.
fn doc_text(line: &Line) -> Option<&str> {
    let comment = line.raw.trim();
    let text = comment.strip_prefix("///").or_else(|| comment.strip_prefix("//!"))?;
    line.text.trim().is_empty().then(|| text.trim())
}

fn is_fragment(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().map(bare).collect();
    let asks = |word: Option<&String>| word.is_some_and(|word| QUESTIONS.contains(&word.as_str()));
    let is_led_in = words.first().is_some_and(|word| BEFORE_QUESTIONS.contains(&word.as_str()));
    words.len() <= FRAGMENT_WORDS_MAX && (asks(words.first()) || (is_led_in && asks(words.get(1))))
}

/// A word in lower case, without surrounding punctuation.
fn bare(word: &str) -> String {
    let word = word.trim_matches(|character: char| !character.is_alphanumeric());
    word.to_lowercase().replace('’', "'")
}

/// Finds the phrases, also across the end of a line.
pub(super) fn phrases(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.all().iter().filter(|file| file.path != OWN_PATH) {
        let words = words(file);
        for (phrase, instead) in PHRASES {
            let parts: Vec<&str> = phrase.split(' ').collect();
            for at in words.windows(parts.len()) {
                let is_same = at.iter().map(|word| &word.bare).eq(&parts);
                if is_same && at[..parts.len() - 1].iter().all(|word| !word.ends_clause) {
                    findings.push(finding(file, at[0].line, format!("`{phrase}`: {instead}")));
                }
            }
        }
    }
    findings
}

struct Word {
    line: usize,
    bare: String,
    /// Whether punctuation follows the word.
    ends_clause: bool,
}

/// The words of a file, without comment markers and other punctuation.
fn words(file: &File) -> Vec<Word> {
    let numbered = (1..).zip(&file.lines);
    let words = numbered.flat_map(|(line, text)| {
        text.raw.split_whitespace().map(move |word| Word {
            line,
            bare: bare(word),
            ends_clause: !word.ends_with(char::is_alphanumeric),
        })
    });
    words.filter(|word| !word.bare.is_empty()).collect()
}

/// Finds lines with a comment of more than 100 columns, except if the comment is one word, such as
/// an address, or a line of a table or a code fence.
pub(super) fn long_comments(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.rust() {
        let mut is_in_fence = false;
        for (number, line) in (1..).zip(&file.lines) {
            let text = comment(line).trim_start_matches(['/', '!']).trim_start();
            let is_fence = text.starts_with("```");
            // A code fence ends at the latest with its comment.
            is_in_fence = (is_in_fence ^ is_fence) && !comment(line).is_empty();
            let columns = line.raw.chars().count();
            let is_exempt = is_in_fence || text.starts_with('|') || !text.contains(' ');
            if columns > COMMENT_COLUMNS_MAX && !is_exempt {
                findings.push(finding(file, number, format!("{columns} columns")));
            }
        }
    }
    findings
}

/// The comment at the end of a line, or an empty text.
fn comment(line: &Line) -> &str {
    let pairs = line.raw.char_indices().zip(line.text.chars());
    let start = pairs.into_iter().find(|((_, raw), text)| raw != text).map(|((at, _), _)| at);
    start.map_or("", |start| &line.raw[start..])
}

/// Finds lines of Markdown of more than 200 columns, except in tables and code fences, and except
/// lists of names or links.
pub(super) fn long_markdown(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.all().iter().filter(|file| file.has_extension("md")) {
        let mut is_in_fence = false;
        for (number, line) in (1..).zip(&file.lines) {
            let text = line.raw.trim_start();
            let is_fence = text.starts_with("```");
            is_in_fence ^= is_fence;
            let columns = line.raw.chars().count();
            let is_exempt = is_in_fence || is_fence || text.starts_with('|') || is_list(text);
            if columns > MARKDOWN_COLUMNS_MAX && !is_exempt {
                findings.push(finding(file, number, format!("{columns} columns")));
            }
        }
    }
    findings
}

/// Returns whether a line has few letters outside code spans and links' addresses.
fn is_list(text: &str) -> bool {
    let prose = text.split('`').step_by(2).flat_map(|part| {
        part.split("](").enumerate().map(|(index, piece)| match index {
            0 => piece,
            _ => piece.split_once(')').map_or("", |(_, after)| after),
        })
    });
    let letters = prose.flat_map(str::chars).filter(|character| character.is_alphanumeric());
    letters.count() <= LIST_LETTERS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(check: fn(&Files) -> Vec<Finding>, code: &str) -> Vec<usize> {
        check(&Files::of(&[("crates/a/src/b.rs", code)])).iter().map(|one| one.line).collect()
    }

    fn markdown(check: fn(&Files) -> Vec<Finding>, text: &str) -> Vec<usize> {
        check(&Files::of(&[("docs/a.md", text)])).iter().map(|one| one.line).collect()
    }

    #[test]
    fn a_doc_comment_that_is_a_fragment_is_found() {
        for text in
            ["Which.", "And why.", "How many.", "Since when.", "Both.", "Whose users.", "By whom."]
        {
            assert_eq!(
                rust(fragments, &format!("struct A {{\n    /// {text}\n    b: u8,\n}}")),
                [2]
            );
        }
        assert_eq!(rust(fragments, "//! What.\n\nuse a;"), [1]);
    }

    #[test]
    fn a_longer_doc_comment_is_no_fragment() {
        for code in [
            "/// Which.\n/// The device that signed.\nb: u8,",
            "/// The device that signed.\n///\n/// Which.\nb: u8,",
            "/// How many seeds are tried.\nb: u8,",
            "/// The device.\nb: u8,",
            "/// In seconds.\nb: u8,",
            "// Which.\nb: u8,",
            "const A: &str = \"\n/// Which.\n\";",
        ] {
            assert_eq!(rust(fragments, code), [0; 0], "{code}");
        }
    }

    #[test]
    fn a_phrase_is_found_in_code_in_text_and_over_the_end_of_a_line() {
        for code in [
            "// A hit is Told From a miss.",
            "let a = \"the address is nobody's\";",
            "/// This address is nobody’s, now.",
            "// It is none's.",
            "/// Devices that are on\n/// the line.",
        ] {
            assert_eq!(rust(phrases, code), [1], "{code}");
        }
        assert_eq!(markdown(phrases, "A\n* device on the\n  line."), [2]);
        assert_eq!(rust(phrases, "// Told, from then on: the lines, on the\n// liner."), [0; 0]);
        let own = Files::of(&[(OWN_PATH, "// told from")]);
        assert_eq!(phrases(&own), []);
    }

    #[test]
    fn a_comment_is_measured_with_its_whole_line() {
        let long = |start: &str| format!("{start} b {}", "c".repeat(COMMENT_COLUMNS_MAX));
        for start in ["//", "    ///", "//!", "let a = 1; //"] {
            assert_eq!(rust(long_comments, &long(start)), [1], "{start}");
        }
        let fits = format!("// a {}", "b".repeat(COMMENT_COLUMNS_MAX - 5));
        let address = format!("/// <https://a.example/{}>", "b".repeat(COMMENT_COLUMNS_MAX));
        let text = long("let a = \"//");
        let table = long("/// |");
        let fence = format!("/// ```\n///\n{}\n/// ```", long("///"));
        for code in [fits, address, text, table, fence.clone()] {
            assert_eq!(rust(long_comments, &code), [0; 0], "{code}");
        }
        assert_eq!(rust(long_comments, &format!("{fence}\n{}", long("///"))), [5]);
        assert_eq!(rust(long_comments, &format!("/// ```\nlet a = 1;\n{}", long("//"))), [3]);
    }

    #[test]
    fn a_line_of_markdown_is_measured_unless_it_cannot_be_broken() {
        let long = "word ".repeat(MARKDOWN_COLUMNS_MAX / 5 + 1);
        assert_eq!(markdown(long_markdown, &format!("a\n\n* {long}")), [3]);
        let fits = &long[..MARKDOWN_COLUMNS_MAX];
        let names = format!("Refused: {}.", "`name`, ".repeat(MARKDOWN_COLUMNS_MAX / 8 + 1));
        let link = format!("* [the page](https://a.example/{})", long.replace(' ', "-"));
        for text in [fits, &names, &link, &format!("| {long} |"), &format!("```sh\n{long}\n```")] {
            assert_eq!(markdown(long_markdown, text), [0; 0], "{text}");
        }
    }
}
