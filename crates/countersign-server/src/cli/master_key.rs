//! `countersign master-key …`: the keys that seal the ledger's secrets.

use std::time::Duration;

use clap::Subcommand;
use countersign_core::event::EventKind;
use countersign_store::{MasterKeyId, MasterKeyUse};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::table::Table;

/// The values of one commit of a rotation; a server's commits wait for it a few milliseconds.
const RESEALED_AT_ONCE: u16 = 100;
/// The pause between two of these commits.
const RESEAL_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys of the master key file, newest first, and how many secrets need each.
    List {
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Add a new key to the master key file, and seal all secrets under it.
    ///
    /// A server may run meanwhile: it reads the file again. If the command is interrupted, run it
    /// again: it then completes the rotation, and adds no further key. The older keys stay in the
    /// file until `remove`.
    Rotate {
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Remove a key that no secret needs from the master key file.
    ///
    /// Backups from before the rotation still need it: keep it with them.
    Remove {
        /// The key's id, as `list` prints it
        key: MasterKeyId,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

#[derive(Serialize)]
struct MasterKeyView {
    key: String,
    /// Whether it is the key that seals.
    newest: bool,
    /// How many secrets need it.
    secrets: u64,
}

#[derive(Serialize)]
struct RotatedView {
    /// The newest key.
    key: String,
    /// Whether it was added now. If not, an earlier rotation is completed.
    added: bool,
    /// How many secrets were sealed again.
    secrets: u64,
    /// The other keys of the file, which nothing needs now.
    older: Vec<String>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { place } => list(&place).await,
            Self::Rotate { place } => rotate(&place).await,
            Self::Remove { key, place } => remove(key, &place).await,
        }
    }
}

async fn list(place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    let keys = shown(&admin.store.master_key_uses().await?);
    answer::print(admin.json, &keys, || {
        let mut table = Table::new(&["KEY", "SECRETS", "STATE"]);
        for key in &keys {
            let state = match (key.newest, key.secrets) {
                (true, _) => "newest: it seals",
                (false, 0) => "not needed",
                (false, _) => "needed",
            };
            table.row(&[&key.key, &key.secrets.to_string(), state]);
        }
        table.text("There are no keys.")
    })?;
    admin.close().await
}

fn shown(uses: &[MasterKeyUse]) -> Vec<MasterKeyView> {
    let view = |(at, used): (usize, &MasterKeyUse)| MasterKeyView {
        key: used.key.to_string(),
        newest: at == 0,
        secrets: used.values,
    };
    uses.iter().enumerate().map(view).collect()
}

async fn rotate(place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    let (key, added) = admin.store.add_master_key().await?;
    let mut secrets = 0;
    loop {
        match admin.store.reseal(RESEALED_AT_ONCE).await? {
            0 => break,
            some => secrets += u64::from(some),
        }
        tokio::time::sleep(RESEAL_PAUSE).await;
    }
    let details = vec![("key", key.to_string())];
    admin.core.record_ledger_act(&admin.actor, EventKind::MasterKeyRotated, details).await?;
    let mut keys = shown(&admin.store.master_key_uses().await?);
    let older = keys.split_off(1).into_iter().map(|key| key.key).collect();
    let rotated = RotatedView { key: key.to_string(), added, secrets, older };
    answer::print(admin.json, &rotated, || told(&rotated))?;
    admin.close().await
}

fn told(rotated: &RotatedView) -> String {
    let RotatedView { key, secrets, older, .. } = rotated;
    let begun = if rotated.added {
        format!("Key {key} was added")
    } else {
        format!("A rotation to key {key} was not complete; no key was added")
    };
    let mut told = format!(
        "{begun}. {secrets} secrets were sealed again; all are under it now.\n\
         Back up the master key file now."
    );
    if !older.is_empty() {
        let removals: Vec<_> =
            older.iter().map(|key| format!("\n  countersign master-key remove {key}")).collect();
        told += "\nThe ledger needs the older keys no longer; backups from before do:";
        told += &removals.concat();
    }
    told
}

async fn remove(key: MasterKeyId, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.store.remove_master_key(key).await?;
    let details = vec![("key", key.to_string())];
    admin.core.record_ledger_act(&admin.actor, EventKind::MasterKeyRemoved, details).await?;
    let keys = shown(&admin.store.master_key_uses().await?);
    answer::print(admin.json, &keys, || format!("Key {key} was removed."))?;
    admin.close().await
}
