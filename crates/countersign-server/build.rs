//! Names the commit from which the program is built: `COUNTERSIGN_COMMIT` if a packager sets it,
//! else what Git says, else `unknown`.

use std::process::Command;

fn main() {
    let given = option_env!("COUNTERSIGN_COMMIT").map(str::to_owned);
    let commit = given.or_else(|| {
        // The commit changes when the branch moves, or another one is checked out.
        for name in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(&["rev-parse", "--git-path", name]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!("cargo::rustc-env=COUNTERSIGN_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// What Git prints, if it is there and the sources are its working tree.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
