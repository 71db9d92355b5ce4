//! Backups: everything that a server needs to go on elsewhere, in one directory.
//!
//! ```text
//! DIR/ledger.db         the ledger as of one moment
//! DIR/master.key        the master keys, unless they are kept elsewhere
//! DIR/tls/…             with tls = "own": the authority that devices and applications trust
//! DIR/countersign.toml  the configuration file, if one was named
//! DIR/manifest.json     the list of these files with their digests; written last
//! ```
//!
//! The guarantee: a backup that has a manifest was checked when it was made: the copy is sound, and
//! each secret in it opens with the master key file of that moment.

mod manifest;
mod restore;

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use countersign_config::{Config, Tls};
use countersign_core::time::Timestamp;
use countersign_http::time_format;
use countersign_store::{LedgerSummary, Store};

pub(crate) use self::manifest::Manifest;
use self::manifest::ManifestFile;
pub(crate) use self::restore::{Restored, restore};
use crate::version;

const LEDGER: &str = "ledger.db";
const MASTER_KEY: &str = "master.key";
const CONFIGURATION: &str = "countersign.toml";
const TLS: &str = "tls";

/// The files to back up.
pub(crate) struct Sources<'a> {
    /// The configuration that the server uses.
    pub(crate) config: &'a Config,
    /// The configuration's file, if one was named.
    pub(crate) file: Option<&'a Path>,
    /// The open ledger.
    pub(crate) store: &'a Store,
    /// Whether the master key file is copied too.
    pub(crate) with_master_key: bool,
}

impl Sources<'_> {
    /// Makes a backup in `directory`, which is created, or is empty. A server may run meanwhile.
    ///
    /// # Errors
    /// Names the file that cannot be read or written, or what is wrong with the copy. What was
    /// written stays, without a manifest.
    pub(crate) fn back_up(&self, directory: &Path, now: Timestamp) -> anyhow::Result<Manifest> {
        make_empty(directory)?;
        let ledger = directory.join(LEDGER);
        drop(manifest::create(&ledger, 0o600)?);
        self.store.back_up(&ledger)?;
        // After the ledger: keys are added before they seal.
        let mut files = vec![PathBuf::from(LEDGER)];
        let master_key = &self.config.store.master_key_file;
        if self.with_master_key {
            files.push(keep(master_key, directory, MASTER_KEY)?);
        }
        files.extend(self.keep_tls(directory)?);
        if let Some(file) = self.file {
            files.push(keep(file, directory, CONFIGURATION)?);
        }
        let key = self.with_master_key.then(|| directory.join(MASTER_KEY));
        let summary = Store::check_copy(&ledger, Some(key.as_deref().unwrap_or(master_key)))?;
        let files: Result<Vec<_>, _> =
            files.iter().map(|path| ManifestFile::of(directory, path)).collect();
        let manifest = self.manifest(&summary, files?, now);
        manifest.write(directory)?;
        Ok(manifest)
    }

    /// Copies the server's own authority and certificate.
    fn keep_tls(&self, directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let from = self.config.store.data.join(TLS);
        if self.config.server.tls != Tls::Own || !from.exists() {
            return Ok(Vec::new());
        }
        make_private(&directory.join(TLS))?;
        let failed = || format!("{} cannot be read", from.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&from).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if !entry.path().is_file() {
                continue;
            }
            let name = entry.file_name();
            let name = name
                .to_str()
                .with_context(|| format!("{} is not a name in UTF-8", entry.path().display()))?;
            files.push(keep(&entry.path(), directory, &format!("{TLS}/{name}"))?);
        }
        files.sort();
        manifest::sync_directory(&directory.join(TLS))?;
        Ok(files)
    }

    fn manifest(
        &self,
        summary: &LedgerSummary,
        files: Vec<ManifestFile>,
        now: Timestamp,
    ) -> Manifest {
        Manifest {
            format: Manifest::FORMAT,
            program: format!("countersign {}", version::LONG),
            made_at: time_format::exact(now),
            schema: summary.schema,
            tenants: summary.tenants,
            devices: summary.devices,
            transactions: summary.transactions,
            master_keys: summary.master_keys.iter().map(ToString::to_string).collect(),
            files,
            not_included: self.config.other_files(),
        }
    }
}

/// Copies a file into the backup under this name, with its mode. Answers the name.
fn keep(from: &Path, directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let metadata = std::fs::metadata(from);
    let metadata = metadata.with_context(|| format!("{} cannot be read", from.display()))?;
    manifest::copy(from, &directory.join(name), metadata.mode() & 0o777)?;
    Ok(name.into())
}

/// Creates the directory for a backup, with access for its owner only. One that exists must be
/// empty.
fn make_empty(directory: &Path) -> anyhow::Result<()> {
    if !directory.exists() {
        return make_private(directory);
    }
    let mut entries = std::fs::read_dir(directory)
        .with_context(|| format!("{} is not a directory that can be read", directory.display()))?;
    ensure!(
        entries.next().is_none(),
        "{} is not empty; nothing is overwritten, so name a new directory",
        directory.display()
    );
    let metadata = std::fs::metadata(directory)?;
    countersign_store::private::check(directory, &metadata)?;
    Ok(())
}

fn make_private(directory: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("{} cannot be created", directory.display()))
}
