//! Rows of transactions, and the unit of work that writes one.
//!
//! The terms are written once, at the start. Each later commit writes only the columns of the
//! state.

use std::borrow::Cow;

use countersign_core::id::{TenantName, UserName};
use countersign_core::port::{Committed, Preconditions, TransactionChange};
use countersign_core::spec::{Recipients, TransactionSpec};
use countersign_core::transaction::{
    Decline, End, Event, IdentitySnapshot, State, Take, TakeOrigin, Timeout,
};
use countersign_core::user::Factor;
use countersign_proof::Proof;
use serde::{Deserialize, Serialize};

use super::column::{Columns, json, moment, number};
use super::error::StoreError;
use super::proof::{self, RawBody};
use super::spec::SpecBody;
use super::{delivery, evidence, user};
use crate::single_use_mark;
use crate::sql::Sql;
use crate::sql::value::values;

pub(crate) mod list;
mod read;

pub(crate) use self::list::{due, list, load, open, open_of_client};
pub(crate) use self::read::read;

pub(crate) const COLUMNS: &str =
    "tenant, id, version, state, reached, due_at, takes, ended_at, ended_by,
    end_reason, proof_content, proof_signer, evidence, raw, discarded, dialect, client, user_name,
    request_key, reference, device, started_at, body, content";

/// An element of column `takes`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TakeBody {
    device: u64,
    at: u64,
    /// Absent if the device itself took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<OriginBody>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum OriginBody {
    Gateway,
}

impl TakeBody {
    fn of(take: &Take) -> Self {
        let origin = match take.origin {
            TakeOrigin::Device => None,
            TakeOrigin::Gateway => Some(OriginBody::Gateway),
        };
        Self { device: take.device.number(), at: take.at.0, origin }
    }
}

/// A commit, prepared to be written. The slow serialisation is done before it queues for the
/// writer.
pub(crate) struct CommitWork {
    commit: TransactionChange,
    takes: String,
    /// Only for a new transaction.
    body: Option<String>,
    /// Only for an end with a single-use signature.
    mark: Option<[u8; 32]>,
}

impl CommitWork {
    pub(crate) fn of(commit: TransactionChange) -> Self {
        assert!(
            commit.lock_state.is_none() || commit.preconditions.user.is_some(),
            "a lock state is changed on the version that it was read at"
        );
        let takes: Vec<_> = commit.transaction.takes.iter().map(TakeBody::of).collect();
        let is_new = commit.expected.is_none();
        let body = is_new.then(|| json(&SpecBody::of(&commit.transaction.spec)));
        Self { takes: json(&takes), body, mark: single_use_mark(&commit), commit }
    }

    /// The user of the transaction.
    pub(crate) fn user(&self) -> (&TenantName, &UserName) {
        let spec = &self.commit.transaction.spec;
        (&spec.tenant, &spec.user)
    }

    /// The tenant that must not be locked when it is committed.
    pub(crate) fn depends_on(&self) -> Option<&TenantName> {
        let Preconditions { user, device, .. } = self.commit.preconditions;
        let depends = user.is_some() || device.is_some();
        depends.then_some(&self.commit.transaction.spec.tenant)
    }

