//! `countersign init` and `countersign migrate`: a new ledger, and one that is brought up to date
//! or moved into PostgreSQL.

use std::path::PathBuf;

use clap::Args;
use countersign_config::Config;
use countersign_store::{OpenFor, ServerLock};
use serde::Serialize;

use super::admin::LedgerArgs;
use super::answer;
use super::moving;
use crate::ledger_location;

/// Makes an empty ledger, also beside an existing master key.
///
/// In an empty directory `countersign serve` does the same. Where a ledger is expected and missing,
/// the server refuses to start; this command says that an empty one is wanted. It changes no
/// existing ledger.
#[derive(Args, Debug)]
pub(super) struct Init {
    #[command(flatten)]
    place: LedgerArgs,
}

/// Brings the ledger of an older program up to date, or moves a ledger into PostgreSQL. No server
/// may run meanwhile.
///
/// `countersign serve` also brings a ledger up to date when it starts. A copy of the older ledger
/// is kept beside it, as ledger.db.schema-N.
///
/// With --from and --to, the ledger of a data directory is moved into an empty schema of a
/// PostgreSQL database, and compared at the end, row by row. The directory is only read. If a move
/// was interrupted, the same command goes on where it was. docs/postgresql.md says what to do
/// before and afterwards.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  countersign migrate --from data --to postgres://countersign@db.example/countersign \\\n      --config countersign.toml"
)]
pub(super) struct Migrate {
    /// The data directory with the ledger that is moved
    #[arg(long, value_name = "DIR", requires = "to", conflicts_with = "data")]
    from: Option<PathBuf>,
    /// The database for it, without a password; the other keys of [store] are as in --config
    #[arg(long, value_name = "URL", requires = "from")]
    to: Option<String>,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Serialize)]
struct LedgerView {
    ledger: String,
    schema: u32,
}

impl Init {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        open(&self.place.configured()?, self.place.json, OpenFor::Init, "made").await
    }
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            return moving::run(from, to, &self.place).await;
        }
        let config = self.place.existing()?;
        let _lock = ServerLock::take(&config.store.data)?;
        open(&config, self.place.json, OpenFor::Serve, "up to date").await
    }
}

async fn open(config: &Config, json: bool, purpose: OpenFor, done: &str) -> anyhow::Result<()> {
    ledger_location::open(config, purpose).await?.close().await?;
    let ledger = ledger_location::name(config);
    let view = LedgerView { ledger, schema: countersign_store::SCHEMA };
    answer::print(json, &view, || {
        format!("The ledger {} is {done}, with schema {}.", view.ledger, view.schema)
    })
}
