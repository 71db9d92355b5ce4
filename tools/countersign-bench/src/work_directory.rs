//! Where the bench works: a directory for its ledger, and enough open files.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rlimit::Resource;

/// Files that are open besides connections: the ledger's, the logs, the programs'.
const OTHER_FILES: u64 = 128;

/// The bench's directory, which goes with it.
pub(super) struct WorkDirectory(PathBuf);

impl WorkDirectory {
    /// Makes one in `data`, or among the temporary ones.
    pub(super) fn make(data: Option<&Path>) -> anyhow::Result<Self> {
        let mut chance = [0; 4];
        aws_lc_rs::rand::fill(&mut chance).expect("the system gives random bytes");
        let parent = data.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("countersign-bench-{}", hex::encode(chance)));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The kind of file system that the ledger is on: on `tmpfs` nothing is durable, and syncs are
    /// free.
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
        // What cannot be removed is the person's to look at.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes sure that so many connections can be open here, and so many in the server.
///
/// # Errors
/// Says what to raise.
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
    fn a_room_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let room = WorkDirectory::make(Some(parent.path())).unwrap();
        std::fs::write(room.path().join("ledger.db"), b"").unwrap();
        let path = room.path().to_owned();
        drop(room);
        assert!(!path.exists());
    }

    #[test]
    fn more_connections_than_the_system_allows_are_refused_with_what_to_raise() {
        let error = for_connections(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("ulimit"), "{error}");
    }
}
