//! Files that appear complete or not at all. [`publish`] never replaces an existing one. Two
//! processes may start at once, and any of them may die between two lines.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

/// A new name beside `path`, under which the file is written.
pub(crate) fn of(path: &Path) -> PathBuf {
    let mut random = [0; 8];
    rand::fill(&mut random).expect("the system has randomness");
    let mut name = OsString::from(path);
    name.push(format!(".new-{}", hex::encode(random)));
    name.into()
}

/// Gives the draft its name, unless there is a file of that name.
///
/// # Errors
/// The error of the directory.
pub(crate) fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    let linked = std::fs::hard_link(draft, path);
    discard(draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path),
    }
}

/// Makes the new name durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if directory != Path::new("") => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

/// Removes a draft. If that fails, what remains is of no use, and does no harm.
pub(crate) fn discard(draft: &Path) {
    let _ = std::fs::remove_file(draft);
}

/// Gives the draft its name, in the place of the file of that name.
///
/// # Errors
/// The error of the directory.
pub(crate) fn replace(draft: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(draft, path)?;
    sync_directory(path)
}
