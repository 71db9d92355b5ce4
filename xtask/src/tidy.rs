//! The house rules, as a test: each is a check over the tracked files that answers with places and
//! reasons.
//!
//! `STYLE.md` says why we have them; a finding says where one is broken.

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
    /// Relative to the repository.
    path: String,
    /// From 1.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

type Check = fn(&Files) -> Vec<Finding>;

/// Each rule with its reason.
const RULES: &[(&str, &str, Check)] = &[
    (
        "crates depend in one direction",
        "a crate line stands where a dependency must be impossible",
        manifests::directions,
    ),
    (
        "each member has its reason",
        "a crate costs everybody; a module costs nobody",
        manifests::members,
    ),
    (
        "no modules import each other in a circle",
        "what is in a circle can be read, moved and tested only as one",
        graph::circles,
    ),
    (
        "no module is a drawer",
        "what is put into `common` or `util` has no noun, and is found by nobody",
        shape::drawers,
    ),
    ("files are at most 500 lines", "a longer one holds two nouns", shape::long_files),
    ("functions are at most 70 lines", "a longer one does two things", shape::long_functions),
    ("no test is ignored", "a test that does not run is a comment that lies", shape::ignored_tests),
    (
        "words stay in their rooms",
        "what can be done anywhere cannot be reasoned about anywhere",
        fence::check_all,
    ),
    (
        "a surface names no other surface, no store, no delivery and no egress",
        "a surface translates; it never decides",
        fence::surfaces,
    ),
    (
        "no machine's paths",
        "what names one machine's directories works on that machine only",
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

/// Checks every rule, and prints what is broken.
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
