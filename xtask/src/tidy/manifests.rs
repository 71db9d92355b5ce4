//! Rules about `Cargo.toml`s: allowed directions of dependencies, and forbidden dependencies.

use super::Finding;
use super::files::{File, Files};

/// Each crate, and those of our crates on which it may depend. No crate depends on `xtask`, and
/// `xtask` on no crate.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("countersign-proof", &[]),
    ("countersign-core", &["countersign-proof"]),
    ("countersign-wire", &[]),
    ("countersign-store", &["countersign-core", "countersign-proof"]),
    ("countersign-device", &["countersign-wire", "countersign-proof"]),
    ("countersign-config", &["countersign-core", "countersign-proof"]),
    (
        "countersign-node",
        &[
            "countersign-config",
            "countersign-core",
            "countersign-proof",
            "countersign-store",
            "countersign-wire",
        ],
    ),
    ("countersign-egress", &["countersign-core", "countersign-node", "countersign-wire"]),
    (
        "countersign-http",
        &[
            "countersign-config",
            "countersign-core",
            "countersign-egress",
            "countersign-node",
            "countersign-store",
        ],
    ),
    (
        "countersign-delivery",
        &[
            "countersign-config",
            "countersign-core",
            "countersign-egress",
            "countersign-node",
            "countersign-store",
            "countersign-wire",
        ],
    ),
    (
        "countersign-channel",
        &[
            "countersign-config",
            "countersign-core",
            "countersign-delivery",
            "countersign-egress",
            "countersign-http",
            "countersign-node",
            "countersign-proof",
            "countersign-wire",
        ],
    ),
    // A dialect translates. It names no other dialect, no store, no delivery and no egress.
    (
        "countersign-kobil",
        &["countersign-core", "countersign-http", "countersign-node", "countersign-wire"],
    ),
    (
        "countersign-onespan",
        &[
            "countersign-channel",
            "countersign-core",
            "countersign-http",
            "countersign-node",
            "countersign-proof",
            "countersign-wire",
        ],
    ),
    (
        "countersign-trustedx",
        &[
            "countersign-channel",
            "countersign-config",
            "countersign-core",
            "countersign-http",
            "countersign-node",
            "countersign-proof",
            "countersign-wire",
        ],
    ),
    (
        "countersign-server",
        &[
            "countersign-channel",
            "countersign-config",
            "countersign-core",
            "countersign-delivery",
            "countersign-device",
            "countersign-egress",
            "countersign-http",
            "countersign-kobil",
            "countersign-node",
            "countersign-onespan",
            "countersign-proof",
            "countersign-store",
            "countersign-trustedx",
            "countersign-wire",
        ],
    ),
    (
        "countersign-sim", // a test's phone signs with the SDK
        &["countersign-core", "countersign-device", "countersign-proof", "countersign-store"],
    ),
    ("countersign-postgres", &[]),
    ("countersign-push-services", &[]), // independent of the server, like Apple's
    (
        "countersign-bench", // runs the server's program and does not link it
        &[
            "countersign-core",
            "countersign-device",
            "countersign-postgres",
            "countersign-proof",
            "countersign-push-services",
            "countersign-store",
            "countersign-wire",
        ],
    ),
    ("xtask", &[]),
    ("countersign-fuzz-targets", &["countersign-fuzz"]),
    (
        "countersign-fuzz", // calls every parser of untrusted bytes
        &[
            "countersign-config",
            "countersign-core",
            "countersign-egress",
            "countersign-http",
            "countersign-kobil",
            "countersign-onespan",
            "countersign-proof",
            "countersign-trustedx",
            "countersign-wire",
        ],
    ),
];

/// The crates on which tests may depend too.
const FOR_TESTS: &[&str] =
    &["countersign-postgres", "countersign-push-services", "countersign-sim"];

/// The crates of the domain, whose external dependencies are restricted.
const DOMAIN: &[&str] = &["countersign-core", "countersign-proof"];
const NOT_IN_DOMAIN: &[&str] = &["serde", "serde_json", "tokio", "axum", "hyper", "rusqlite"];

fn finding(file: &File, near: &str, what: String) -> Finding {
    let at = file.lines.iter().position(|line| line.raw.contains(near));
    Finding { path: file.path.clone(), line: at.map_or(1, |at| at + 1), what }
}

/// Finds dependencies that the table does not allow. Tests may use a few more.
pub(super) fn directions(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.named("Cargo.toml") {
        let manifest: toml::Table = match file.content().parse() {
            Ok(manifest) => manifest,
            Err(error) => {
                findings.push(finding(file, "", format!("not valid TOML: {error}")));
                continue;
            }
        };
        let Some(name) = manifest.get("package").and_then(|package| package.get("name")?.as_str())
        else {
            continue; // The workspace's own manifest.
        };
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(known, _)| *known == name) else {
            let what = format!("`{name}` is not in tidy's table of directions");
            findings.push(finding(file, name, what));
            continue;
        };
        for (kind, dependency) in dependencies(&manifest) {
            let is_ours = dependency.starts_with("countersign-");
            let is_for_tests = kind == "dev-dependencies";
            let is_allowed = allowed.contains(&dependency.as_str())
                || (is_for_tests && FOR_TESTS.contains(&dependency.as_str()));
            if is_ours && !is_allowed {
                let what = format!("`{name}` may not depend on `{dependency}`");
                findings.push(finding(file, &dependency, what));
            }
            if !is_for_tests
                && DOMAIN.contains(&name)
                && NOT_IN_DOMAIN.contains(&dependency.as_str())
            {
                let what = format!("`{name}` is pure, and `{dependency}` is not");
                findings.push(finding(file, &dependency, what));
            }
        }
    }
    findings
}

