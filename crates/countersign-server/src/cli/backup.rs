//! `countersign backup` and `countersign restore`.

use std::path::PathBuf;

use clap::Args;
use countersign_config::Overrides;
use countersign_core::event::EventKind;
use countersign_store::{OpenFor, SCHEMA};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use crate::backup::{self, Manifest, Restored, Sources};
use crate::ledger_location;

/// Copies everything that a server needs to go on elsewhere, into one directory.
///
/// A server may run meanwhile. The backup has the ledger as of one moment, the master key file, the
/// server's own TLS authority and the configuration file; it is checked when it is made. Whoever
/// has it has all secrets of the ledger: encrypt it, or keep the master key elsewhere.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  countersign backup /backup/2026-11-28 --data data --config countersign.toml"
)]
pub(super) struct Backup {
    /// The backup's directory, which is created, or is empty
    directory: PathBuf,
    /// Leave the master key file out, because it is kept elsewhere
    #[arg(long)]
    without_master_key: bool,
    #[command(flatten)]
    place: LedgerArgs,
}

/// Puts a backup back. Nothing is overwritten.
///
/// Each file is checked first. The files go to the data directory, the master key to its path in
/// the configuration, and the configuration file to --config if it does not exist. Run it as the
/// server's account. docs/backup.md says what a restore means for transactions and devices.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  countersign restore /backup/2026-11-28 --data data --config countersign.toml"
)]
pub(super) struct Restore {
    /// The backup's directory
    directory: PathBuf,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Serialize)]
struct BackupView<'a> {
    directory: String,
    master_key_included: bool,
    #[serde(flatten)]
    manifest: &'a Manifest,
}

#[derive(Serialize)]
struct RestoredView {
    data: String,
    made_at: String,
    tenants: u64,
    devices: u64,
    transactions: u64,
    /// The secrets that were opened.
    secrets: u64,
    /// The files that were written.
    written: Vec<String>,
    /// Files that the configuration named, and that the backup does not have.
    not_included: Vec<String>,
}

impl Backup {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let sources = Sources {
            config: &admin.config,
            file: self.place.config.as_deref(),
            store: &admin.store,
            with_master_key: !self.without_master_key,
        };
        let manifest = sources.back_up(&self.directory, admin.now())?;
        let view = BackupView {
            directory: self.directory.display().to_string(),
            master_key_included: sources.with_master_key,
            manifest: &manifest,
        };
        answer::print(admin.json, &view, || told(&view, &admin.config.store.master_key_file))?;
        admin.close().await
    }
}

fn told(view: &BackupView<'_>, master_key: &std::path::Path) -> String {
    let Manifest { tenants, devices, transactions, not_included, master_keys, .. } = view.manifest;
    let mut told = format!(
        "The backup {} is complete and checked: {tenants} tenants, {devices} devices, \
         {transactions} transactions.",
        view.directory
    );
    let master_key = if view.master_key_included {
        "\nIt has the master key: whoever has it has all secrets of the ledger. Encrypt it, or use \
         --without-master-key."
            .to_owned()
    } else {
        format!(
            "\nThe master key is NOT in it. Without the file {} (key {}), every device would have \
             to be enrolled again: keep a copy of it elsewhere.",
            master_key.display(),
            master_keys.join(", key ")
        )
    };
    told += &master_key;
    let elsewhere = not_included
        .iter()
        .map(|file| format!("\nNot in it, because it comes from elsewhere: {}", file.display()));
    told.extend(elsewhere);
    told
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let overrides = Overrides { data: self.place.data.clone(), ..Overrides::default() };
        let file = self.place.config.as_deref();
        let restored = backup::restore(&self.directory, file, overrides)?;
        let view = RestoredView::of(&restored);
        let data = restored.config.store.data.clone();
        if restored.summary.schema != SCHEMA {
            // An older program's backup. The lock is held, so no server has the ledger.
            ledger_location::open(&restored.config, OpenFor::Serve).await?.close().await?;
        }
        let admin = Admin::with(restored.config, self.place.json).await?;
        let details = vec![("made_at", view.made_at.clone())];
        admin.core.record_ledger_act(&admin.actor, EventKind::LedgerRestored, details).await?;
        answer::print(admin.json, &view, || view.told())?;
        admin.close().await?;
        Restored::give_to_owner(&data)?;
        drop(restored.lock);
        Ok(())
    }
}

impl RestoredView {
    fn of(restored: &Restored) -> Self {
        let Restored { manifest, summary, config, written, .. } = restored;
        let shown =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
        Self {
            data: config.store.data.display().to_string(),
            made_at: manifest.made_at.clone(),
            tenants: summary.tenants,
            devices: summary.devices,
            transactions: summary.transactions,
            secrets: summary.secrets_opened.unwrap_or_default(),
            written: shown(written),
            not_included: shown(&manifest.not_included),
        }
    }

    fn told(&self) -> String {
        let Self { data, made_at, tenants, devices, transactions, secrets, .. } = self;
        let mut told = format!(
            "The ledger in {data} is as of {made_at}: {tenants} tenants, {devices} devices, \
             {transactions} transactions; all {secrets} secrets open.\n\
             What happened after {made_at} is not known to it: read docs/backup.md before you \
             start the server."
        );
        let elsewhere = self.not_included.iter();
        told.extend(
            elsewhere.map(|file| {
                format!("\nNot in the backup, because it comes from elsewhere: {file}")
            }),
        );
        told
    }
}
