//! The environment of the bench: a directory for its ledger, and enough open files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rlimit::Resource;

/// The open files besides connections: the ledger, the logs, the programs.
const OTHER_FILES: u64 = 128;

/// The bench's directory, which is removed when dropped.
pub(super) struct WorkDirectory(PathBuf);

impl WorkDirectory {
    /// Makes a directory in `data`, or in the system's temporary directory.
    pub(super) fn make(data: Option<&Path>) -> anyhow::Result<Self> {
        let mut chance = [0; 4];
        aws_lc_rs::rand::fill(&mut chance).expect("the system's random generator does not fail");
        let parent = data.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("countersign-bench-{}", hex::encode(chance)));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{} cannot be created", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The kind of the ledger's file system: on `tmpfs` nothing is durable, and syncs cost nothing.
    pub(super) fn file_system(&self) -> String {
        let path = std::fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let on = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (directory, kind) = (fields.next()?, fields.next()?);
            path.starts_with(directory).then_some((directory.len(), kind))
        });
        on.max_by_key(|(length, _)| *length).map_or("unknown", |(_, kind)| kind).to_owned()
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        // A directory that cannot be removed is left behind.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Raises the limit on open files for this many connections, here and in the server.
///
/// # Errors
/// If the system does not allow it; the message tells which limit to raise.
pub(super) fn for_connections(connections: u32) -> anyhow::Result<()> {
    let needed = u64::from(connections) + OTHER_FILES;
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(0);
    if allowed >= needed {
        return Ok(());
    }
    let hard = Resource::NOFILE.get_hard().unwrap_or(allowed);
    bail!(
        "{connections} connections need {needed} open files, and this system allows {hard}: raise it \
         (`ulimit -Hn {needed}` as root, or LimitNOFILE of the service), or ask for fewer devices"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_directory_is_removed_with_its_files() {
        let parent = tempfile::tempdir().unwrap();
        let room = WorkDirectory::make(Some(parent.path())).unwrap();
        std::fs::write(room.path().join("ledger.db"), b"").unwrap();
        let path = room.path().to_owned();
        drop(room);
        assert!(!path.exists());
    }

    #[test]
    fn too_many_connections_are_refused_with_the_limit_to_raise() {
        let error = for_connections(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("ulimit"), "{error}");
    }
}
