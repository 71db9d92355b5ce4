//! `cargo xtask deb`, `image` and `deploy`: what is installed on servers, made from `deploy/`.
//!
//! All of it holds one program, which is linked statically: it runs on any Linux of its processor.

mod deb;
mod image;
mod trial;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::machine;
use crate::step::{Step, Tally, heading};

/// The program, and where packages go.
#[derive(clap::Args)]
pub(crate) struct Packaging {
    /// A program that was linked statically, instead of one that is built for shipping.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The directory of what is made; `target/deploy` if none is given.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A packaging run: the repository, the program, its version and its commit's time.
struct Run {
    root: PathBuf,
    program: PathBuf,
    out: PathBuf,
    version: String,
    /// Seconds since 1970, so that the same commit makes the same packages.
    time: String,
}

impl Packaging {
    /// Makes the Debian package.
    pub(crate) fn deb(self, root: &Path) -> anyhow::Result<()> {
        machine::complete_for_packages()?;
        deb::make(&self.begin(root)?).map(|path| println!("{}", path.display()))
    }

    /// Makes the container image, as an OCI layout.
    pub(crate) fn image(self, root: &Path) -> anyhow::Result<()> {
        machine::complete_for_packages()?;
        image::make(&self.begin(root)?).map(|path| println!("{}", path.display()))
    }

    /// Makes both, and tries each: it is installed or unpacked, and its server answers.
    pub(crate) fn deploy(self, root: &Path) -> anyhow::Result<Tally> {
        machine::complete_for_packages()?;
        let run = self.begin(root)?;
        let (package, layout) = (deb::make(&run)?, image::make(&run)?);
        let mut total = Tally::default();
        let mut lintian = Command::new("lintian");
        lintian.args(["--fail-on", "error,warning", "--allow-root"]).arg(&package);
        total += Step::new("lintian", lintian).check();
        let mut compose = Command::new("docker-compose");
        compose.arg("-f").arg(root.join("deploy/compose.yaml")).args(["config", "--quiet"]);
        total += Step::new("compose file", compose).check();
        total += tried("package", &trial::package(&package));
        total += tried("image", &trial::image(&layout));
        println!("\n{total}; in {}", run.out.display());
        Ok(total)
    }

    fn begin(self, root: &Path) -> anyhow::Result<Run> {
        let program = match self.program {
            Some(program) => program,
            None => build(root)?,
        };
        ensure!(
            is_static(&program)?,
            "{} is not linked statically; build it with RUSTFLAGS='{STATIC}' and --target",
            program.display()
        );
        let out = self.out.unwrap_or_else(|| root.join("target/deploy"));
        std::fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
        let said = output(Command::new(&program).arg("--version"))?;
        let version = said.split_whitespace().nth(1).context("the program has no version")?;
        let mut time = Command::new("git");
        time.args(["log", "-1", "--format=%ct"]).current_dir(root);
        let time = output(&mut time)?.trim().to_owned();
        Ok(Run { root: root.into(), program, out, version: version.into(), time })
    }
}

/// The flag that links the C library into the program.
const STATIC: &str = "-C target-feature=+crt-static";

/// Builds the program for shipping.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let host = machine::host()?;
    let mut command = Command::new("cargo");
    command.args(["build", "--profile", "dist", "--locked", "--package", "countersign-server"]);
    command.args(["--bin", "countersign", "--target", &host]).current_dir(root);
    command.env("RUSTFLAGS", STATIC);
    ensure!(Step::new("program", command).check().failed == 0, "the program was not built");
    Ok(root.join("target").join(host).join("dist/countersign"))
}

/// Whether a program needs no shared library.
fn is_static(program: &Path) -> anyhow::Result<bool> {
    let dynamic = output(Command::new("readelf").args(["--wide", "--dynamic"]).arg(program))?;
    Ok(!dynamic.contains("(NEEDED)"))
}

/// Counts a trial as one check.
fn tried(what: &str, result: &anyhow::Result<String>) -> Tally {
    heading(what);
    match result {
        Ok(said) => println!("   {said}"),
        Err(error) => println!("   {what} FAILED: {error:#}"),
    }
    Tally::one(result.is_ok())
}

/// The output of a command that succeeds.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{program} does not start"))?;
    if !output.status.success() {
        let (said, more) = (&output.stderr, &output.stdout);
        bail!("{program}: {}{}", String::from_utf8_lossy(said), String::from_utf8_lossy(more));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Copies a file with a mode, and makes its directory.
fn put(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let text = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    write(to, &text, mode)
}

/// Writes a file with a mode, and makes its directory.
fn write(to: &Path, text: &[u8], mode: u32) -> anyhow::Result<()> {
    let written = || {
        std::fs::create_dir_all(to.parent().expect("it is in a directory"))?;
        std::fs::write(to, text)?;
        set_mode(to, mode)
    };
    written().with_context(|| format!("writing {}", to.display()))
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Removes a directory, if it is there.
fn clear(directory: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}