    /// Checks the commit against the ledger, and writes it if it is not stale.
    pub(crate) async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let spec = &*self.commit.transaction.spec;
        let changes_user = self.body.is_some() || self.commit.lock_state.is_some();
        let preconditions = self.commit.preconditions;
        // Both are sent together. The second one is executed when the first one holds its locks.
        let (found, obstacle) = futures_util::future::join(
            Versions::read(sql, spec, preconditions, changes_user),
            self.obstacle(sql),
        )
        .await;
        let found = found?;
        let version = found.transaction;
        if let (None, Some(expected), Event::Discarded) =
            (version, self.commit.expected, self.commit.event)
        {
            return evidence::discard(sql, spec, expected).await;
        }
        if version != self.commit.expected || !found.hold(self.commit.preconditions) {
            return Ok(Committed::Stale);
        }
        if let Some(mark) = &self.mark
            && sql.exists(SIGNATURE_IS_USED, values![spec.tenant.as_str(), mark]).await?
        {
            return Ok(Committed::SignatureUsed);
        }
        if let Some(body) = &self.body {
            if let Some(obstacle) = obstacle? {
                return Ok(obstacle);
            }
            if let Some(full) = sql.count_stored(spec, self.commit.stored_max).await? {
                return Ok(full);
            }
            self.insert(sql, body).await?;
        } else {
            self.update(sql).await?;
        }
        if let Some(mark) = &self.mark {
            sql.execute(USE_SIGNATURE, values![spec.tenant.as_str(), mark]).await?;
        }
        if let (Some(lock_state), Some(version)) =
            (self.commit.lock_state, self.commit.preconditions.user)
        {
            user::set_lock_state(sql, &spec.tenant, &spec.user, version, lock_state).await?;
        }
        if let Event::Ended(_) = self.commit.event
            && self.body.is_none()
        {
            sql.call_off(&spec.tenant, spec.id).await?;
        }
        for delivery in &self.commit.deliveries {
            delivery::insert(sql, spec.id, delivery).await?;
        }
        Ok(Committed::Written)
    }

    /// The reason, if any, for not adding a new transaction, besides its client's quota.
    async fn obstacle(&self, sql: &impl Sql) -> Result<Option<Committed>, StoreError> {
        if self.body.is_none() {
            return Ok(None);
        }
        let spec = &self.commit.transaction.spec;
        let reference = spec.reference.as_ref().map(|reference| reference.name.as_str());
        let (tenant, user) = (spec.tenant.as_str(), spec.user.as_str());
        let key = number(spec.request_key.number());
        let client = spec.client.as_str();
        let row = match reference {
            Some(reference) => {
                sql.first(OBSTACLES, values![tenant, key, user, client, reference]).await?
            }
            None => sql.first(OBSTACLES_WITHOUT_REFERENCE, values![tenant, key, user]).await?,
        };
        let mut columns = Columns::of("transactions", 0, row.unwrap_or_default());
        if columns.next::<bool>("reference")? {
            return Ok(Some(Committed::ReferenceTaken));
        }
        if columns.next::<bool>("request_key")? {
            return Ok(Some(Committed::RequestKeyTaken));
        }
        if columns.next::<u32>("count")? >= u32::from(self.commit.open_max) {
            return Ok(Some(Committed::TooManyOpen));
        }
        Ok(None)
    }

    async fn insert(&self, sql: &impl Sql, body: &str) -> Result<(), StoreError> {
        let spec = &*self.commit.transaction.spec;
        let life = self.life();
        sql.execute(
            INSERT,
            values![
                spec.tenant.as_str(),
                spec.id.bytes(),
                life.state,
                life.reached,
                life.due_at,
                self.takes,
                life.ended_at,
                life.ended_by,
                life.end_reason,
                life.proof.map(Proof::content_digest),
                life.proof.map(proof::signer),
                life.proof.map(Proof::evidence),
                spec.dialect.as_str(),
                spec.client.as_str(),
                spec.user.as_str(),
                number(spec.request_key.number()),
                spec.reference.as_ref().map(|reference| &reference.name),
                match spec.recipients {
                    Recipients::Any | Recipients::Devices(_) => None,
                    Recipients::Device(device) => Some(number(device.number())),
                },
                moment(spec.started_at),
                body,
                number(spec.stored_bytes()),
                spec.content.bytes,
            ],
        )
        .await?;
        Ok(())
    }

    async fn update(&self, sql: &impl Sql) -> Result<(), StoreError> {
        let spec = &*self.commit.transaction.spec;
        let life = self.life();
        sql.execute(
            "UPDATE transactions SET version = version + 1, state = ?3, reached = ?4, due_at = ?5,
                    takes = ?6, ended_at = ?7, ended_by = ?8, end_reason = ?9, proof_content = ?10,
                    proof_signer = ?11, evidence = ?12, raw = ?13, discarded = ?14
              WHERE tenant = ?1 AND id = ?2",
            values![
                spec.tenant.as_str(),
                spec.id.bytes(),
                life.state,
                life.reached,
                life.due_at,
                self.takes,
                life.ended_at,
                life.ended_by,
                life.end_reason,
                life.proof.map(Proof::content_digest),
                life.proof.map(proof::signer),
                life.proof.map(Proof::evidence),
                life.proof.and_then(Proof::raw).map(|raw| RawBody::json(raw, life.identity)),
                self.commit.transaction.discarded,
            ],
        )
        .await?;
        Ok(())
    }

    fn life(&self) -> Life<'_> {
        let transaction = &self.commit.transaction;
        let mut life = Life {
            state: transaction.state.as_str(),
            due_at: Some(moment(transaction.deadline())),
            ..Life::default()
        };
        match &transaction.state {
            State::Waiting { reached } => life.reached = *reached,
            State::Taken { .. } => {}
            State::Ended { at, end } => {
                life.due_at = None;
                life.ended_at = Some(moment(*at));
                life.ended_by = end.by().map(|device| number(device.number()));
                match end {
                    End::Finished { proof, identity, .. } => {
                        life.proof = Some(proof);
                        life.identity = identity.as_deref();
                    }
                    End::Declined { reason, words, .. } => {
                        life.end_reason = Some(decline(*reason, words));
                    }
                    End::Failed { reason, .. } => life.end_reason = Some(text(reason)),
                    End::Expired(clock) => life.end_reason = Some(ran_out(*clock).into()),
                    End::Locked { factor, .. } => life.end_reason = Some(mistaken(*factor).into()),
                    End::Cancelled => {}
                }
            }
        }
        life
    }
}

