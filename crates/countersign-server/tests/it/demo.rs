//! The demos, run as a user would run them.

use std::process::Command;

use crate::test_server::BINARY;

#[test]
fn onespans_demo_ends_with_the_code_that_the_gateway_was_sent() {
    let output = Command::new(BINARY)
        .args(["demo", "--dialect", "onespan", "--once", "--color", "never"])
        .output()
        .unwrap();
    let (said, stderr) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&stderr));
    let (_, sent) = said.split_once(r#""signature":""#).unwrap();
    let code = &sent[..8];
    let last = said.trim_end().lines().next_back().unwrap();
    assert!(last.ends_with(&format!("with device CSN0000001-1: code {code}.")), "{last}");
}

#[test]
fn trustedxs_demo_ends_with_what_openssl_verified() {
    let output = Command::new(BINARY)
        .args(["demo", "--dialect", "trustedx", "--once", "--color", "never"])
        .output()
        .unwrap();
    let (said, stderr) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&stderr));
    assert!(said.contains("OpenSSL verifies it            over the contract"), "{said}");
    assert!(said.contains("bytes, with this digest"), "{said}");
    // The commands that it prints for users work.
    let lines: Vec<&str> =
        said.lines().map(str::trim).filter(|line| line.starts_with("openssl ")).collect();
    assert_eq!(lines.len(), 3, "{said}");
    for line in lines {
        assert!(Command::new("sh").args(["-c", line]).status().unwrap().success(), "{line}");
    }
    let (_, directory) = said.rsplit_once(" /").unwrap();
    let kept = std::path::Path::new("/").join(directory.trim());
    std::fs::remove_dir_all(kept.parent().unwrap()).unwrap();
}
