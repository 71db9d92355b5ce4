//! The module graph of each crate: which folder or file directly under `src/` imports which.
//!
//! `use` lines, and paths within code, are read if they begin with `crate::` or `super::`. A name
//! that the crate's root re-exports counts as the module that it comes from. Not read are the root
//! itself (`lib.rs`, `main.rs`), tests, macros' expansions, and calls of methods.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Finding;
use super::files::{File, Files};

/// The crates that still have circles. Every other crate is checked.
const EXCEPTED: &[&str] = &["crates/countersign-device", "crates/countersign-proof"];

/// For each module, the modules that it imports, each with one place of an import.
type Graph = BTreeMap<String, BTreeMap<String, Place>>;

/// A file and its line, from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Place {
    path: String,
    line: usize,
}

/// Finds modules of a crate that import each other in a circle.
pub(super) fn circles(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, graph) in graphs(files) {
        let circle = circle(&graph);
        let is_excepted = EXCEPTED.contains(&name.as_str());
        match circle {
            Some(circle) if !is_excepted => findings.push(describe(&graph, &circle)),
            None if is_excepted => findings.push(Finding {
                path: format!("{name}/Cargo.toml"),
                line: 1,
                what: "this crate has no circle any more: remove it from tidy's list of exceptions"
                    .to_owned(),
            }),
            _ => {}
        }
    }
    findings
}

/// The graph of each crate, by the crate's directory.
fn graphs(files: &Files) -> BTreeMap<String, Graph> {
    let mut crates: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    for file in files.rust() {
        if let Some((name, _)) = file.path.split_once("/src/") {
            crates.entry(name).or_default().push(file);
        }
    }
    crates.into_iter().map(|(name, files)| (name.to_owned(), graph(&files))).collect()
}

/// The graph of one crate.
fn graph(files: &[&File]) -> Graph {
    let modules: BTreeSet<String> =
        files.iter().filter_map(|file| Some(module_path(file).first()?.clone())).collect();
    let roots = files.iter().filter(|file| module_path(file).is_empty());
    let reexported: BTreeMap<String, String> =
        roots.flat_map(|root| reexports(&code(root).0, &modules)).collect();
    let mut graph: Graph = modules.iter().map(|name| (name.clone(), BTreeMap::new())).collect();
    for file in files {
        let path = module_path(file);
        let Some(own) = path.first() else { continue };
        let (code, lines) = code(file);
        for (at, name) in named_at_root(&code, path.len()) {
            let other = modules.get(&name).or_else(|| reexported.get(&name));
            if let Some(other) = other.filter(|other| *other != own) {
                let place = Place { path: file.path.clone(), line: lines[at] };
                graph.entry(own.clone()).or_default().entry(other.clone()).or_insert(place);
            }
        }
    }
    graph
}

/// The module of a file, below its crate's root: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
fn module_path(file: &File) -> Vec<String> {
    let (_, below) = file.path.split_once("/src/").unwrap_or_default();
    let mut parts: Vec<String> =
        below.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let is_face = |name: &String| ["mod", "lib", "main"].contains(&name.as_str());
    if parts.last().is_some_and(is_face) {
        parts.pop();
    }
    parts
}

/// The code of a file without its tests, and the line number of each of its bytes, from 1.
fn code(file: &File) -> (String, Vec<usize>) {
    let (mut code, mut lines) = (String::new(), Vec::new());
    for (number, line) in file.outside_tests() {
        code.push_str(&line.code);
        code.push('\n');
        lines.resize(code.len(), number);
    }
    (code, lines)
}

/// The names at the crate's root that this code uses, each with its byte. `depth` is the depth of
/// the code's module.
fn named_at_root(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    let supers = "super::".repeat(depth);
    for prefix in ["crate::", supers.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            let is_inside = |character| is_word(character) || [':', '$'].contains(&character);
            if !before.is_some_and(is_inside) {
                let names = first_names(&code[at + prefix.len()..]);
                named.extend(names.into_iter().map(|name| (at, name)));
            }
        }
    }
    named
}

