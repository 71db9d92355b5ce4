//! Type names: within one crate, a name stands for one type.

use std::collections::BTreeMap;

use super::Finding;
use super::files::{File, Files};

/// Names that are clear with their module: `tenant::Row`, `config::Error`, `cli::user::Command`.
const REPEATABLE: &[&str] = &["Command", "Error", "Row"];

const KEYWORDS: &[&str] = &["enum", "struct", "trait", "type", "union"];

/// Finds structs, enums, traits and type aliases, outside tests, whose name the crate declares
/// twice.
pub(super) fn repeated_types(files: &Files) -> Vec<Finding> {
    // The first declaration by crate and name.
    let mut first: BTreeMap<(&str, &str), (&str, usize)> = BTreeMap::new();
    let mut findings = Vec::new();
    for file in files.rust() {
        let Some((package, _)) = file.path.split_once("/src/") else { continue };
        for (number, name) in declared_types(file) {
            if REPEATABLE.contains(&name) {
                continue;
            }
            let Some((path, line)) = first.get(&(package, name)) else {
                first.insert((package, name), (&file.path, number));
                continue;
            };
            let what = format!("`{name}` is declared in {path}:{line} too");
            findings.push(Finding { path: file.path.clone(), line: number, what });
        }
    }
    findings
}

/// The types that a file declares outside its tests, each with its line, without associated types.
fn declared_types(file: &File) -> Vec<(usize, &str)> {
    let mut types = Vec::new();
    let mut end_of_block = 0;
    for (number, line) in file.outside_tests() {
        let code = without_visibility(line.code.trim());
        let is_associated = code.starts_with("type ") && number <= end_of_block;
        if let Some(name) = type_name(code).filter(|_| !is_associated) {
            types.push((number, name));
        }
        if opens_associated_types(code) && number > end_of_block {
            end_of_block = file.end_of_item(number - 1) + 1;
        }
    }
    types
}

/// Removes `pub`, `pub(…)` and `unsafe` from the front.
fn without_visibility(code: &str) -> &str {
    let rest = match code.strip_prefix("pub(") {
        Some(scoped) => scoped.split_once(')').map_or(code, |(_, rest)| rest),
        None => code.strip_prefix("pub ").unwrap_or(code),
    };
    let rest = rest.trim_start();
    rest.strip_prefix("unsafe ").unwrap_or(rest)
}

fn type_name(code: &str) -> Option<&str> {
    let (keyword, rest) = code.split_once(' ')?;
    let rest = rest.trim_start();
    let is_letter = |character: char| character.is_alphanumeric() || character == '_';
    let name = &rest[..rest.find(|character| !is_letter(character)).unwrap_or(rest.len())];
    // `$name` in a macro is not a name.
    (KEYWORDS.contains(&keyword) && !name.is_empty()).then_some(name)
}

fn opens_associated_types(code: &str) -> bool {
    ["impl ", "impl<", "trait "].iter().any(|start| code.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(one: &str, other: &str) -> usize {
        let files = [("crates/x/src/a.rs", one), ("crates/x/src/b/c.rs", other)];
        repeated_types(&Files::of(&files)).len()
    }

    #[test]
    fn a_name_for_two_types_of_any_kind_is_found() {
        for other in [
            "pub struct Answer;",
            "pub(crate) enum Answer {\n}",
            "pub(in crate::b) trait Answer: Send {\n}",
            "type Answer<T> = Vec<T>;",
            "mod d {\n    unsafe trait Answer {\n    }\n}",
            "fn d() {\n    struct Answer(u8);\n}",
        ] {
            assert_eq!(found("pub struct Answer<T>(T);", other), 1, "{other}");
        }
    }

    #[test]
    fn the_finding_names_both_places() {
        let files = Files::of(&[
            ("crates/x/src/a.rs", "\nstruct Answer;"),
            ("crates/x/src/b.rs", "\n\nstruct Answer;"),
        ]);
        let [finding] = repeated_types(&files).try_into().unwrap();
        assert_eq!((finding.path.as_str(), finding.line), ("crates/x/src/b.rs", 3));
        assert_eq!(finding.what, "`Answer` is declared in crates/x/src/a.rs:2 too");
    }

    #[test]
    fn another_crate_a_test_and_a_text_may_repeat_a_name() {
        for other in [
            "#[cfg(test)]\nmod tests {\n    struct Answer;\n}",
            "// struct Answer;",
            "const A: &str = \"struct Answer;\";",
            "use crate::a::Answer;",
        ] {
            assert_eq!(found("struct Answer;", other), 0, "{other}");
        }
        let elsewhere = [
            ("crates/x/src/a.rs", "struct Answer;"),
            ("crates/y/src/a.rs", "struct Answer;"),
            ("crates/x/tests/it.rs", "struct Answer;"),
        ];
        assert_eq!(repeated_types(&Files::of(&elsewhere)), []);
    }

    #[test]
    fn associated_types_are_ignored_but_types_after_them_are_not() {
        let first = "type Item = u8;\ntrait A {\n    type Item;\n}";
        assert_eq!(found(first, "impl<T> Iterator for B<T> {\n    type Item = T;\n}"), 0);
        let after =
            "impl Iterator for B\nwhere\n    B: C,\n{\n    type Item = u8;\n}\ntype Item = u8;";
        assert_eq!(found(first, after), 1);
    }

    #[test]
    fn names_that_are_clear_with_their_module_may_be_repeated() {
        for name in REPEATABLE {
            assert_eq!(found(&format!("struct {name};"), &format!("enum {name} {{}}")), 0);
        }
    }
}
