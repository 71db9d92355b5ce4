//! Putting a backup back: each file is checked, written beside its place, and given its name; the
//! ledger last. An interrupted restore can be repeated.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use countersign_config::{Config, Overrides};
use countersign_store::{LedgerSummary, ServerLock, Store};

use super::manifest::{self, Manifest, ManifestFile};
use super::{CONFIGURATION, LEDGER, MASTER_KEY, TLS};

/// The end of the names under which files are written first.
const DRAFT: &str = ".restoring";

/// A backup that was put back.
pub(crate) struct Restored {
    /// The backup's list.
    pub(crate) manifest: Manifest,
    /// What the ledger contains.
    pub(crate) summary: LedgerSummary,
    /// The configuration as a server will read it.
    pub(crate) config: Config,
    /// The files that were written.
    pub(crate) written: Vec<PathBuf>,
    /// Held until the restore is recorded, so that no server starts before.
    pub(crate) lock: ServerLock,
}

impl Restored {
    /// Gives every file of the data directory to the directory's owner, if root has restored it.
    ///
    /// # Errors
    /// Names the file that cannot be given.
    pub(crate) fn give_to_owner(data: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(data)? {
            own(&entry?.path(), data)?;
        }
        Ok(())
    }
}

/// A file of the backup, and its place.
struct Place {
    from: PathBuf,
    to: PathBuf,
    file: ManifestFile,
}

/// Restores the backup in `backup` to where the configuration says. `file` is the configuration's
/// file; if it does not exist, the one of the backup is written there. Nothing is overwritten.
///
/// # Errors
/// Names the file that is damaged, is in the way, or cannot be written.
pub(crate) fn restore(
    backup: &Path,
    file: Option<&Path>,
    overrides: Overrides,
) -> anyhow::Result<Restored> {
    let manifest = Manifest::read(backup)?;
    manifest.check(backup)?;
    let config = configuration(backup, &manifest, file, overrides)?;
    let data = &config.store.data;
    // It makes the data directory, too.
    let lock = ServerLock::take(data)?;
    let places = places(backup, &manifest, &config, file)?;
    let in_the_way = ["ledger.db-wal", "ledger.db-shm"].map(|name| data.join(name));
    if let Some(path) = in_the_way.iter().find(|path| path.exists()) {
        bail!(
            "{} is there already; nothing is overwritten: name an empty directory with --data",
            path.display()
        );
    }
    let mut missing = Vec::new();
    for place in &places {
        if !place.is_done()? {
            missing.push(place);
        }
    }
    let summary = write(&missing, &manifest, &config)?;
    let written = missing.iter().map(|place| place.to.clone()).collect();
    Ok(Restored { manifest, summary, config, written, lock })
}

/// Reads the configuration as it will be. Paths in it are relative to its new place.
fn configuration(
    backup: &Path,
    manifest: &Manifest,
    file: Option<&Path>,
    overrides: Overrides,
) -> anyhow::Result<Config> {
    let Some(file) = file else { return Config::load(None, overrides) };
    if file.exists() {
        return Config::load(Some(file), overrides);
    }
    ensure!(
        manifest.file(CONFIGURATION).is_some(),
        "{} does not exist, and the backup has no configuration",
        file.display()
    );
    let draft = draft_of(file);
    let _ = fs::remove_file(&draft);
    manifest::copy(&backup.join(CONFIGURATION), &draft, 0o600)?;
    let config = Config::load(Some(&draft), overrides);
    fs::remove_file(&draft)?;
    config
}

