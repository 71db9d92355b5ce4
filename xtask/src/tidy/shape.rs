//! Rules about the shape of files: names, lengths, ignored tests and machines' paths.

use super::Finding;
use super::files::{File, Files};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const CATCH_ALL_NAMES: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "misc", "types", "manager", "service"];

fn finding(file: &File, line: usize, what: String) -> Finding {
    Finding { path: file.path.clone(), line, what }
}

/// Finds modules with a catch-all name, such as `common`.
pub(super) fn catch_all_modules(files: &Files) -> Vec<Finding> {
    let is_catch_all = |name: &str| CATCH_ALL_NAMES.contains(&name);
    let mut findings = Vec::new();
    for file in files.rust() {
        let mut parts = file.path.trim_end_matches(".rs").split('/');
        if let Some(name) = parts.find(|part| is_catch_all(part)) {
            findings.push(finding(file, 1, format!("a module called `{name}`")));
        }
        for (number, line) in (1..).zip(&file.lines) {
            let declared = line.code.trim().rsplit("mod ").next().unwrap_or_default();
            let name = declared.trim_end_matches([';', '{', '}', ' ']);
            if line.code.contains("mod ")
                && line.code.trim_end().ends_with('{')
                && is_catch_all(name)
            {
                findings.push(finding(file, number, format!("a module called `{name}`")));
            }
        }
    }
    findings
}

/// Finds files of more than 500 lines, not counting their tests.
pub(super) fn long_files(files: &Files) -> Vec<Finding> {
    let length = |file: &File| file.outside_tests().count();
    files
        .rust()
        .filter(|file| length(file) > FILE_LINES_MAX)
        .map(|file| finding(file, 1, format!("{} lines", length(file))))
        .collect()
}

/// Finds functions of more than 70 lines, from `fn` to the closing brace.
pub(super) fn long_functions(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.rust() {
        for (number, line) in file.outside_tests() {
            let Some(name) = function_name(&line.code) else { continue };
            let length = file.end_of_item(number - 1) + 2 - number;
            if length > FUNCTION_LINES_MAX {
                findings.push(finding(file, number, format!("`{name}` has {length} lines")));
            }
        }
    }
    findings
}

fn function_name(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let is_keyword = before.is_empty() || before.ends_with([' ', '(']);
    let end = after.find(|character: char| !character.is_alphanumeric() && character != '_')?;
    (is_keyword && end > 0).then(|| &after[..end])
}

/// Finds ignored tests.
pub(super) fn ignored_tests(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.rust() {
        for (number, line) in (1..).zip(&file.lines) {
            if line.code.contains("#[ignore") || line.code.contains(", ignore") {
                findings.push(finding(file, number, "an ignored test".to_owned()));
            }
        }
    }
    findings
}

/// Finds paths of the machine on which a file was written.
pub(super) fn machine_paths(files: &Files) -> Vec<Finding> {
    // Composed here, so that this file does not contain the paths.
    let roots = ["work", "home", "root"].map(|directory| format!("/{directory}/"));
    let mut findings = Vec::new();
    for file in files.all() {
        for (number, line) in (1..).zip(&file.lines) {
            if let Some(root) = roots.iter().find(|root| names_path(&line.raw, root)) {
                findings.push(finding(file, number, format!("a path that begins with {root}")));
            }
        }
    }
    findings
}

/// Returns whether a path begins with `root`: `a/home/b` and `https://host/home/` do not.
fn names_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || "-_.}/]".contains(character))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catch_all_modules_are_found_as_files_directories_and_inline() {
        for (path, content) in [
            ("crates/a/src/util.rs", ""),
            ("crates/a/src/common/b.rs", ""),
            ("crates/a/src/b.rs", "pub mod helpers {\n}"),
        ] {
            assert_eq!(catch_all_modules(&Files::of(&[(path, content)])).len(), 1, "{path}");
        }
        assert_eq!(catch_all_modules(&Files::of(&[("crates/a/src/utility.rs", "mod b {\n}")])), []);
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(100));
        let fits = format!("{}{tests}", "// a\n".repeat(FILE_LINES_MAX));
        assert_eq!(long_files(&Files::of(&[("a.rs", &fits)])), []);
        let long = format!("{}{tests}", "// a\n".repeat(FILE_LINES_MAX + 1));
        assert_eq!(long_files(&Files::of(&[("a.rs", &long)])).len(), 1);
    }

    #[test]
    fn a_function_is_measured_from_its_name_to_its_brace() {
        let function = |lines| {
            format!("struct A;\n\npub(crate) async fn a(\n) {{\n{}}}\n", "b();\n".repeat(lines))
        };
        let fits = function(FUNCTION_LINES_MAX - 3);
        assert_eq!(long_functions(&Files::of(&[("a.rs", &fits)])), []);
        let long = long_functions(&Files::of(&[("a.rs", &function(FUNCTION_LINES_MAX - 2))]));
        assert_eq!(long.len(), 1);
        assert_eq!((long[0].line, long[0].what.as_str()), (3, "`a` has 71 lines"));
    }

    #[test]
    fn a_function_type_and_a_function_without_body_are_no_functions() {
        let code = format!(
            "type F = fn(u8) -> u8;\ntrait A {{\n    fn b(&self, c: [u8; 3]);\n{}}}\n",
            "\n".repeat(80)
        );
        assert_eq!(long_functions(&Files::of(&[("a.rs", &code)])), []);
    }

    #[test]
    fn an_ignored_test_is_found_with_and_without_reason() {
        let code = "#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(unix, ignore)]\n// #[ignore]\n";
        assert_eq!(ignored_tests(&Files::of(&[("a.rs", code)])).len(), 3);
    }

    #[test]
    fn a_machines_path_is_found_in_any_file() {
        let content = format!("see /{}/a\nhttps://a.example/{0}/b\n", "home");
        let found = machine_paths(&Files::of(&[("README.md", &content)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 1);
    }
}
