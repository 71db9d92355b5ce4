//! Checks of file permissions: a secret file is for its owner only, and a directory may be changed
//! by its owner only.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file that its group or others may use, or a directory that its group or others may change.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{path} has mode {mode:04o}, which gives other users access; restrict it to its owner: \
     chmod {wanted:o} {path}"
)]
pub struct Exposed {
    path: PathBuf,
    mode: u32,
    wanted: u32,
}

/// Checks that only the owner may use the file, or change the directory, at `path`, by the
/// `metadata` that was read of it.
///
/// Others may list a directory, because each secret file in it is checked separately. A user who
/// may write in the directory could replace a file in it.
///
/// A credential that systemd hands to a service is accepted too: root's, with mode 0440. What looks
/// like a right of root's group there is the limit of an access control list, which names the
/// service's account alone.
///
/// # Errors
/// [`Exposed`], which states how to correct the permissions.
pub fn check(path: &Path, metadata: &Metadata) -> Result<(), Exposed> {
    let mode = metadata.permissions().mode() & 0o7777;
    let (others, wanted) = if metadata.is_dir() { (0o022, 0o700) } else { (0o077, 0o600) };
    let owners = (metadata.uid(), metadata.gid());
    if mode & others == 0 || (metadata.is_file() && is_credential(mode, owners)) {
        return Ok(());
    }
    Err(Exposed { path: path.into(), mode, wanted })
}

/// Whether a file has the mode and the owners of a credential by systemd.
fn is_credential(mode: u32, owners: (u32, u32)) -> bool {
    mode == 0o440 && owners == (0, 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_file_that_group_or_others_may_use_is_refused_with_the_chmod_that_corrects_it() {
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

    #[test]
    fn a_credential_by_systemd_is_accepted_and_nothing_that_resembles_it() {
        assert!(is_credential(0o440, (0, 0)));
        for (mode, owners) in
            [(0o440, (0, 1000)), (0o440, (1000, 0)), (0o640, (0, 0)), (0o444, (0, 0))]
        {
            assert!(!is_credential(mode, owners), "{mode:o} {owners:?}");
        }
    }
}