/// Every dependency of a manifest with its kind, including those for one platform.
fn dependencies(manifest: &toml::Table) -> Vec<(&'static str, String)> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let tables = platforms.into_iter().flat_map(toml::Table::values);
    let tables = tables.filter_map(toml::Value::as_table).chain([manifest]);
    let mut all = Vec::new();
    for table in tables {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = table.get(kind).and_then(toml::Value::as_table).into_iter().flatten();
            all.extend(names.map(|(name, spec)| {
                // `alias = { package = "name" }` is listed under its real name.
                let renamed = spec.get("package").and_then(toml::Value::as_str);
                (kind, renamed.unwrap_or(name).to_owned())
            }));
        }
    }
    all
}

/// Finds members of the workspace whose line in `Cargo.toml` has no reason.
pub(super) fn members(files: &Files) -> Vec<Finding> {
    let Some(file) = files.all().iter().find(|file| file.path == "Cargo.toml") else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let lines = (1..).zip(&file.lines).skip_while(|(_, line)| !line.raw.starts_with("members"));
    let lines = lines.skip(1).take_while(|(_, line)| line.raw.trim() != "]");
    for (number, line) in lines {
        let has_reason = line.raw.split_once('#').is_some_and(|(_, why)| !why.trim().is_empty());
        if line.raw.contains('"') && !has_reason {
            let what = format!("{} has no reason", line.raw.trim().trim_end_matches(','));
            findings.push(Finding { path: file.path.clone(), line: number, what });
        }
    }
    findings
}

/// Finds packages in the output of `cargo tree` that are a second implementation of TLS or
/// cryptography.
pub(super) fn second_stacks(tree: &str) -> Vec<Finding> {
    let mut found: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(" v").next())
        .filter(|name| ["ring", "openssl", "openssl-sys", "native-tls"].contains(name))
        .collect();
    found.sort_unstable();
    found.dedup();
    let finding = |name: &str| Finding {
        path: "Cargo.lock".to_owned(),
        line: 1,
        what: format!("a crate depends on `{name}`; `cargo tree -i {name}` shows which"),
    };
    found.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> Vec<Finding> {
        let content = format!("[package]\nname = \"{name}\"\n{rest}\n");
        directions(&Files::of(&[("crates/a/Cargo.toml", &content)]))
    }

    #[test]
    fn a_dependency_against_the_direction_is_found_on_its_line() {
        let found =
            manifest("countersign-core", "[dependencies]\ncountersign-store.workspace = true");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 4);
        assert_eq!(manifest("countersign-store", "[dependencies]\ncountersign-core = \"1\""), []);
    }

    #[test]
    fn a_dependency_is_found_under_another_name_and_for_one_platform() {
        let renamed = "[dependencies]\na = { package = \"countersign-server\", path = \"b\" }";
        assert_eq!(manifest("countersign-device", renamed).len(), 1);
        let platform = "[target.'cfg(unix)'.build-dependencies]\ncountersign-core = \"1\"";
        assert_eq!(manifest("countersign-wire", platform).len(), 1);
    }

    #[test]
    fn only_tests_of_shipped_crates_may_depend_on_a_tool() {
        for tool in FOR_TESTS {
            let in_tests = format!("[dev-dependencies]\n{tool} = \"1\"");
            assert_eq!(manifest("countersign-server", &in_tests), []);
            let in_product = format!("[dependencies]\n{tool} = \"1\"");
            assert_eq!(manifest("countersign-server", &in_product).len(), 1, "{tool}");
        }
        let bench = "[dev-dependencies]\ncountersign-bench = \"1\"";
        assert_eq!(manifest("countersign-server", bench).len(), 1);
    }

    #[test]
    fn a_runtime_or_serde_in_the_domain_is_found() {
        for dependency in ["tokio", "serde"] {
            let rest = format!("[dependencies]\n{dependency} = \"1\"");
            assert_eq!(manifest("countersign-core", &rest).len(), 1, "{dependency}");
        }
    }

    #[test]
    fn a_crate_outside_the_table_is_found() {
        assert_eq!(manifest("countersign-extra", "").len(), 1);
    }

    #[test]
    fn a_member_without_its_reason_is_found() {
        let content = "[workspace]\nmembers = [\n    \"a\", # because\n    \"b\",\n]\n";
        let found = members(&Files::of(&[("Cargo.toml", content)]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 4);
    }

    #[test]
    fn a_second_crypto_stack_is_found_and_a_similar_name_is_not() {
        let tree =
            "ring v0.17.14\nring-compat v1.0.0\nopenssl-sys v0.9.0 (*)\nopenssl-sys v0.9.0\n";
        assert_eq!(second_stacks(tree).len(), 2);
        assert_eq!(second_stacks("openssl-probe v0.2.1\nstring v1.0.0\n"), []);
    }
}
