//! Units of work that are SQL transactions of their own.

use countersign_core::delivery::Delivery;
use countersign_core::port::Committed;
use countersign_core::time::Timestamp;

use super::pool::{Lent, Pool};
use super::unit::{Batch, Failed};
use crate::postgres_error::is_of_others;
use crate::sql::change::PreparedCommit;
use crate::sql::delivery::Candidate;
use crate::sql::error::StoreError;
use crate::sql::sealed::Resealed;
use crate::sql::value::{Cells, values};
use crate::sql::{Sql as _, activation, delivery, event, evidence, sealed};

/// How often a unit of work is tried again because others ran beside it.
const TRIES_MAX: usize = 5;

/// A unit of work.
pub(super) enum Alone {
    /// A change of the registry.
    Commit(Box<PreparedCommit>),
    Lease(Vec<Candidate>, Timestamp),
    PurgeTransactions(Vec<Cells>, Timestamp),
    PurgeActivations(Vec<Cells>, Timestamp),
    PurgeEvents(Timestamp, u16),
    Reseal(Vec<Resealed>),
}

/// The result of a unit of work.
pub(super) enum Done {
    Committed(Committed),
    Leased(Vec<Delivery>),
    Counted(u16),
}

impl Alone {
    /// Writes the unit, again if others ran beside it.
    pub(super) async fn run(&self, pool: &Pool) -> Result<Done, StoreError> {
        let mut tries = 0;
        loop {
            match self.attempt(pool).await {
                Err(StoreError::Postgres(error)) if is_of_others(&error) && tries < TRIES_MAX => {
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn attempt(&self, pool: &Pool) -> Result<Done, StoreError> {
        let batch = Batch::new(pool.lend_unit().await?);
        let done = self.write(&batch).await?;
        match batch.commit().await {
            Ok(lent) => {
                lent.committed();
                Ok(done)
            }
            Err(Failed::Unwritten(error) | Failed::Unknown(error)) => Err(error),
        }
    }

    async fn write(&self, sql: &Batch<Lent>) -> Result<Done, StoreError> {
        Ok(match self {
            Self::Commit(commit) => Done::Committed(write_commit(sql, commit).await?),
            Self::Lease(found, lease_end) => {
                Done::Leased(delivery::lease(sql, found, *lease_end).await?)
            }
            Self::PurgeTransactions(keys, before) => {
                Done::Counted(evidence::purge(sql, keys, *before).await?)
            }
            Self::PurgeActivations(keys, before) => {
                Done::Counted(activation::purge(sql, keys, *before).await?)
            }
            Self::PurgeEvents(before, limit) => {
                Done::Counted(event::purge(sql, *before, *limit).await?)
            }
            Self::Reseal(values) => Done::Counted(sealed::write(sql, values).await?),
        })
    }
}

async fn write_commit(sql: &Batch<Lent>, commit: &PreparedCommit) -> Result<Committed, StoreError> {
    const LOCK: &str = "INSERT INTO event_numbers (tenant, last, locked) VALUES (?1, 0, ?2)
        ON CONFLICT (tenant) DO UPDATE SET locked = ?2";
    if commit.takes_registry_turn() {
        sql.exists("SELECT 1 FROM registry_turn /* FOR UPDATE */", &[]).await?;
    }
    let committed = commit.write(sql).await?;
    if let (Committed::Written, Some((tenant, is_locked))) = (&committed, commit.tenant_lock()) {
        sql.execute(LOCK, values![tenant.as_str(), is_locked]).await?;
    }
    Ok(committed)
}

impl Done {
    pub(super) fn committed(self) -> Committed {
        let Self::Committed(committed) = self else { unreachable!("it was a commit") };
        committed
    }

    pub(super) fn leased(self) -> Vec<Delivery> {
        let Self::Leased(deliveries) = self else { unreachable!("it was a lease") };
        deliveries
    }

    pub(super) fn counted(self) -> u16 {
        let Self::Counted(count) = self else { unreachable!("it was counted") };
        count
    }
}