/// The columns that each commit writes.
#[derive(Default)]
struct Life<'a> {
    state: &'static str,
    reached: bool,
    due_at: Option<i64>,
    ended_at: Option<i64>,
    ended_by: Option<i64>,
    end_reason: Option<Cow<'a, str>>,
    proof: Option<&'a Proof>,
    identity: Option<&'a IdentitySnapshot>,
}

const INSERT: &str = "INSERT INTO transactions (tenant, id, version, state, reached, due_at, takes,
        ended_at, ended_by, end_reason, proof_content, proof_signer, evidence, dialect, client,
        user_name, request_key, reference, device, started_at, body, stored_bytes, content)
    VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
        ?19, ?20, ?21, ?22)";

const SIGNATURE_IS_USED: &str = "SELECT 1 FROM used_signatures WHERE tenant = ?1 AND mark = ?2";
const USE_SIGNATURE: &str = "INSERT INTO used_signatures (tenant, mark) VALUES (?1, ?2)";

/// Whether the reference is taken, whether the request key is open, and the user's open
/// transactions.
pub(crate) const OBSTACLES: &str = "SELECT
    EXISTS (SELECT 1 FROM transactions WHERE tenant = ?1 AND client = ?4 AND reference = ?5)
        OR EXISTS (SELECT 1 FROM evidence WHERE tenant = ?1 AND client = ?4 AND reference = ?5),
    EXISTS (SELECT 1 FROM transactions
             WHERE tenant = ?1 AND request_key = ?2 AND due_at IS NOT NULL),
    (SELECT count(*) FROM transactions
      WHERE tenant = ?1 AND user_name = ?3 AND due_at IS NOT NULL)";

/// The same for a transaction without a reference.
const OBSTACLES_WITHOUT_REFERENCE: &str = "SELECT false,
    EXISTS (SELECT 1 FROM transactions
             WHERE tenant = ?1 AND request_key = ?2 AND due_at IS NOT NULL),
    (SELECT count(*) FROM transactions
      WHERE tenant = ?1 AND user_name = ?3 AND due_at IS NOT NULL)";

