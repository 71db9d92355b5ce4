//! The list of a backup's files, with their digests. It is written last, so that a backup without
//! one is not complete.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// The name of the list in a backup's directory.
pub(super) const FILE: &str = "manifest.json";
/// The version of the list. It is the only one yet.
const FORMAT: u32 = 1;
/// The longest list; far longer than any that this program writes.
const BYTES_MAX: u64 = 1024 * 1024;
const BUFFER_BYTES: usize = 128 * 1024;

/// The list of a backup's contents.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version of this list.
    pub(super) format: u32,
    /// The program that made the backup.
    pub(crate) program: String,
    /// The moment of the ledger's copy, RFC 3339.
    pub(crate) made_at: String,
    /// The version of the ledger's schema.
    pub(crate) schema: u32,
    /// The tenants in the ledger.
    pub(crate) tenants: u64,
    /// The devices in the ledger, retired ones included.
    pub(crate) devices: u64,
    /// The transactions in the ledger.
    pub(crate) transactions: u64,
    /// The ids of the master keys that the ledger's secrets need.
    pub(crate) master_keys: Vec<String>,
    /// The files, by their paths in the backup.
    pub(crate) files: Vec<ManifestFile>,
    /// Files that the configuration names and the backup does not have.
    pub(crate) not_included: Vec<PathBuf>,
}

/// A file of a backup.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestFile {
    /// Its path in the backup.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its mode, octal.
    pub(crate) mode: String,
    /// Its SHA-256, hex.
    pub(crate) sha256: String,
}

impl Manifest {
    pub(super) const FORMAT: u32 = FORMAT;

    /// Writes the list of the backup in `directory`.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(FILE);
        let text = serde_json::to_string_pretty(self)?;
        let mut file = create(&path, 0o600)?;
        let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
        written.with_context(|| format!("{} cannot be written", path.display()))?;
        sync_directory(directory)
    }

    /// Reads the list of the backup in `directory`.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let file = File::open(&path).with_context(|| {
            format!(
                "{} is not a complete backup: {FILE} cannot be read; `countersign backup` makes \
                 one",
                directory.display()
            )
        })?;
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text)?;
        let damaged = || format!("{} is damaged", path.display());
        let manifest: Self = serde_json::from_str(&text).with_context(damaged)?;
        ensure!(
            manifest.format == FORMAT,
            "{} has format {}, and this program knows only {FORMAT}; use the newer program",
            path.display(),
            manifest.format
        );
        for file in &manifest.files {
            let plain = |part| matches!(part, Component::Normal(_));
            ensure!(file.path.components().all(plain), "{}", damaged());
            file.mode()?;
        }
        Ok(manifest)
    }

    /// The entry of a file, if the backup has it.
    pub(super) fn file(&self, path: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.path == Path::new(path))
    }

    /// Checks every file against its entry.
    pub(super) fn check(&self, directory: &Path) -> anyhow::Result<()> {
        for file in &self.files {
            let path = directory.join(&file.path);
            let found = ManifestFile::of(directory, &file.path)?;
            if (found.bytes, &found.sha256) != (file.bytes, &file.sha256) {
                bail!("{} is not as it was backed up; use another backup", path.display());
            }
        }
        Ok(())
    }
}

impl ManifestFile {
    /// Reads a file of the backup.
    pub(super) fn of(directory: &Path, path: &Path) -> anyhow::Result<Self> {
        let full = directory.join(path);
        let failed = || format!("{} cannot be read", full.display());
        let metadata = std::fs::metadata(&full).with_context(failed)?;
        let (bytes, sha256) = digest(&full).with_context(failed)?;
        let mode = format!("{:04o}", metadata.mode() & 0o777);
        Ok(Self { path: path.into(), bytes, mode, sha256 })
    }

    /// The mode as a number.
    pub(super) fn mode(&self) -> anyhow::Result<u32> {
        let mode = u32::from_str_radix(&self.mode, 8).ok().filter(|mode| mode & !0o777 == 0);
        mode.with_context(|| format!("{}: {} is no mode", self.path.display(), self.mode))
    }
}

/// Length and SHA-256 of a file.
pub(super) fn digest(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (Context::new(&SHA256), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex::encode(hash.finish()))),
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Creates a file that does not exist, with this mode whatever the process's mask is.
pub(super) fn create(path: &Path, mode: u32) -> anyhow::Result<File> {
    let created = File::options().write(true).create_new(true).mode(mode).open(path);
    let file = created.with_context(|| format!("{} cannot be created", path.display()))?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Copies a file to a new one with this mode, and makes it durable.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    let mut source =
        File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let mut target = create(to, mode)?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    copied.with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> anyhow::Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("{} cannot be synced", directory.display()))
}
