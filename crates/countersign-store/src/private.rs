//! Files that nobody but their owner may use, and directories that nobody else may change.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A file that its group or others may use, or a directory that they may change.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{path} has mode {mode:04o}, so that others may use it; make it its owner's only: \
     chmod {wanted:o} {path}"
)]
pub struct Exposed {
    path: PathBuf,
    mode: u32,
    wanted: u32,
}

/// Checks that only its owner may use the file at `path`, or change the directory; `metadata` was
/// read of it.
///
/// Others may list a directory: each file in it that holds a secret is checked by itself. Whoever
/// may write there could put another file in its place.
///
/// # Errors
/// [`Exposed`], which says what to do.
pub fn check(path: &Path, metadata: &Metadata) -> Result<(), Exposed> {
    let mode = metadata.permissions().mode() & 0o7777;
    let (others, wanted) = if metadata.is_dir() { (0o022, 0o700) } else { (0o077, 0o600) };
    if mode & others == 0 {
        return Ok(());
    }
    Err(Exposed { path: path.into(), mode, wanted })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn what_a_group_or_others_may_use_is_exposed_and_how_to_mend_it_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "secret").unwrap();
        for (mode, exposed) in
            [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true)]
        {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let checked = check(&file, &fs::metadata(&file).unwrap());
            assert_eq!(checked.is_err(), exposed, "{mode:o}");
        }
        let said = check(&file, &fs::metadata(&file).unwrap()).unwrap_err().to_string();
        assert!(said.contains("mode 0620") && said.contains("chmod 600 "), "{said}");
        for (mode, exposed) in [(0o755, false), (0o770, true), (0o702, true)] {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            let checked = check(directory.path(), &fs::metadata(directory.path()).unwrap());
            assert_eq!(checked.is_err(), exposed, "{mode:o}");
            if let Err(said) = checked {
                assert!(said.to_string().contains("chmod 700 "), "{said}");
            }
        }
    }
}
