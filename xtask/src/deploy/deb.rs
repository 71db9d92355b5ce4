//! The Debian package, by `dpkg-deb` alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Run, clear, output, put, set_mode, write};

/// Where each file of the repository goes.
const FILES: &[(&str, &str)] = &[
    ("deploy/server.toml", "etc/countersign/server.toml"),
    ("deploy/systemd/countersign.service", "lib/systemd/system/countersign.service"),
    ("deploy/systemd/countersign.sysusers", "usr/lib/sysusers.d/countersign.conf"),
    ("deploy/systemd/countersign.tmpfiles", "usr/lib/tmpfiles.d/countersign.conf"),
    ("deploy/deb/copyright", "usr/share/doc/countersign/copyright"),
    ("docs/deploy.md", "usr/share/doc/countersign/deploy.md"),
    ("docs/operating.md", "usr/share/doc/countersign/operating.md"),
    ("docs/backup.md", "usr/share/doc/countersign/backup.md"),
    ("docs/ledger.md", "usr/share/doc/countersign/ledger.md"),
    ("deploy/node.toml", "usr/share/doc/countersign/examples/node.toml"),
    ("deploy/systemd/postgresql.conf", "usr/share/doc/countersign/examples/postgresql.conf"),
    ("deploy/haproxy.cfg", "usr/share/doc/countersign/examples/haproxy.cfg"),
    ("deploy/nginx.conf", "usr/share/doc/countersign/examples/nginx.conf"),
    ("deploy/deb/lintian-overrides", "usr/share/lintian/overrides/countersign"),
];
/// The scripts of the package.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes the package.
pub(super) fn make(run: &Run) -> anyhow::Result<PathBuf> {
    let tree = run.out.join("deb");
    clear(&tree)?;
    for (from, to) in FILES {
        put(&run.root.join(from), &tree.join(to), 0o644)?;
    }
    let program = tree.join("usr/bin/countersign");
    put(&run.program, &program, 0o755)?;
    output(Command::new("strip").args(["--strip-all", "--remove-section=.comment"]).arg(&program))?;
    let (version, architecture) =
        (format!("{}-1", run.version), output(Command::new("dpkg").arg("--print-architecture"))?);
    let architecture = architecture.trim();
    write_changes(run, &tree, &version)?;
    write_control(run, &tree, &version, architecture)?;
    for directory in output(Command::new("find").arg(&tree).args(["-type", "d"]))?.lines() {
        set_mode(Path::new(directory), 0o755)?;
    }
    let package = run.out.join(format!("countersign_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&package);
    output(build.env("SOURCE_DATE_EPOCH", &run.time))?;
    clear(&tree)?;
    Ok(package)
}

/// The list of changes, as Debian has it: one entry that refers to the project's own.
fn write_changes(run: &Run, tree: &Path, version: &str) -> anyhow::Result<()> {
    let date = output(Command::new("date").args(["-uR", "-d", &format!("@{}", run.time)]))?;
    let entry = format!(
        "countersign ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n \
         -- {MAINTAINER}  {date}"
    );
    let documents = tree.join("usr/share/doc/countersign");
    write(&documents.join("changelog.Debian"), entry.as_bytes(), 0o644)?;
    put(&run.root.join("CHANGELOG.md"), &documents.join("changelog"), 0o644)?;
    for name in ["changelog.Debian", "changelog"] {
        output(Command::new("gzip").args(["-9n"]).arg(documents.join(name)))?;
    }
    Ok(())
}

/// Who maintains the package.
const MAINTAINER: &str = "Countersign's maintainers <maintainers@countersign.invalid>";

/// The directory that only `dpkg` reads.
fn write_control(run: &Run, tree: &Path, version: &str, architecture: &str) -> anyhow::Result<()> {
    let size = output(Command::new("du").args(["-sk"]).arg(tree))?;
    let size = size.split_whitespace().next().unwrap_or_default();
    let control = std::fs::read_to_string(run.root.join("deploy/deb/control"))?;
    let control = control
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@MAINTAINER@", MAINTAINER)
        .replace("@SIZE@", size);
    let mut sums = Command::new("sh");
    sums.args(["-c", "find * -type f | LC_ALL=C sort | xargs md5sum"]).current_dir(tree);
    let sums = output(&mut sums)?;
    let directory = tree.join("DEBIAN");
    write(&directory.join("control"), control.as_bytes(), 0o644)?;
    write(&directory.join("md5sums"), sums.as_bytes(), 0o644)?;
    put(&run.root.join("deploy/deb/conffiles"), &directory.join("conffiles"), 0o644)?;
    for script in SCRIPTS {
        put(&run.root.join("deploy/deb").join(script), &directory.join(script), 0o755)?;
    }
    Ok(())
}
