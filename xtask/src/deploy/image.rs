//! The container image, by `buildah` without a daemon: an OCI layout of one layer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::{Run, clear, output, put, set_mode};

/// The authorities of Debian's package ca-certificates, at the place where programs look for them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes the image from `deploy/Containerfile`.
pub(super) fn make(run: &Run) -> anyhow::Result<PathBuf> {
    let (tree, storage) = (run.out.join("image"), run.out.join("storage"));
    let layout = run.out.join("countersign.oci");
    for directory in [&tree, &storage, &layout] {
        clear(directory)?;
    }
    let program = tree.join("root/usr/bin/countersign");
    put(&run.program, &program, 0o755)?;
    output(Command::new("strip").arg(&program))?;
    put(Path::new(AUTHORITIES), &tree.join("root").join(&AUTHORITIES[1..]), 0o644)?;
    for (directory, mode) in
        [("root/tmp", 0o1777), ("root/var/lib", 0o755), ("state/countersign", 0o700)]
    {
        let directory = tree.join(directory);
        std::fs::create_dir_all(&directory)
            .and_then(|()| set_mode(&directory, mode))
            .with_context(|| format!("making {}", directory.display()))?;
    }
    let mut build = Command::new("buildah");
    build.args(["--storage-driver", "vfs"]);
    build.arg("--root").arg(&storage).arg("--runroot").arg(storage.join("run"));
    build.args(["build", "--isolation", "chroot", "--timestamp", &run.time]);
    build.arg("--file").arg(run.root.join("deploy/Containerfile"));
    build.args(["--label", &format!("org.opencontainers.image.version={}", run.version)]);
    build.args(["--label", "org.opencontainers.image.licenses=Apache-2.0"]);
    build.arg("--tag").arg(format!("oci:{}:latest", layout.display())).arg(&tree);
    output(&mut build)?;
    clear(&tree)?;
    clear(&storage)?;
    Ok(layout)
}
