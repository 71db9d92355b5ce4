//! docs/operating.md: every command of the page in order, on a real server that its unit starts.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::test_server::BINARY;

const PAGE: &str = include_str!("../../../../docs/operating.md");

/// In the place of the service manager: starts what the unit names, and sends its signals.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
alive() { kill -0 "$(cat "$HERE/pid")" 2>/dev/null; }
case $1 in
start)
    $EXEC_START >"$HERE/out" 2>>"$HERE/log" &
    echo $! >"$HERE/pid"
    until grep -q '^ready ' "$HERE/out"; do alive; sleep 0.1; done ;;
reload) kill -HUP "$(cat "$HERE/pid")" ;;
stop) kill -TERM "$(cat "$HERE/pid")"; while alive; do sleep 0.1; done ;;
esac
"#;

/// All of the page's blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let rest = PAGE.split(&begin).skip(1);
    rest.map(|rest| rest.split_once("```").expect("the block ends").0).collect()
}

fn executable(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Ends the server that the page started.
struct Server<'a>(&'a Path);

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if let Ok(id) = std::fs::read_to_string(self.0.join("pid")) {
            let _ = Command::new("kill").args(["-KILL", id.trim()]).status();
        }
    }
}

#[test]
fn every_command_of_the_page_for_operators_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    for name in ["bin", "etc", "lib", "backup"] {
        std::fs::create_dir(here.join(name)).unwrap();
    }
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(here.join("lib"), private).unwrap();
    executable(&here.join("bin/systemctl"), SYSTEMCTL);
    std::os::unix::fs::symlink(BINARY, here.join("bin/countersign")).unwrap();

    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = ports.map(|taken| taken.local_addr().unwrap().port().to_string());
    let moved = |text: &str| {
        let path = |name: &str| here.join(name).display().to_string();
        text.replace("/var/lib/countersign", &path("lib"))
            .replace("/etc/countersign", &path("etc"))
            .replace("/usr/local/bin", &path("bin"))
            .replace("/backup/", &format!("{}/", path("backup")))
            .replace(":8443", &format!(":{}", ports[0]))
            .replace(":9464", &format!(":{}", ports[1]))
    };
    let unit = blocks("ini")[0];
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let script = moved(&blocks("sh").concat());
    assert!(script.matches("\ncountersign ").count() > 25, "the page has more commands");

    let path = std::env::var("PATH").unwrap();
    let _server = Server(here);
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(here)
        .env("PATH", format!("{}:{path}", here.join("bin").display()))
        .env("HERE", here)
        .env("EXEC_START", moved(start))
        .output()
        .unwrap();
    let log = std::fs::read_to_string(here.join("log")).unwrap_or_default();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\nthe server's log:\n{log}");

    // What the page promises of these commands.
    assert!(log.contains("reload"), "{log}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("countersign_transactions_ended_total"), "metrics: {out}");
    for kind in ["device.enrolled", "user.created", "client.created"] {
        assert!(out.contains(kind), "{kind} is not in the history: {out}");
    }
    for backup in ["today", "before-upgrade"] {
        assert!(here.join("backup").join(backup).join("manifest.json").exists());
    }
}

/// The rules for Prometheus are valid, and name metrics that exist.
#[test]
fn the_alerts_of_the_page_are_valid_and_name_real_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    let rules = blocks("yaml")[0];
    std::fs::write(&file, rules).unwrap();
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&file).output();
    let checked = checked.expect("promtool, of Debian's package prometheus");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let listed = include_str!("../../../../docs/metrics.md");
    let named = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: Vec<_> = named.filter(|word| word.starts_with("countersign_")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        assert!(listed.contains(&format!("`{name}")), "{name} is not in docs/metrics.md");
    }
}