/// The places of the backup's files.
fn places(
    backup: &Path,
    manifest: &Manifest,
    config: &Config,
    file: Option<&Path>,
) -> anyhow::Result<Vec<Place>> {
    let data = &config.store.data;
    let mut places = Vec::new();
    for entry in &manifest.files {
        let to = match entry.path.to_str() {
            Some(LEDGER) => data.join(LEDGER),
            Some(MASTER_KEY) => config.store.master_key_file.clone(),
            Some(CONFIGURATION) => match file {
                Some(file) if !file.exists() => file.to_owned(),
                _ => continue,
            },
            _ if entry.path.starts_with(TLS) => data.join(&entry.path),
            _ => bail!("the backup has a file that is not known: {}", entry.path.display()),
        };
        places.push(Place { from: backup.join(&entry.path), to, file: entry.clone() });
    }
    // The ledger is last: without it no server starts where a master key is.
    places.sort_by_key(|place| place.file.path == Path::new(LEDGER));
    ensure!(
        places.last().is_some_and(|place| place.file.path == Path::new(LEDGER)),
        "the backup has no ledger"
    );
    ensure!(
        manifest.file(MASTER_KEY).is_some() || config.store.master_key_file.exists(),
        "the backup was made without the master key; put the file with key {} to {}, or set its \
         path in the configuration",
        manifest.master_keys.join(" and key "),
        config.store.master_key_file.display()
    );
    Ok(places)
}

/// Writes all files beside their places, checks the ledger there, and gives them their names.
fn write(
    missing: &[&Place],
    manifest: &Manifest,
    config: &Config,
) -> anyhow::Result<LedgerSummary> {
    let drafted = missing.iter().try_for_each(|place| place.draft(&config.store.data));
    let checked = drafted.and_then(|()| {
        let place = |name: &str| {
            let found = missing.iter().find(|place| place.file.path == Path::new(name));
            found.map(|place| draft_of(&place.to))
        };
        let ledger = place(LEDGER).unwrap_or_else(|| config.store.data.join(LEDGER));
        let key = place(MASTER_KEY).unwrap_or_else(|| config.store.master_key_file.clone());
        let summary = Store::check_copy(&ledger, Some(&key))?;
        let found = (summary.tenants, summary.devices, summary.transactions);
        let expected = (manifest.tenants, manifest.devices, manifest.transactions);
        ensure!(found == expected, "the ledger has other rows than the backup's list says");
        Ok(summary)
    });
    if checked.is_err() {
        for place in missing {
            let _ = fs::remove_file(draft_of(&place.to));
        }
    }
    let summary = checked?;
    missing.iter().try_for_each(|place| place.publish())?;
    Ok(summary)
}

impl Place {
    /// Whether the file is there already, as in the backup.
    fn is_done(&self) -> anyhow::Result<bool> {
        if fs::symlink_metadata(&self.to).is_err() {
            return Ok(false);
        }
        let same = manifest::digest(&self.to)
            .is_ok_and(|found| found == (self.file.bytes, self.file.sha256.clone()));
        ensure!(
            same,
            "{} is there already, and differs from the backup; nothing is overwritten: move it \
             away, or name an empty directory with --data",
            self.to.display()
        );
        Ok(true)
    }

    /// Writes the file beside its place, with its mode. If the data directory belongs to another
    /// account, which only root can arrange, the file does too.
    fn draft(&self, data: &Path) -> anyhow::Result<()> {
        let directory = self.to.parent().filter(|parent| *parent != Path::new(""));
        if let Some(directory) = directory.filter(|directory| !directory.exists()) {
            super::make_private(directory)?;
            own(directory, data)?;
        }
        let draft = draft_of(&self.to);
        let _ = fs::remove_file(&draft);
        manifest::copy(&self.from, &draft, self.file.mode()?)?;
        own(&draft, data)
    }

    fn publish(&self) -> anyhow::Result<()> {
        let draft = draft_of(&self.to);
        // A link is refused where a file is, unlike a renaming.
        let named = fs::hard_link(&draft, &self.to);
        named.with_context(|| format!("{} cannot be created", self.to.display()))?;
        fs::remove_file(&draft)?;
        match self.to.parent() {
            Some(directory) if directory != Path::new("") => manifest::sync_directory(directory),
            _ => Ok(()),
        }
    }
}

fn own(path: &Path, data: &Path) -> anyhow::Result<()> {
    let (own, wanted) = (fs::metadata(path)?, fs::metadata(data)?);
    if own.uid() == wanted.uid() {
        return Ok(());
    }
    let given = chown(path, Some(wanted.uid()), Some(wanted.gid()));
    given.with_context(|| {
        format!("{} cannot be given to the owner of {}", path.display(), data.display())
    })
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DRAFT);
    name.into()
}