/// The first name of a path, or of each path in a group: `a::b` has `a`, and `{a::b, c::{d, e}}`
/// has `a` and `c`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| -> Option<String> {
        let name: String = text.trim_start().chars().take_while(|one| is_word(*one)).collect();
        (!name.is_empty() && name != "super").then_some(name)
    };
    let Some(group) = path.strip_prefix('{') else { return word(path).into_iter().collect() };
    let (mut names, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.extend(word(&group[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

/// The names that a crate's root re-exports from its modules, each with the module.
fn reexports(root: &str, modules: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for statement in root.split(';') {
        let Some((_, path)) = statement.split_once("use ") else { continue };
        let path = path.trim_start_matches("crate::").trim_start_matches("self::");
        let Some((module, rest)) = path.split_once("::") else { continue };
        if modules.contains(module) {
            let words = rest.split(|character| !is_word(character)).filter(|one| !one.is_empty());
            names.extend(words.map(|word| (word.to_owned(), module.to_owned())));
        }
    }
    names
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The shortest circle, if there is one: its modules, each of which imports the next; the last one
/// imports the first.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    graph.keys().filter_map(|start| circle_through(graph, start)).min_by_key(Vec::len)
}

/// The shortest circle through this module.
fn circle_through(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        for next in graph.get(at)?.keys() {
            if next == start {
                let mut circle = vec![at.to_owned()];
                let mut back = at;
                while back != start {
                    back = from[back];
                    circle.push(back.to_owned());
                }
                circle.reverse();
                return Some(circle);
            }
            if !from.contains_key(next.as_str()) {
                from.insert(next, at);
                waiting.push_back(next);
            }
        }
    }
    None
}

fn describe(graph: &Graph, circle: &[String]) -> Finding {
    let nexts = circle.iter().cycle().skip(1);
    let steps: Vec<(&String, &String, &Place)> =
        circle.iter().zip(nexts).map(|(one, next)| (one, next, &graph[one][next])).collect();
    let each = steps.iter().map(|(one, next, Place { path, line })| {
        format!("`{one}` imports `{next}` ({path}:{line})")
    });
    let what = format!("a circle: {}", each.collect::<Vec<_>>().join(", "));
    Finding { path: steps[0].2.path.clone(), line: steps[0].2.line, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "crates/x/src/a.rs";
    const B: &str = "crates/x/src/b/c.rs";

    fn found(a: &str, b: &str) -> usize {
        circles(&Files::of(&[("crates/x/src/lib.rs", "mod a;\nmod b;"), (A, a), (B, b)])).len()
    }

    #[test]
    fn two_modules_that_import_each_other_are_found_however_the_path_is_written() {
        for from_a in ["use crate::b::C;", "use super::b;", "fn d() { crate::b::c(); }"] {
            for from_b in [
                "use crate::a::A;",
                "use super::super::a::A;",
                "use crate::{\n    z,\n    a::{A, E},\n};",
                "pub(super) fn d(_: &crate::a::A) {}",
            ] {
                assert_eq!(found(from_a, from_b), 1, "{from_a} {from_b}");
            }
        }
    }

    #[test]
    fn one_direction_is_no_circle() {
        assert_eq!(found("use crate::b::C;", "use super::d::E;\nuse crate::Root;"), 0);
        assert_eq!(found("use crate::b::C;", "use super::a::OfTheSameFolder;"), 0);
        assert_eq!(found("use crate::b::C;", "use crate::b::d;"), 0);
    }

    #[test]
    fn tests_comments_and_texts_import_nothing() {
        for from_b in [
            "// crate::a::A",
            "const A: &str = \"crate::a::A\";",
            "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
            "use other_crate::a::A;",
        ] {
            assert_eq!(found("use crate::b::C;", from_b), 0, "{from_b}");
        }
    }

    #[test]
    fn the_finding_lists_every_import_of_a_circle_with_its_place() {
        let files = Files::of(&[
            ("crates/x/src/a.rs", "use crate::b::B;"),
            ("crates/x/src/b.rs", "\nuse crate::c::C;"),
            ("crates/x/src/c.rs", "use crate::a::A;"),
        ]);
        let [finding] = circles(&files).try_into().unwrap();
        assert_eq!((finding.path.as_str(), finding.line), ("crates/x/src/a.rs", 1));
        assert_eq!(
            finding.what,
            "a circle: `a` imports `b` (crates/x/src/a.rs:1), `b` imports `c` (crates/x/src/b.rs:2), \
             `c` imports `a` (crates/x/src/c.rs:1)"
        );
    }

    #[test]
    fn a_name_that_the_root_re_exports_is_its_modules() {
        let files = Files::of(&[
            ("crates/x/src/lib.rs", "pub mod a;\nmod b;\npub use a::{A, E as F};"),
            ("crates/x/src/a.rs", "use crate::b;"),
            ("crates/x/src/b.rs", "use crate::A;"),
        ]);
        assert_eq!(circles(&files).len(), 1);
    }

    #[test]
    fn an_unnecessary_exception_is_found() {
        let lib = format!("{}/src/a.rs", EXCEPTED[0]);
        let found = circles(&Files::of(&[(&lib, "use crate::b;")]));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("exceptions"), "{found:?}");
    }
}
