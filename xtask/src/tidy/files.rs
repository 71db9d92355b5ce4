//! The tracked files. For Rust, each line is split into code, text and tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Every tracked or new file that is UTF-8.
pub(super) struct Files(Vec<File>);

/// One file. Its lines are counted from 0 here, and from 1 in findings.
pub(super) struct File {
    /// The path within the repository, with `/`.
    pub(super) path: String,
    pub(super) lines: Vec<Line>,
}

/// One line in three views. In a file that is not Rust all three are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) raw: String,
    /// The line without comments and without quoted text.
    pub(super) code: String,
    /// The line without comments.
    pub(super) text: String,
    /// Whether it belongs to a test.
    pub(super) is_test: bool,
}

impl Files {
    pub(super) fn tracked(root: &Path) -> anyhow::Result<Self> {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("`git ls-files` does not start")?;
        ensure!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
        let listing = String::from_utf8(listing.stdout).context("a path is not UTF-8")?;
        let paths = listing.split('\0').filter(|path| !path.is_empty());
        // A missing tracked file was deleted, and the deletion is not yet committed.
        let read =
            |path: &str| Some(File::new(path, &std::fs::read_to_string(root.join(path)).ok()?));
        Ok(Self(paths.filter_map(read).collect()))
    }

    pub(super) fn all(&self) -> &[File] {
        &self.0
    }

    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|file| file.is_rust())
    }

    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a File> {
        self.0.iter().filter(move |file| file.path.rsplit('/').next() == Some(name))
    }

    /// A repository with these files, for a test.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, content)| File::new(path, content)).collect())
    }
}

impl File {
    fn new(path: &str, content: &str) -> Self {
        let plain = |line: &str| {
            let raw = line.to_owned();
            Line { code: raw.clone(), text: raw.clone(), raw, is_test: false }
        };
        let mut file = Self { path: path.to_owned(), lines: content.lines().map(plain).collect() };
        if file.is_rust() {
            let (code, text) = views(content);
            for (line, (code, text)) in file.lines.iter_mut().zip(code.lines().zip(text.lines())) {
                (line.code, line.text) = (code.to_owned(), text.to_owned());
            }
            file.mark_tests();
        }
        file
    }

    pub(super) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub(super) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|one| one == extension)
    }

    /// The lines outside tests, each with its number from 1.
    pub(super) fn outside_tests(&self) -> impl Iterator<Item = (usize, &Line)> {
        (1..).zip(&self.lines).filter(|(_, line)| !line.is_test)
    }

    /// The whole text of the file.
    pub(super) fn content(&self) -> String {
        self.lines.iter().flat_map(|line| [line.raw.as_str(), "\n"]).collect()
    }

    /// The index of the line on which the block ends that opens at or after `start`. It is `start`
    /// itself if a semicolon comes before a block.
    pub(super) fn end_of_item(&self, start: usize) -> usize {
        let (mut braces, mut others) = (0_usize, 0_usize);
        for (index, line) in self.lines.iter().enumerate().skip(start) {
            for character in line.code.chars() {
                match character {
                    '(' | '[' => others += 1,
                    ')' | ']' => others = others.saturating_sub(1),
                    '{' => braces += 1,
                    '}' if braces == 1 => return index,
                    '}' => braces = braces.saturating_sub(1),
                    ';' if braces == 0 && others == 0 => return index,
                    _ => {}
                }
            }
        }
        self.lines.len().saturating_sub(1)
    }

    fn mark_tests(&mut self) {
        let is_test_file = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        for line in &mut self.lines {
            line.is_test = is_test_file;
        }
        for start in 0..self.lines.len() {
            if self.lines[start].code.contains("#[cfg(test)]") {
                let end = self.end_of_item(start);
                for line in &mut self.lines[start..=end] {
                    line.is_test = true;
                }
            }
        }
    }
}

/// The context of the current characters.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Within {
    Code,
    LineComment,
    /// The number of open comments.
    BlockComment(usize),
    Quotes,
    /// The number of `#` in the closing delimiter.
    RawQuotes(usize),
}

