//! `cargo xtask test`: every check in turn, and one line at the end that counts them all.
//!
//! A failed step does not stop the others, so that the last line counts all failures.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::Context as _;

use crate::step::{Step, Tally};
use crate::{machine, tidy};

/// Long enough for a cold debug build on a slow machine.
const DEMO_MAX: Duration = Duration::from_mins(20);

/// Runs all checks. Returns whether all passed.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    machine::complete()?;
    let mut total = Tally::default();
    total += cargo(root, "format", &["fmt", "--all", "--", "--check"]).check();
    let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"];
    total += cargo(root, "format of the fuzz targets", &fuzz).check();
    let lock =
        ["tree", "--locked", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--depth", "0"];
    total += cargo(root, "lock file of the fuzz targets", &lock).check();
    total += cargo(
        root,
        "lints",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
    )
    .check();
    total += tidy::run(root)?;
    total += tests(root).check_tests();
    total += webhooks(root).check();
    total += webpush(root).check();
    total += soap(root).check();
    total += soap_clients(root).check();
    total += kobil_clients(root).check();
    total += trustedx_clients(root).check();
    total += demo(root)?;
    println!("\n{total}");
    Ok(total.failed == 0)
}

fn cargo(root: &Path, name: &'static str, arguments: &[&str]) -> Step {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root);
    Step::new(name, command)
}

/// All tests. Many wait for processes and clocks, so more of them run at once than there are
/// cores.
fn tests(root: &Path) -> Step {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast"]).current_dir(root);
    if env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", (2 * cores).to_string());
    }
    Step::new("tests", command)
}

/// Standard Webhooks' own library, from `PyPI`, with the vectors of our signatures.
fn webhooks(root: &Path) -> Step {
    let mut command = Command::new("sh");
    let script = "python3 -m pip --quiet --disable-pip-version-check install --root-user-action=ignore \
                  --upgrade --target target/python standardwebhooks==1.1.0 && \
                  PYTHONPATH=target/python python3 xtask/src/webhooks.py docs/vectors/webhooks.json";
    command.args(["-euc", script]).current_dir(root);
    Step::new("callbacks, by Standard Webhooks' library", command)
}

/// The encryption of pushes, compared with another implementation from npm.
fn webpush(root: &Path) -> Step {
    let mut command = Command::new("sh");
    let script = "npm install --silent --no-save --no-audit --no-fund --prefix target/node http_ece@1.2.1 && \
                  cargo build --quiet --package countersign-wire --example webpush && \
                  node xtask/src/webpush.mjs ${CARGO_TARGET_DIR:-target}/debug/examples/webpush";
    command.args(["-euc", script]).current_dir(root);
    Step::new("Web Push's encryption, by http_ece", command).within(DEMO_MAX)
}

/// A stock SOAP client, from `PyPI`, which gets only the address of the service description.
fn soap(root: &Path) -> Step {
    let mut command = Command::new("sh");
    let script = "python3 -m pip --quiet --disable-pip-version-check install --root-user-action=ignore \
                  --upgrade --target target/python zeep==4.3.3 && \
                  cargo build --quiet --package countersign-server && \
                  PYTHONPATH=$PWD/target/python python3 xtask/src/soap.py \
                  ${CARGO_TARGET_DIR:-target}/debug/countersign";
    command.args(["-euc", script]).current_dir(root);
    Step::new("SOAP, by zeep", command).within(DEMO_MAX)
}

/// Stock SOAP clients of three other languages, which get the same address.
fn soap_clients(root: &Path) -> Step {
    let mut command = Command::new("sh");
    let script = "npm install --silent --no-save --no-audit --no-fund --prefix target/node-soap soap@1.13.0 && \
                  cargo build --quiet --package countersign-server && \
                  for client in php node java; do \
                  python3 xtask/src/soap_clients.py ${CARGO_TARGET_DIR:-target}/debug/countersign \
                  $client target/node-soap; done";
    command.args(["-euc", script]).current_dir(root);
    Step::new("SOAP, by PHP's SoapClient, node-soap and JAX-WS", command).within(DEMO_MAX)
}