pub(crate) const COUNT_OPEN: &str =
    "SELECT count(*) FROM transactions WHERE tenant = ?1 AND user_name = ?2 AND due_at IS NOT NULL";

/// The reason, and after a colon the user's words, if there are any.
fn decline(reason: Decline, words: &str) -> Cow<'static, str> {
    let why = match reason {
        Decline::User => "user",
        Decline::NotMe => "not_me",
    };
    if words.is_empty() { why.into() } else { text(&format!("{why}:{words}")).into_owned().into() }
}

/// Words of a device as a database stores them: PostgreSQL's text has no U+0000.
fn text(words: &str) -> Cow<'_, str> {
    if words.contains('\0') { words.replace('\0', "\u{fffd}").into() } else { words.into() }
}

fn ran_out(clock: Timeout) -> &'static str {
    match clock {
        Timeout::GoOnline => "go_online",
        Timeout::Sign => "sign",
    }
}

fn mistaken(factor: Factor) -> &'static str {
    match factor {
        Factor::Pin => "pin",
        Factor::Code => "code",
    }
}

/// The versions against which a commit is checked: of its transaction, the transaction's user, and
/// a device.
struct Versions {
    transaction: Option<u32>,
    user: Option<u32>,
    device: Option<u32>,
    tenant_locked: Option<bool>,
}

/// Reads all versions at once, because each statement costs about as much as reading its row.
pub(crate) const VERSIONS: &str = "SELECT
    (SELECT version FROM transactions WHERE tenant = ?1 AND id = ?2 /* FOR UPDATE */),
    (SELECT version FROM users WHERE tenant = ?1 AND name = ?3 /* FOR SHARE */),
    (SELECT version FROM devices WHERE tenant = ?1 AND id = ?4 /* FOR SHARE */),
    (SELECT state <> 'active' FROM tenants WHERE name = ?1)";

/// The same, for a commit that counts the user's transactions or changes the user.
const VERSIONS_OF_CHANGED_USER: &str = "SELECT
    (SELECT version FROM transactions WHERE tenant = ?1 AND id = ?2 /* FOR UPDATE */),
    (SELECT version FROM users WHERE tenant = ?1 AND name = ?3 /* FOR UPDATE */),
    (SELECT version FROM devices WHERE tenant = ?1 AND id = ?4 /* FOR SHARE */),
    (SELECT state <> 'active' FROM tenants WHERE name = ?1)";

impl Versions {
    async fn read(
        sql: &impl Sql,
        spec: &TransactionSpec,
        preconditions: Preconditions,
        changes_user: bool,
    ) -> Result<Self, StoreError> {
        let device = preconditions.device.map(|(id, _)| number(id.number()));
        let statement = if changes_user { VERSIONS_OF_CHANGED_USER } else { VERSIONS };
        let (tenant, user) = (spec.tenant.as_str(), spec.user.as_str());
        let id = spec.id.bytes();
        let which = values![tenant, id, user, device];
        let found = sql.first(statement, which).await?.unwrap_or_default();
        let mut columns = Columns::of("transactions", 0, found);
        Ok(Self {
            transaction: columns.next("version")?,
            user: columns.next("version")?,
            device: columns.next("version")?,
            tenant_locked: columns.next("state")?,
        })
    }

    /// Whether the other rows on which a decision depends are unchanged, and the tenant not locked.
    fn hold(&self, preconditions: Preconditions) -> bool {
        let is_same = |found, expected: Option<u32>| expected.is_none() || found == expected;
        let depends = preconditions.user.is_some() || preconditions.device.is_some();
        let is_locked = depends && self.tenant_locked == Some(true);
        !is_locked
            && is_same(self.user, preconditions.user)
            && is_same(self.device, preconditions.device.map(|(_, version)| version))
    }
}
