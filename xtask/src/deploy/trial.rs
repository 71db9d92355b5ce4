//! What was made is tried: the package is installed and removed in an empty system, the image runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{clear, output, write};

/// Installs the package in a directory, runs what it holds, and purges it.
pub(super) fn package(package: &Path) -> anyhow::Result<String> {
    let root = package.with_file_name("installed");
    clear(&root)?;
    for name in ["etc/passwd", "etc/group", "var/lib/dpkg/status", "var/lib/dpkg/available"] {
        write(&root.join(name), b"", 0o644)?;
    }
    for name in ["info", "updates", "triggers"] {
        std::fs::create_dir_all(root.join("var/lib/dpkg").join(name))?;
    }
    dpkg(&root, "--install", package.as_os_str())?;
    let accounts = std::fs::read_to_string(root.join("etc/passwd"))?;
    let account = accounts.lines().find(|line| line.starts_with("countersign:"));
    let account = account.context("the package made no account")?;
    let user: u32 = account.split(':').nth(2).context("no number")?.parse()?;
    let state = root.join("var/lib/countersign");
    let made = state.metadata().context("the package made no directory for the ledger")?;
    ensure!(made.uid() == user && made.mode() & 0o7777 == 0o700, "{made:?}");
    let program = root.join("usr/bin/countersign");
    let configuration = root.join("etc/countersign/server.toml");
    output(Command::new(&program).args(["config", "check", "--config"]).arg(&configuration))?;
    let said = demo(Command::new(&program).arg("demo").current_dir(&root))?;

    // A ledger outlives the package, an edited configuration its upgrade.
    write(&state.join("ledger.db"), b"evidence", 0o600)?;
    write(&configuration, b"# mine\n", 0o644)?;
    dpkg(&root, "--install", package.as_os_str())?;
    ensure!(std::fs::read(&configuration)? == b"# mine\n", "the configuration was replaced");
    dpkg(&root, "--remove", "countersign".as_ref())?;
    ensure!(configuration.exists() && !program.exists(), "removed: not as it should be");
    dpkg(&root, "--purge", "countersign".as_ref())?;
    ensure!(!configuration.exists(), "the purge left the configuration");
    ensure!(state.join("ledger.db").exists(), "the purge removed the ledger");
    clear(&root)?;
    Ok(format!("installed, run ({said}), upgraded, removed and purged"))
}

/// Runs `dpkg` on another root, whose scripts run here and respect that.
fn dpkg(root: &Path, action: &str, what: &std::ffi::OsStr) -> anyhow::Result<String> {
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display()));
    command.args(["--force-script-chrootless", "--force-depends", "--force-confold", "--no-pager"]);
    output(command.arg(action).arg(what))
}

/// Runs the image's program as its configuration says, without a daemon.
pub(super) fn image(layout: &Path) -> anyhow::Result<String> {
    let storage = layout.with_file_name("storage");
    clear(&storage)?;
    let buildah = || {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(&storage).arg("--runroot").arg(storage.join("run"));
        command
    };
    let from = format!("oci:{}:latest", layout.display());
    output(buildah().args(["from", "--name", "trial", &from]))?;
    let run = |words: &[&str]| {
        let mut command = buildah();
        command.args(["run", "--isolation", "chroot", "trial", "--", "/usr/bin/countersign"]);
        command.args(words);
        command
    };
    output(&mut run(&["init"]))?;
    output(&mut run(&["tenant", "create", "acme"]))?;
    let said = demo(&mut run(&["demo"]))?;
    output(buildah().args(["rm", "trial"]))?;
    clear(&storage)?;
    Ok(format!("the account of the image made a ledger, and ran ({said})"))
}

/// Runs the demo, which starts a server, enrols a phone and has it sign.
fn demo(command: &mut Command) -> anyhow::Result<String> {
    let said = output(command.arg("--once"))?;
    ensure!(said.contains("openssl cms -verify"), "the demo signed nothing: {said}");
    Ok("the demo signed".into())
}
