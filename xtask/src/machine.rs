//! The programs that the tests need, and their installation.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The command that shows that a program is installed, its Debian package, and the reason.
type Program = (&'static [&'static str], &'static str, &'static str);

/// Programs that tests call.
const PROGRAMS: &[Program] = &[
    (
        &["openssl", "version"],
        "openssl",
        "verifies every signature and certificate as a second implementation",
    ),
    (&["curl", "--version"], "curl", "calls the server over HTTP/2, and as the README says"),
    (
        &["sqlite3", "--version"],
        "sqlite3",
        "reads the ledger as a second program, and corrupts it for tests",
    ),
    (&["python3", "--version"], "python3", "runs the example receiver of callbacks"),
    (
        &["python3", "-m", "pip", "--version"],
        "python3-pip",
        "installs Standard Webhooks' own library, which verifies our signatures",
    ),
    (&["node", "--version"], "nodejs", "runs the other example receiver of callbacks"),
    (&["npm", "--version"], "npm", "installs another implementation of Web Push's encryption"),
    (&["php", "--version"], "php-cli", "runs a stock SOAP client"),
    (&["php", "-r", "exit(class_exists('SoapClient') ? 0 : 1);"], "php-soap", "is that client"),
    (
        &["javac", "-version"],
        "default-jdk-headless",
        "compiles what JAX-WS makes of the service description",
    ),
    (&["wsimport", "-version"], "jaxws", "is JAX-WS, another stock SOAP client"),
    (&["nginx", "-v"], "nginx-light", "stands in front of the server, as docs/operating.md says"),
    (&["haproxy", "-v"], "haproxy", "likewise"),
    (&["promtool", "--version"], "prometheus", "checks the metrics, and the alerts of that page"),
    (
        &["sh", "-c", "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb"],
        "postgresql",
        "holds the ledger of several nodes",
    ),
    (&["systemd-analyze", "--version"], "systemd", "checks the unit, and how far it is confined"),
];

/// Programs that `cargo xtask deploy` calls besides.
const PACKAGERS: &[Program] = &[
    (&["dpkg-deb", "--version"], "dpkg", "makes the Debian package"),
    (&["strip", "--version"], "binutils", "takes names of functions out of the program"),
    (&["buildah", "--version"], "buildah", "makes the container image, without a daemon"),
    (
        &["test", "-s", "/etc/ssl/certs/ca-certificates.crt"],
        "ca-certificates",
        "has the authorities that the image trusts",
    ),
    (&["lintian", "--version"], "lintian", "checks the Debian package"),
    (&["docker-compose", "--version"], "docker-compose", "checks the compose file"),
];

/// Installs missing programs if this user may; otherwise prints what to install.
pub(crate) fn complete() -> anyhow::Result<()> {
    if !answers("cargo", &["fmt", "--version"]) || !answers("cargo", &["clippy", "--version"]) {
        run("rustup", &["component", "add", "rustfmt", "clippy"])?;
    }
    install(PROGRAMS)
}

/// Does the same for the programs that make packages.
pub(crate) fn complete_for_packages() -> anyhow::Result<()> {
    install(PACKAGERS)
}

fn install(programs: &[Program]) -> anyhow::Result<()> {
    let missing: Vec<_> =
        programs.iter().filter(|(says, ..)| !answers(says[0], &says[1..])).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (says, _, why) in &missing {
        println!("{} is missing: {why}", says[0]);
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    if !is_root() || !answers("apt-get", &["--version"]) {
        bail!("install {} and try again: `apt-get install {0}` on Debian", packages.join(" "));
    }
    run("apt-get", &["update", "-q"])?;
    run("apt-get", &[&["install", "-qy", "--no-install-recommends"], &packages[..]].concat())
}

/// The target triple of this machine. With an explicit triple, the flags do not apply to build
/// scripts.
pub(crate) fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc does not start")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc does not print its host")?.to_owned())
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let line = format!("{program} {}", arguments.join(" "));
    println!("$ {line}");
    let mut command = Command::new(program);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    if !command.status().is_ok_and(|status| status.success()) {
        bail!("`{line}` failed; run it by hand, then try again");
    }
    Ok(())
}
