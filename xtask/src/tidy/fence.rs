//! Words that only certain modules may use: those for reading the environment, spawning, reading
//! the clock, making evidence, and SQL.

use super::Finding;
use super::files::{File, Files};

/// Words, the paths in which they are forbidden, and the exceptions.
struct Fence {
    words: &'static [&'static str],
    /// Path prefixes.
    forbidden_in: &'static [&'static str],
    /// Path prefixes inside those of `forbidden_in`.
    allowed_in: &'static [&'static str],
    /// Whether the words are searched in quoted text.
    is_quoted: bool,
    reason: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        words: &["serde", "serde_json", "Serialize", "Deserialize"],
        forbidden_in: &["crates/countersign-core/src/", "crates/countersign-proof/src/"],
        allowed_in: &[],
        is_quoted: false,
        reason: "stored and sent data have types of their own, so that the domain can change alone",
    },
    Fence {
        words: &["std::env", "std::{env", "env::var", "env::var_os", "env::vars", "env::args"],
        forbidden_in: &["crates/", "tools/countersign-sim/"],
        allowed_in: &["crates/countersign-config/src/"],
        is_quoted: false,
        reason: "only countersign-config reads the environment, so that config.default.toml is the whole manual",
    },
    Fence {
        words: &[
            "tokio::spawn",
            "task::spawn",
            "task::spawn_blocking",
            "spawn_blocking",
            "JoinSet",
            "thread::spawn",
            "thread::Builder",
        ],
        forbidden_in: &["crates/", "tools/countersign-sim/"],
        allowed_in: &[
            "crates/countersign-node/src/task.rs",
            "crates/countersign-store/src/postgres/",
            "crates/countersign-store/src/sqlite",
            "crates/countersign-device/src/",
        ],
        is_quoted: false,
        reason: "only task.rs spawns, so that no task dies unseen or outlives the shutdown",
    },
    Fence {
        words: &["SystemTime::now", "Instant::now", "OffsetDateTime::now_utc", "UtcDateTime::now"],
        forbidden_in: &["crates/", "tools/countersign-sim/"],
        allowed_in: &[
            "crates/countersign-node/src/clock.rs",
            "crates/countersign-server/src/cli/",
            "crates/countersign-store/src/postgres/writer.rs",
            "crates/countersign-device/src/",
        ],
        is_quoted: false,
        reason: "time is an argument; only the adapter of `Clock` asks for it",
    },
    Fence {
        words: &["Proof::recorded"],
        forbidden_in: &["crates/", "tools/"],
        allowed_in: &["crates/countersign-proof/src/", "crates/countersign-store/src/"],
        is_quoted: false,
        reason: "a proof is made by `verify`, or read back from where a verified one was written",
    },
    Fence {
        words: &["SELECT", "INSERT INTO", "DELETE FROM", "CREATE TABLE", "PRAGMA"],
        forbidden_in: &["crates/", "tools/"],
        allowed_in: &[
            "crates/countersign-store/",
            // The statistics of the database itself.
            "tools/countersign-postgres/",
        ],
        is_quoted: true,
        reason: "only the store speaks SQL, so that one contract test covers all of it",
    },
    Fence {
        words: &["rusqlite"],
        forbidden_in: &["crates/", "tools/"],
        allowed_in: &["crates/countersign-store/"],
        is_quoted: false,
        reason: "only the store knows the database",
    },
];

/// Checks every fence, outside tests.
pub(super) fn check_all(files: &Files) -> Vec<Finding> {
    FENCES.iter().flat_map(|fence| fence.check(files)).collect()
}

impl Fence {
    fn check(&self, files: &Files) -> Vec<Finding> {
        let covers = |file: &&File| {
            let is_in =
                |prefixes: &[&str]| prefixes.iter().any(|prefix| file.path.starts_with(prefix));
            is_in(self.forbidden_in) && !is_in(self.allowed_in)
        };
        let mut findings = Vec::new();
        for file in files.rust().filter(covers) {
            for (number, line) in file.outside_tests() {
                let seen = if self.is_quoted { &line.text } else { &line.code };
                if let Some(word) = self.words.iter().find(|word| names(seen, word)) {
                    let what = format!("`{word}`: {}", self.reason);
                    findings.push(Finding { path: file.path.clone(), line: number, what });
                }
            }
        }
        findings
    }
}

/// Whether `line` has `word` as a whole word.
fn names(line: &str, word: &str) -> bool {
    let is_letter = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, code: &str) -> usize {
        check_all(&Files::of(&[(path, code)])).len()
    }

    #[test]
    fn each_word_is_found_outside_its_modules_and_allowed_inside() {
        let server = "crates/countersign-server/src/a.rs";
        for (code, inside) in [
            ("let a = std::env::var(\"B\");", "crates/countersign-config/src/lib.rs"),
            ("tokio::spawn(a);", "crates/countersign-node/src/task.rs"),
            ("std::thread::spawn(a);", "crates/countersign-store/src/sqlite/writer.rs"),
            ("let a = SystemTime::now();", "crates/countersign-node/src/clock.rs"),
            ("let a = tokio::time::Instant::now();", "crates/countersign-device/src/a.rs"),
            ("let a = Proof::recorded(b);", "crates/countersign-store/src/row.rs"),
            ("let a = \"SELECT b FROM c\";", "crates/countersign-store/src/sqlite.rs"),
            ("use rusqlite::Connection;", "crates/countersign-store/src/sqlite.rs"),
        ] {
            assert_eq!(findings(server, code), 1, "{code}");
            assert_eq!(findings(inside, code), 0, "{code}");
        }
    }

    #[test]
    fn tools_make_no_evidence_and_use_no_sql_and_the_simulation_reads_no_clock() {
        for tool in ["tools/countersign-bench/src/a.rs", "tools/countersign-sim/src/a.rs"] {
            assert_eq!(findings(tool, "let a = Proof::recorded(b);"), 1, "{tool}");
            assert_eq!(findings(tool, "let a = \"SELECT b FROM c\";"), 1, "{tool}");
        }
        for code in ["let a = SystemTime::now();", "std::thread::spawn(a);", "std::env::var(b);"] {
            assert_eq!(findings("tools/countersign-sim/src/a.rs", code), 1, "{code}");
            assert_eq!(findings("tools/countersign-bench/src/a.rs", code), 0, "{code}");
        }
    }

    #[test]
    fn serde_in_core_or_proof_is_found() {
        for path in ["crates/countersign-core/src/a.rs", "crates/countersign-proof/src/a.rs"] {
            assert_eq!(findings(path, "#[derive(Serialize)]"), 1);
            assert_eq!(findings(path, "use serde_json::Value;"), 1);
        }
        assert_eq!(findings("crates/countersign-wire/src/a.rs", "#[derive(Serialize)]"), 0);
    }

    #[test]
    fn comments_tests_and_longer_words_are_no_findings() {
        let path = "crates/countersign-server/src/a.rs";
        assert_eq!(findings(path, "// never tokio::spawn"), 0);
        assert_eq!(findings(path, "let a = \"tokio::spawn\";"), 0);
        assert_eq!(findings(path, "let a = \"SELECTED\";"), 0);
        assert_eq!(findings(path, "#[cfg(test)]\nmod tests {\n    tokio::spawn(a);\n}"), 0);
        assert_eq!(findings("crates/countersign-server/tests/it.rs", "tokio::spawn(a);"), 0);
    }
}
