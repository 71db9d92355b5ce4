//! `cargo xtask tidy`: the rules of `STYLE.md` that a program can check.
//!
//! Each check reads the tracked files, and returns the places where its rule is broken.

mod fence;
mod files;
mod graph;
mod manifests;
mod names;
mod shape;
mod words;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use self::files::Files;
use crate::step::{Tally, heading};

/// A place where a rule is broken.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// The path within the repository.
    path: String,
    /// The line number, from 1.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

type Check = fn(&Files) -> Vec<Finding>;

/// Each rule with its reason and its check.
const RULES: &[(&str, &str, Check)] = &[
    (
        "crates depend in one direction",
        "a crate boundary makes a dependency impossible",
        manifests::directions,
    ),
    (
        "each member has its reason",
        "a crate makes every build slower; a module costs nothing",
        manifests::members,
    ),
    (
        "no modules import each other in a circle",
        "modules in a circle can be read, moved and tested only as one",
        graph::circles,
    ),
    (
        "no module is a catch-all",
        "a name such as `common` or `util` does not say what to find there",
        shape::catch_all_modules,
    ),
    ("files are at most 500 lines", "a longer one holds two nouns", shape::long_files),
    ("functions are at most 70 lines", "a longer one does two things", shape::long_functions),
    ("no test is ignored", "a test that does not run is a comment that lies", shape::ignored_tests),
    (
        "restricted words stay in their modules",
        "if every module could spawn or read the clock, none could be tested without it",
        fence::check_all,
    ),
    (
        "no machine's paths",
        "a path of one machine works only on that machine",
        shape::machine_paths,
    ),
    (
        "a type name stands for one type within a crate",
        "a name with two meanings is looked up each time it is read",
        names::repeated_types,
    ),
    (
        "no doc comment is a fragment",
        "`Which.` names nothing; a noun phrase does, and so does leaving it out",
        words::fragments,
    ),
    (
        "phrases that need translation stay out",
        "a private phrase costs each reader what a plain word would not",
        words::phrases,
    ),
    (
        "comments have at most 100 columns",
        "code does too, and both are read side by side",
        words::long_comments,
    ),
    (
        "lines of Markdown have at most 200 columns",
        "one sentence a line shows in a diff which sentence changed",
        words::long_markdown,
    ),
];

/// Checks every rule, and prints the findings.
pub(crate) fn run(root: &Path) -> anyhow::Result<Tally> {
    heading("tidy");
    let files = Files::tracked(root)?;
    let mut total = Tally::default();
    for (rule, reason, check) in RULES {
        total += report(rule, reason, &check(&files));
    }
    let crypto = manifests::second_stacks(&dependency_tree(root)?);
    total += report("one TLS and crypto stack", "each further one is one more to patch", &crypto);
    println!("   tidy: {total}");
    Ok(total)
}

fn report(rule: &str, reason: &str, findings: &[Finding]) -> Tally {
    for finding in findings {
        println!("{finding}\n      {rule}: {reason}");
    }
    Tally::one(findings.is_empty())
}

fn dependency_tree(root: &Path) -> anyhow::Result<String> {
    let output = Command::new("cargo")
        .args(["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"])
        .current_dir(root)
        .output()
        .context("`cargo tree` does not start")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