/// Stock clients of KOBIL's calls and of the token addresses, from `PyPI` and npm, unedited.
fn kobil_clients(root: &Path) -> Step {
    let mut command = Command::new("sh");
    let script = "python3 -m pip --quiet --disable-pip-version-check install --root-user-action=ignore \
                  --upgrade --target target/python kobil-sign==3.0.0 authlib==1.6.5 requests==2.34.2 && \
                  npm install --silent --no-save --no-audit --no-fund --prefix target/node-openid \
                  openid-client@6.8.9 && \
                  cargo build --quiet --package countersign-server && \
                  PYTHONPATH=$PWD/target/python python3 xtask/src/kobil_clients.py \
                  ${CARGO_TARGET_DIR:-target}/debug/countersign target/node-openid";
    command.args(["-euc", script]).current_dir(root);
    Step::new("KOBIL's calls, by kobil-sign, Authlib and openid-client", command).within(DEMO_MAX)
}

/// Stock clients of TrustedX's calls, from `PyPI`, unedited: they sign PDFs by processes.
fn trustedx_clients(root: &Path) -> Step {
    let mut command = Command::new("sh");
    let script = "python3 -m pip --quiet --disable-pip-version-check install --root-user-action=ignore \
                  --upgrade --target target/python pyhanko==0.38.0 authlib==1.6.5 requests==2.34.2 && \
                  cargo build --quiet --package countersign-server && \
                  PYTHONPATH=$PWD/target/python python3 xtask/src/trustedx_clients.py \
                  ${CARGO_TARGET_DIR:-target}/debug/countersign";
    command.args(["-euc", script]).current_dir(root);
    Step::new("TrustedX's calls, by pyHanko, Authlib and requests", command).within(DEMO_MAX)
}

/// The README's first command, and the `openssl` line that it prints, as a reader would run them;
/// and the demos of the other dialects.
fn demo(root: &Path) -> anyhow::Result<Tally> {
    let directory = Scratch::make()?;
    let demo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(["run", "--quiet", "--package", "countersign-server", "--manifest-path"]);
        command.arg(root.join("Cargo.toml")).args(["--", "demo", "--once"]).args(arguments);
        command.current_dir(&directory.0);
        command
    };
    let (mut tally, output) = Step::new("demo", demo(&[])).within(DEMO_MAX).check_and_keep();
    let onespan = demo(&["--dialect", "onespan"]);
    tally += Step::new("OneSpan's demo", onespan).within(DEMO_MAX).check();

    let mut openssl = Command::new("sh");
    match openssl_line(&output) {
        Some(line) => openssl.args(["-euc", &line]),
        None => openssl
            .args(["-c", "echo 'the demo printed no `openssl cms -verify -cades` line'; false"]),
    };
    openssl.current_dir(&directory.0);
    tally += Step::new("the demo's openssl line", openssl).check();
    Ok(tally)
}

/// Finds the command in the demo's output, without prompt and colours. The command may be continued
/// with `\`.
fn openssl_line(output: &str) -> Option<String> {
    let plain = without_colours(output);
    let mut lines = plain.lines().skip_while(|line| !line.contains("openssl cms -verify -cades"));
    let first = lines.next()?;
    let mut command = first[first.find("openssl cms")?..].trim_end().to_owned();
    while let Some(unfinished) = command.strip_suffix('\\') {
        command = format!("{unfinished} {}", lines.next()?.trim());
    }
    Some(command)
}

/// Removes the control sequences of ECMA-48: ESC, `[`, parameters, a letter.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|character: char| character.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

/// An empty directory, which is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> anyhow::Result<Self> {
        let name = format!("countersign-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // A leftover directory is harmless.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openssl_line_is_found_after_a_prompt_with_colours_and_over_two_lines() {
        let output = "saved\n  \u{1b}[1m$ openssl cms -verify -cades -in 'a b.p7m' \\\n     -CAfile ca.pem\u{1b}[0m\n";
        let line = openssl_line(output).unwrap();
        assert_eq!(line.split_whitespace().last(), Some("ca.pem"));
        assert!(line.starts_with("openssl cms -verify -cades -in 'a b.p7m'"), "{line}");
        assert!(!line.contains('\\') && !line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn a_demo_that_prints_no_openssl_line_has_none() {
        assert_eq!(openssl_line("all is well\n"), None);
    }
}
