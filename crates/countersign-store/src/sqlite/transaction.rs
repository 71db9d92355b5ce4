//! Rows of transactions, and the unit of work that writes one.
//!
//! The terms are written once, when it begins; each commit after that writes its life.

use std::borrow::Cow;

use countersign_core::id::{TenantName, TransactionId, UserName};
use countersign_core::limits::OPEN_PER_USER_MAX;
use countersign_core::port::{Commit, Committed, Due, Grounds, Handle, Versioned};
use countersign_core::terms::Addressed;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{
    Clock, Decline, End, Event, State, Take, TakeOrigin, Transaction,
};
use countersign_core::user::Factor;
use countersign_proof::Proof;
use rusqlite::{Connection, OptionalExtension as _, ToSql, params};
use serde::{Deserialize, Serialize};

use super::column::{Columns, json, moment, number};
use super::proof::{self, RawBody};
use super::terms::Body;
use super::trouble::Trouble;
use super::{delivery, device, evidence, stored, user};
use crate::single_use_mark;

mod read;

pub(super) use self::read::read;

const COLUMNS: &str = "tenant, id, version, state, reached, due_at, takes, ended_at, ended_by,
    end_reason, proof_content, proof_signer, evidence, raw, discarded, surface, client, user,
    request_key, reference, device, started_at, body, content";

/// One of column `takes`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TakeBody {
    device: u64,
    at: u64,
    /// Absent if the device took it itself.
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

/// A commit as it is written. What takes time to write down is written down before it queues.
pub(super) struct Unit {
    commit: Commit,
    takes: String,
    /// Of a new transaction only.
    body: Option<String>,
    /// Of an end with a signature that may be used once.
    mark: Option<[u8; 32]>,
}

impl Unit {
    pub(super) fn of(commit: Commit) -> Self {
        let takes: Vec<_> = commit.transaction.takes.iter().map(TakeBody::of).collect();
        let is_new = commit.expected.is_none();
        let body = is_new.then(|| json(&Body::of(&commit.transaction.terms)));
        Self { takes: json(&takes), body, mark: single_use_mark(&commit), commit }
    }

    /// Judges the commit on what the ledger holds, and writes it if it stands.
    pub(super) fn write(&self, sql: &Connection) -> Result<Committed, Trouble> {
        let terms = &*self.commit.transaction.terms;
        let version = self.version(sql)?;
        if let (None, Some(expected), Event::Discarded) =
            (version, self.commit.expected, self.commit.event)
        {
            return evidence::discard(sql, terms, expected);
        }
        if version != self.commit.expected
            || !holds(sql, &terms.tenant, &terms.user, self.commit.grounds)?
        {
            return Ok(Committed::Stale);
        }
        if let Some(mark) = &self.mark {
            let key = params![terms.tenant.as_str(), mark];
            if sql.prepare_cached(SIGNATURE_IS_USED)?.exists(key)? {
                return Ok(Committed::SignatureUsed);
            }
        }
        if let Some(body) = &self.body {
            if let Some(obstacle) = self.obstacle(sql)? {
                return Ok(obstacle);
            }
            self.insert(sql, body)?;
        } else {
            self.update(sql)?;
        }
        if let Some(mark) = &self.mark {
            sql.prepare_cached(USE_SIGNATURE)?.execute(params![terms.tenant.as_str(), mark])?;
        }
        if let (Some(standing), Some(version)) = (self.commit.standing, self.commit.grounds.user) {
            user::set_standing(sql, &terms.tenant, &terms.user, version, standing)?;
        }
        if let Event::Ended(_) = self.commit.event
            && self.body.is_none()
        {
            delivery::call_off(sql, &terms.tenant, terms.id)?;
        }
        for owed in &self.commit.debts {
            delivery::insert(sql, terms.id, owed)?;
        }
        Ok(Committed::Written)
    }

    fn version(&self, sql: &Connection) -> Result<Option<u32>, Trouble> {
        let terms = &self.commit.transaction.terms;
        Ok(sql
            .prepare_cached("SELECT version FROM transactions WHERE tenant = ?1 AND id = ?2")?
            .query_row(params![terms.tenant.as_str(), terms.id.bytes()], |row| row.get(0))
            .optional()?)
    }

    /// What keeps a new transaction out.
    fn obstacle(&self, sql: &Connection) -> Result<Option<Committed>, Trouble> {
        let terms = &self.commit.transaction.terms;
        if let Some(reference) = &terms.reference {
            let taken = sql.prepare_cached(REFERENCE_IS_TAKEN)?.exists([
                terms.tenant.as_str(),
                terms.client.as_str(),
                &reference.name,
            ])?;
            if taken {
                return Ok(Some(Committed::ReferenceTaken));
            }
        }
        let key = number(terms.request_key.number());
        if sql.prepare_cached(KEY_IS_OPEN)?.exists(params![terms.tenant.as_str(), key])? {
            return Ok(Some(Committed::KeyTaken));
        }
        let open: u32 = sql
            .prepare_cached(COUNT_OPEN)?
            .query_row([terms.tenant.as_str(), terms.user.as_str()], |row| row.get(0))?;
        if open >= u32::from(self.commit.open_max) {
            return Ok(Some(Committed::Crowded));
        }
        stored::full(sql, &terms.tenant, &terms.client, self.commit.stored_max)
    }