/// Replaces comments and quoted text of Rust by blanks: both in the first result, comments only in
/// the second. The line numbers stay.
fn views(content: &str) -> (String, String) {
    let characters: Vec<char> = content.chars().collect();
    let (mut code, mut text) = (String::new(), String::new());
    let (mut within, mut index) = (Within::Code, 0);
    while index < characters.len() {
        let rest = &characters[index..];
        let (length, next) = token(rest, within, index.checked_sub(1).map(|at| characters[at]));
        let is_character = rest[0] == '\'' && length > 1;
        for &character in &rest[..length] {
            let is_comment =
                |within| matches!(within, Within::LineComment | Within::BlockComment(_));
            let ends_line = character == '\n';
            let all_code = within == Within::Code && next == Within::Code && !is_character;
            code.push(if ends_line || all_code { character } else { ' ' });
            let any_comment = is_comment(within) || is_comment(next);
            text.push(if ends_line || !any_comment { character } else { ' ' });
        }
        (within, index) = (next, index + length);
    }
    (code, text)
}

/// The length of the token at the start of `rest`, and the context after it.
fn token(rest: &[char], within: Within, before: Option<char>) -> (usize, Within) {
    let starts =
        |prefix: &str| prefix.chars().eq(rest.iter().copied().take(prefix.chars().count()));
    match within {
        Within::LineComment if rest[0] == '\n' => (1, Within::Code),
        Within::BlockComment(depth) if starts("/*") => (2, Within::BlockComment(depth + 1)),
        Within::BlockComment(1) if starts("*/") => (2, Within::Code),
        Within::BlockComment(depth) if starts("*/") => (2, Within::BlockComment(depth - 1)),
        Within::Quotes if rest[0] == '\\' => (rest.len().min(2), Within::Quotes),
        Within::Quotes if rest[0] == '"' => (1, Within::Code),
        Within::RawQuotes(hashes) if starts(&format!("\"{}", "#".repeat(hashes))) => {
            (1 + hashes, Within::Code)
        }
        Within::Code if starts("//") => (2, Within::LineComment),
        Within::Code if starts("/*") => (2, Within::BlockComment(1)),
        Within::Code if rest[0] == '"' => (1, Within::Quotes),
        Within::Code if rest[0] == '\'' => (character_literal(rest), Within::Code),
        Within::Code if rest[0] == 'r' && !before.is_some_and(is_inside_word) => {
            let hashes = rest[1..].iter().take_while(|character| **character == '#').count();
            match rest.get(1 + hashes) {
                Some('"') => (2 + hashes, Within::RawQuotes(hashes)),
                _ => (1, Within::Code),
            }
        }
        within => (1, within),
    }
}

/// A `b` before `r"` belongs to the literal; any other letter makes the `r` the end of a name.
fn is_inside_word(character: char) -> bool {
    (character.is_alphanumeric() || character == '_') && character != 'b'
}

/// The length of `'x'` or `'\n'`; 1 for the quote of a lifetime.
fn character_literal(rest: &[char]) -> usize {
    match rest {
        [_, '\\', _, tail @ ..] => {
            tail.iter().position(|character| *character == '\'').map_or(1, |end| end + 4)
        }
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(content: &str) -> Line {
        File::new("a.rs", content).lines[0].clone()
    }

    #[test]
    fn a_comment_is_neither_code_nor_text() {
        let line = line("a(); // b()");
        assert_eq!((line.code.trim_end(), line.text.trim_end()), ("a();", "a();"));
        let lines = File::new("a.rs", "/* a /* b */ c\n*/ d").lines;
        assert_eq!((lines[0].code.trim(), lines[1].code.trim()), ("", "d"));
    }

    #[test]
    fn quoted_text_is_not_code() {
        for quoted in
            [r#""a { // b""#, r##"r#"a { " // b"#"##, r#"b"a { // b""#, r#""\" a { // b""#]
        {
            let line = line(&format!("let x = {quoted};"));
            assert!(line.text.contains("a { "), "{line:?}");
            assert!(!line.code.contains('{') && line.code.contains("let x ="), "{line:?}");
        }
    }

    #[test]
    fn a_quote_may_be_a_character_or_a_lifetime() {
        for code in
            ["let x = '\"'; y {", "fn a<'b>(c: &'b str) {", "let x = '\\''; y {", "'\\u{22}'; {"]
        {
            assert!(line(code).code.ends_with('{'), "{code}");
        }
    }

    #[test]
    fn a_brace_that_is_a_character_opens_nothing() {
        assert_eq!(line("a('{', b'}', '\\'');").code.replace(' ', ""), "a(,b,);");
    }

    #[test]
    fn a_test_module_is_marked_to_its_brace() {
        let file =
            File::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}");
        let outside: Vec<usize> = file.outside_tests().map(|(number, _)| number).collect();
        assert_eq!(outside, [1, 6]);
        let file = File::new("a.rs", "#[cfg(test)]\nmod tests;\nfn c() {}");
        assert_eq!(file.outside_tests().count(), 1);
    }
}
