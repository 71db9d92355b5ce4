//! Finding transactions: by a handle, by their user or client, page by page, and by their deadline.

use countersign_core::id::{ClientId, TenantName, TransactionId, UserName};
use countersign_core::limits::{LISTED_MAX, OPEN_PER_USER_MAX};
use countersign_core::port::{Due, Handle, Listed, Page, TransactionCursor, Versioned};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;

use super::super::column::{Columns, moment, number};
use super::super::error::StoreError;
use super::super::evidence;
use super::{COLUMNS, read};
use crate::sql::Sql;
use crate::sql::value::{Value, values};

pub(crate) async fn load(
    sql: &impl Sql,
    tenant: &TenantName,
    handle: &Handle,
) -> Result<Option<Versioned<Transaction>>, StoreError> {
    let tenant = tenant.as_str();
    match handle {
        Handle::Id(id) => find(sql, BY_ID, values![tenant, id.bytes()]).await,
        Handle::Key(key) => {
            // The request key of an open transaction is not given again, so an open one is always
            // the newest.
            find(sql, LAST_BY_KEY, values![tenant, number(key.number())]).await
        }
        Handle::Reference(client, name) => {
            find(sql, BY_REFERENCE, values![tenant, client.as_str(), name]).await
        }
    }
}

/// Searches the transactions, and then the evidence of removed ones.
async fn find(
    sql: &impl Sql,
    which: &'static str,
    given: &[Value<'_>],
) -> Result<Option<Versioned<Transaction>>, StoreError> {
    let found = select(sql, which, given).await?.pop();
    Ok(if found.is_none() { evidence::select(sql, which, given).await?.pop() } else { found })
}

pub(crate) async fn open(
    sql: &impl Sql,
    tenant: &TenantName,
    user: &UserName,
) -> Result<Vec<Versioned<Transaction>>, StoreError> {
    select(sql, OPEN_BY_USER, values![tenant.as_str(), user.as_str(), OPEN_PER_USER_MAX]).await
}

/// Reads the open transactions that a client started, oldest first.
pub(crate) async fn open_of_client(
    sql: &impl Sql,
    tenant: &TenantName,
    client: &ClientId,
) -> Result<Vec<Versioned<Transaction>>, StoreError> {
    select(sql, OPEN_OF_CLIENT, values![tenant.as_str(), client.as_str(), LISTED_MAX]).await
}

/// Lists the transactions of one user, or of all users, and then the evidence of removed ones.
pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    user: Option<&UserName>,
    page: Page<TransactionCursor>,
) -> Result<Listed<Versioned<Transaction>, TransactionCursor>, StoreError> {
    const NEWEST: i64 = i64::MAX;
    let (of, user) = (tenant.as_str(), user.map(UserName::as_str));
    let list = async |is_evidence: bool, before: i64, limit: u16| {
        let all = values![of, before, limit, user];
        let (which, given) = if user.is_some() { (LIST_BY_USER, all) } else { (LIST, &all[..3]) };
        if is_evidence {
            evidence::select(sql, which, given).await
        } else {
            select(sql, which, given).await
        }
    };
    let (mut rows, evidence_before) = match page.after {
        None => (list(false, NEWEST, page.limit).await?, NEWEST),
        Some(TransactionCursor::Stored(seq)) => {
            (list(false, number(seq), page.limit).await?, NEWEST)
        }
        Some(TransactionCursor::Evidence(seq)) => (Vec::new(), number(seq)),
    };
    let stored = rows.len();
    let more = page.limit.saturating_sub(stored as u16);
    if more > 0 {
        rows.append(&mut list(true, evidence_before, more).await?);
    }
    let is_full = rows.len() == usize::from(page.limit);
    let next = match rows.last().filter(|_| is_full).map(|last| last.value.spec.id) {
        None => None,
        Some(last) if rows.len() > stored => {
            Some(TransactionCursor::Evidence(seq(sql, EVIDENCE_SEQ, tenant, last).await?))
        }
        Some(last) => Some(TransactionCursor::Stored(seq(sql, SEQ, tenant, last).await?)),
    };
    Ok(Listed { rows, next })
}

pub(crate) const SEQ: &str = "SELECT seq FROM transactions WHERE tenant = ?1 AND id = ?2";
pub(crate) const EVIDENCE_SEQ: &str = "SELECT seq FROM evidence WHERE tenant = ?1 AND id = ?2";

async fn seq(
    sql: &impl Sql,
    which: &str,
    tenant: &TenantName,
    id: TransactionId,
) -> Result<u64, StoreError> {
    let seq: i64 = sql.value(which, values![tenant.as_str(), id.bytes()]).await?;
    Ok(seq.cast_unsigned())
}

pub(crate) const BY_ID: &str = "tenant = ?1 AND id = ?2";
pub(crate) const LAST_BY_KEY: &str = "tenant = ?1 AND request_key = ?2 ORDER BY seq DESC LIMIT 1";
pub(crate) const BY_REFERENCE: &str = "tenant = ?1 AND client = ?2 AND reference = ?3";
pub(crate) const OPEN_BY_USER: &str =
    "tenant = ?1 AND user_name = ?2 AND due_at IS NOT NULL ORDER BY seq LIMIT ?3";
pub(crate) const OPEN_OF_CLIENT: &str =
    "tenant = ?1 AND client = ?2 AND due_at IS NOT NULL ORDER BY seq LIMIT ?3";
pub(crate) const LIST_BY_USER: &str =
    "tenant = ?1 AND user_name = ?4 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
pub(crate) const LIST: &str = "tenant = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";

async fn select(
    sql: &impl Sql,
    which: &'static str,
    given: &[Value<'_>],
) -> Result<Vec<Versioned<Transaction>>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM transactions WHERE {which}");
    let select = &select;
    let rows = sql.query(select, given).await?;
    let mut found = Vec::new();
    for row in rows {
        found.push(read(row, "transactions")?);
    }
    Ok(found)
}

pub(crate) const DUE_NOW: &str = "SELECT tenant, id FROM transactions
    WHERE due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
pub(crate) const DUE_NEXT: &str = "SELECT min(due_at) FROM transactions WHERE due_at > ?1";

pub(crate) async fn due(sql: &impl Sql, now: Timestamp, limit: u16) -> Result<Due, StoreError> {
    let mut due = Due::default();
    for row in sql.query(DUE_NOW, values![moment(now), limit]).await? {
        let mut columns = Columns::of("transactions", 2, row);
        due.now.push((columns.text("tenant")?, TransactionId(columns.id("id")?)));
    }
    if let Some(row) = sql.first(DUE_NEXT, values![moment(now)]).await? {
        due.next = Columns::of("transactions", 0, row).moment_or_none("due_at")?;
    }
    Ok(due)
}