    fn insert(&self, sql: &Connection, body: &str) -> Result<(), Trouble> {
        let terms = &*self.commit.transaction.terms;
        let life = self.life();
        sql.prepare_cached(INSERT)?.execute(params![
            terms.tenant.as_str(),
            terms.id.bytes(),
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
            terms.surface.as_str(),
            terms.client.as_str(),
            terms.user.as_str(),
            number(terms.request_key.number()),
            terms.reference.as_ref().map(|reference| &reference.name),
            match terms.addressed {
                Addressed::Any | Addressed::Devices(_) => None,
                Addressed::Device(device) => Some(number(device.number())),
            },
            moment(terms.started_at),
            body,
            number(terms.stored_bytes()),
            terms.content.bytes,
        ])?;
        Ok(())
    }

    fn update(&self, sql: &Connection) -> Result<(), Trouble> {
        let terms = &*self.commit.transaction.terms;
        let life = self.life();
        sql.prepare_cached(
            "UPDATE transactions SET version = version + 1, state = ?3, reached = ?4, due_at = ?5,
                    takes = ?6, ended_at = ?7, ended_by = ?8, end_reason = ?9, proof_content = ?10,
                    proof_signer = ?11, evidence = ?12, raw = ?13, discarded = ?14
              WHERE tenant = ?1 AND id = ?2",
        )?
        .execute(params![
            terms.tenant.as_str(),
            terms.id.bytes(),
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
            life.proof.and_then(Proof::raw).map(RawBody::json),
            self.commit.transaction.discarded,
        ])?;
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
                    End::Finished { proof, .. } => life.proof = Some(proof),
                    End::Declined { reason, words, .. } => {
                        life.end_reason = Some(decline(*reason, words));
                    }
                    End::Failed { reason, .. } => life.end_reason = Some(reason.into()),
                    End::Expired(clock) => life.end_reason = Some(ran_out(*clock).into()),
                    End::Locked { factor, .. } => life.end_reason = Some(mistaken(*factor).into()),
                    End::Cancelled => {}
                }
            }
        }
        life
    }
}

/// The columns that a commit writes each time.
#[derive(Default)]
struct Life<'a> {
    state: &'static str,
    reached: bool,
    due_at: Option<i64>,
    ended_at: Option<i64>,
    ended_by: Option<i64>,
    end_reason: Option<Cow<'a, str>>,
    proof: Option<&'a Proof>,
}

const INSERT: &str = "INSERT INTO transactions (tenant, id, version, state, reached, due_at, takes,
        ended_at, ended_by, end_reason, proof_content, proof_signer, evidence, surface, client,
        user, request_key, reference, device, started_at, body, stored_bytes, content)
    VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
        ?19, ?20, ?21, ?22)";

const SIGNATURE_IS_USED: &str = "SELECT 1 FROM used_signatures WHERE tenant = ?1 AND mark = ?2";
const USE_SIGNATURE: &str = "INSERT INTO used_signatures (tenant, mark) VALUES (?1, ?2)";

const REFERENCE_IS_TAKEN: &str = "SELECT 1 FROM transactions
        WHERE tenant = ?1 AND client = ?2 AND reference = ?3
    UNION ALL
    SELECT 1 FROM evidence WHERE tenant = ?1 AND client = ?2 AND reference = ?3";

pub(super) const KEY_IS_OPEN: &str =
    "SELECT 1 FROM transactions WHERE tenant = ?1 AND request_key = ?2 AND due_at IS NOT NULL";

pub(super) const COUNT_OPEN: &str =
    "SELECT count(*) FROM transactions WHERE tenant = ?1 AND user = ?2 AND due_at IS NOT NULL";

/// Why, and after a colon in what words, where there are any.
fn decline(reason: Decline, words: &str) -> Cow<'static, str> {
    let why = match reason {
        Decline::User => "user",
        Decline::NotMe => "not_me",
    };
    if words.is_empty() { why.into() } else { format!("{why}:{words}").into() }
}

fn ran_out(clock: Clock) -> &'static str {
    match clock {
        Clock::GoOnline => "go_online",
        Clock::Sign => "sign",
    }
}

fn mistaken(factor: Factor) -> &'static str {
    match factor {
        Factor::Pin => "pin",
        Factor::Code => "code",
    }
}

