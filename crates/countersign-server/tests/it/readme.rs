//! The README's commands, from the server to the auditor, as they stand there.

use std::net::TcpListener;
use std::process::Command;

use crate::test_server::BINARY;

const README: &str = include_str!("../../../../README.md");

/// Stops what the commands left in the background, and waits until it has ended.
const END: &str = "kill $(jobs -p); wait || true";

#[test]
fn every_command_of_running_it_succeeds_until_the_auditor_has_verified() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    std::fs::create_dir(here.join("bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, here.join("bin/countersign")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();

    let section = README.split_once("## Run it").unwrap().1.split_once("\n## ").unwrap().0;
    let blocks: Vec<_> = section.split("```sh\n").skip(1).collect();
    let script: String =
        blocks.iter().map(|block| block.split_once("```").expect("the block ends").0).collect();
    let wait = "until grep -q '^ready ' ready; do kill -0 $!; sleep 0.1; done";
    let moved = [
        ("cargo build --release\n", String::new()),
        ("$PWD/target/release", format!("{}/bin", here.display())),
        // In terminals of their own.
        ("countersign serve\n", format!("countersign serve >ready &\n{wait}\n")),
        ("--answer ask\n", "--answer approve &\n".to_owned()),
        ("localhost:8443", format!("localhost:{port}")),
    ];
    let script = moved.iter().fold(script, |script, (from, to)| {
        assert!(script.contains(from), "the section has no `{from}`");
        script.replace(from, to)
    });
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &format!("trap '{END}' EXIT\nset -x\n{script}")])
        .current_dir(here)
        // For the server, and for the address in the URI.
        .env("COUNTERSIGN__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("Transaction signed successfully"), "{printed}");
    assert!(printed.matches("Pay 5 € to Ann?").count() >= 2, "verified twice: {printed}");
}
