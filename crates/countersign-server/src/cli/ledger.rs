//! `countersign init` and `countersign migrate`: a new ledger, and an older one brought up to date.

use clap::Args;
use countersign_config::Config;
use countersign_store::{OpenFor, ServerLock};
use serde::Serialize;

use super::admin::LedgerArgs;
use super::answer;
use crate::serve;

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

/// Brings the ledger of an older program up to date. No server may run meanwhile.
///
/// `countersign serve` does the same when it starts. A copy of the older ledger is kept beside it,
/// as ledger.db.schema-N.
#[derive(Args, Debug)]
pub(super) struct Migrate {
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
        let config = self.place.existing()?;
        let _lock = ServerLock::take(&config.store.data)?;
        open(&config, self.place.json, OpenFor::Serve, "up to date").await
    }
}

async fn open(config: &Config, json: bool, purpose: OpenFor, done: &str) -> anyhow::Result<()> {
    serve::open(config, purpose).await?.close().await?;
    let ledger = serve::ledger_name(config);
    let view = LedgerView { ledger, schema: countersign_store::SCHEMA };
    answer::print(json, &view, || {
        format!("The ledger {} is {done}, with schema {}.", view.ledger, view.schema)
    })
}