/// Whether what else a decision stood on is as it was.
fn holds(
    sql: &Connection,
    tenant: &TenantName,
    user: &UserName,
    grounds: Grounds,
) -> Result<bool, Trouble> {
    if let Some(version) = grounds.user
        && user::version(sql, tenant, user)? != Some(version)
    {
        return Ok(false);
    }
    if let Some((id, version)) = grounds.device
        && device::version(sql, tenant, id)? != Some(version)
    {
        return Ok(false);
    }
    Ok(true)
}

pub(super) fn load(
    sql: &Connection,
    tenant: &TenantName,
    handle: &Handle,
) -> Result<Option<Versioned<Transaction>>, Trouble> {
    let tenant = tenant.as_str();
    match handle {
        Handle::Id(id) => find(sql, BY_ID, params![tenant, id.bytes()]),
        Handle::Key(key) => {
            // Nobody is given the key of an open one, so an open one is always the last.
            find(sql, LAST_BY_KEY, params![tenant, number(key.number())])
        }
        Handle::Reference(client, name) => {
            find(sql, BY_REFERENCE, params![tenant, client.as_str(), name])
        }
    }
}

/// Looks among the transactions, and then among the evidence of those that were removed.
fn find(
    sql: &Connection,
    which: &'static str,
    given: &[&dyn ToSql],
) -> Result<Option<Versioned<Transaction>>, Trouble> {
    let found = select(sql, which, given)?.pop();
    Ok(if found.is_none() { evidence::select(sql, which, given)?.pop() } else { found })
}

pub(super) fn open(
    sql: &Connection,
    tenant: &TenantName,
    user: &UserName,
) -> Result<Vec<Versioned<Transaction>>, Trouble> {
    select(sql, OPEN_BY_USER, params![tenant.as_str(), user.as_str(), OPEN_PER_USER_MAX])
}

pub(super) fn list(
    sql: &Connection,
    tenant: &TenantName,
    user: Option<&UserName>,
    limit: u16,
) -> Result<Vec<Versioned<Transaction>>, Trouble> {
    let list = |from: Select, limit: u16| match user {
        Some(user) => from(sql, LIST_BY_USER, params![tenant.as_str(), user.as_str(), limit]),
        None => from(sql, LIST, params![tenant.as_str(), limit]),
    };
    let mut listed = list(select, limit)?;
    let more = limit.saturating_sub(listed.len() as u16);
    if more > 0 {
        listed.append(&mut list(evidence::select, more)?);
    }
    Ok(listed)
}

type Select =
    fn(&Connection, &'static str, &[&dyn ToSql]) -> Result<Vec<Versioned<Transaction>>, Trouble>;

pub(super) const BY_ID: &str = "tenant = ?1 AND id = ?2";
pub(super) const LAST_BY_KEY: &str = "tenant = ?1 AND request_key = ?2 ORDER BY seq DESC LIMIT 1";
pub(super) const BY_REFERENCE: &str = "tenant = ?1 AND client = ?2 AND reference = ?3";
pub(super) const OPEN_BY_USER: &str =
    "tenant = ?1 AND user = ?2 AND due_at IS NOT NULL ORDER BY seq LIMIT ?3";
pub(super) const LIST_BY_USER: &str = "tenant = ?1 AND user = ?2 ORDER BY seq DESC LIMIT ?3";
pub(super) const LIST: &str = "tenant = ?1 ORDER BY seq DESC LIMIT ?2";

fn select(
    sql: &Connection,
    which: &'static str,
    given: &[&dyn ToSql],
) -> Result<Vec<Versioned<Transaction>>, Trouble> {
    let select = format!("SELECT {COLUMNS} FROM transactions WHERE {which}");
    let mut select = sql.prepare_cached(&select)?;
    let mut rows = select.query(given)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, "transactions")?);
    }
    Ok(found)
}

pub(super) const DUE_NOW: &str = "SELECT tenant, id FROM transactions
    WHERE due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
pub(super) const DUE_NEXT: &str = "SELECT min(due_at) FROM transactions WHERE due_at > ?1";

pub(super) fn due(sql: &Connection, now: Timestamp, limit: u16) -> Result<Due, Trouble> {
    let mut due = Due::default();
    let mut select = sql.prepare_cached(DUE_NOW)?;
    let mut rows = select.query(params![moment(now), limit])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of("transactions", 2, row);
        due.now.push((columns.text("tenant")?, TransactionId(columns.id("id")?)));
    }
    let mut select = sql.prepare_cached(DUE_NEXT)?;
    let mut rows = select.query([moment(now)])?;
    if let Some(row) = rows.next()? {
        due.next = Columns::of("transactions", 0, row).moment_or_none("due_at")?;
    }
    Ok(due)
}
