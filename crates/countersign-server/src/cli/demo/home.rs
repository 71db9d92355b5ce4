//! The demo's files: a given directory, or a temporary one that is removed at the end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::shell;
use countersign_config::temporary_directory;

/// The demo's directory, which is also the server's data directory.
#[derive(Debug)]
pub(super) struct Home {
    directory: PathBuf,
    temporary: bool,
}

impl Home {
    /// Uses `data`, or creates a temporary directory that only its owner can read.
    pub(super) fn make(data: Option<&Path>) -> anyhow::Result<Self> {
        let (directory, temporary) = match data {
            Some(data) => (data.to_owned(), false),
            None => (temporary_path(), true),
        };
        DirBuilder::new()
            .recursive(!temporary)
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        let directory = fs::canonicalize(&directory)
            .with_context(|| format!("{} cannot be found again", directory.display()))?;
        Ok(Self { directory, temporary })
    }

    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file that only its owner can read.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.file(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// Removes a temporary directory, all but the files in `keep`.
    pub(super) fn leave(&self, keep: &[&str]) {
        if !self.temporary {
            return;
        }
        let kept = |name: &std::ffi::OsStr| keep.iter().any(|keep| name == *keep);
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| !kept(&entry.file_name())) {
            // A file that cannot be removed stays among the temporary files, which the system
            // removes.
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
                _ => fs::remove_file(entry.path()),
            };
        }
        let _ = fs::remove_dir(&self.directory); // Succeeds only if no file was kept.
    }
}

fn temporary_path() -> PathBuf {
    let mut chance = [0; 4];
    aws_lc_rs::rand::fill(&mut chance).expect("the system gives random bytes");
    temporary_directory().join(format!("countersign-demo-{}", hex::encode(chance)))
}

/// A path, quoted for a shell.
pub(super) fn quoted(path: &Path) -> String {
    shell::quoted(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_home_goes_but_for_what_is_kept() {
        let home = Home::make(None).unwrap();
        let secret = home.write("phone.json", b"{}").unwrap();
        let result = home.write("payment.p7m", b"0").unwrap();
        fs::create_dir(home.file("tls")).unwrap();
        home.leave(&["payment.p7m"]);
        assert!(result.exists() && !secret.exists() && !home.file("tls").exists());
        home.leave(&[]);
        assert!(!home.path().exists());
    }

    #[test]
    fn a_home_that_was_given_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::make(Some(&directory.path().join("a/b"))).unwrap();
        let file = home.write("phone.json", b"{}").unwrap();
        home.leave(&[]);
        assert!(file.exists());
    }

    #[test]
    fn a_shell_reads_a_quoted_path_as_one_word() {
        assert_eq!(quoted(Path::new("/tmp/a-1/b.p7m")), "/tmp/a-1/b.p7m");
        assert_eq!(quoted(Path::new("it's $HOME")), r"'it'\''s $HOME'");
    }
}
