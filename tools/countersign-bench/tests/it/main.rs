//! Short runs of the bench against the server's program: its figures are plausible, and its report
//! agrees with them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_countersign-bench");

/// Builds the server's program, which belongs to another package; it is in the bench's directory.
static SERVER_IS_BUILT: LazyLock<()> = LazyLock::new(|| {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--offline", "--package", "countersign-server"]);
    assert!(build.status().unwrap().success(), "the server does not build");
});

/// The figures of `countersign-bench` with these arguments.
fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("figures.json");
    LazyLock::force(&SERVER_IS_BUILT);
    let mut command = Command::new(BENCH);
    command.args(arguments).arg("--json").arg(&file);
    let out = command.arg("--data").arg(directory.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(is_alone(&file), "the bench removes its ledger");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn is_alone(file: &Path) -> bool {
    std::fs::read_dir(file.parent().unwrap()).unwrap().count() == 1
}

#[test]
fn every_queued_push_arrives_on_one_connection_and_has_a_cost() {
    let few = ["--seconds", "2", "--rate", "100", "--concurrency", "4", "--devices", "12"];
    let figures = bench(&[&few[..], &["--push", "--queued", "300"]].concat());
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {figures}"));
    assert_eq!((number("pushes"), number("connections")), (300.0, 1.0), "{figures}");
    assert_eq!(figures["live"]["errors"], 0, "{figures}");
    assert_eq!(figures["live"]["pushes"], 200, "{figures}");
    assert!(number("pushes_per_second") > 0.0);
    let ratio =
        number("server_cpu_microseconds_per_push") / number("verification_cpu_microseconds");
    assert!(ratio > 0.0 && (ratio - number("ratio_cpu_per_push_to_verification")).abs() < 0.1);
}

#[test]
fn too_many_starts_are_refused_with_the_number_of_devices_that_they_need() {
    let mut command = Command::new(BENCH);
    let out = command.args(["--push", "--devices", "64"]).output().unwrap();
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("--devices must be 800 at least"), "{said}");
}
