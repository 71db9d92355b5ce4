//! Rows of users.

use countersign_core::id::{SerialBase, TenantName, UserId, UserName};
use countersign_core::port::{Committed, Listed, Page, Versioned};
use countersign_core::time::Timestamp;
use countersign_core::user::{Lock, LockState, User};

use super::column::{Columns, moment, number};
use super::error::StoreError;
use super::tenant;
use super::transaction::COUNT_OPEN;
use crate::sql::Sql;
use crate::sql::value::{Cells, values};

/// The columns of a user, in the order in which [`read`] reads them.
pub(crate) const COLUMNS: &str =
    "tenant, name, version, id, serial_base, devices_made, activations_made,
    wrong_pins, wrong_codes, pin_locks_in_a_row, code_locks_in_a_row, lock, locked_until, profile,
    created_at";

pub(crate) async fn create(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
    id: UserId,
    profile: Option<&str>,
    now: Timestamp,
    max: u64,
) -> Result<Committed, StoreError> {
    if version(sql, tenant, name).await?.is_some() {
        return Ok(Committed::Exists);
    }
    tenant::check(sql, tenant).await?;
    let serial_base: Option<u32> = sql
        .find(
            "UPDATE tenants SET users_made = users_made + 1, users = users + 1
              WHERE name = ?1 AND users < ?2 RETURNING users_made",
            values![tenant.as_str(), number(max)],
        )
        .await?;
    let Some(serial_base) = serial_base else { return Ok(Committed::TenantFull) };
    sql.execute(
        "INSERT INTO users (tenant, name, version, id, serial_base, devices_made, activations_made,
                            wrong_pins, wrong_codes, pin_locks_in_a_row, code_locks_in_a_row, lock,
                            locked_until, profile, created_at)
         VALUES (?1, ?2, 1, ?3, ?4, 0, 0, 0, 0, 0, 0, 'open', NULL, ?5, ?6)",
        values![
            tenant.as_str(),
            name.as_str(),
            id.0.to_be_bytes(),
            serial_base,
            profile,
            moment(now)
        ],
    )
    .await?;
    Ok(Committed::Written)
}

pub(crate) async fn load(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
) -> Result<Option<Versioned<User>>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM users WHERE tenant = ?1 AND name = ?2");
    let found = sql.first(&select, values![tenant.as_str(), name.as_str()]).await?;
    found.map(read).transpose()
}

/// Lists the users of a tenant, by name.
pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    page: &Page<UserName>,
) -> Result<Listed<Versioned<User>, UserName>, StoreError> {
    let select = format!(
        "SELECT {COLUMNS} FROM users WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3"
    );
    let select = &select;
    let after = page.after.as_ref().map_or("", UserName::as_str);
    let rows = sql.query(select, values![tenant.as_str(), after, page.limit]).await?;
    let mut users = Vec::new();
    for row in rows {
        users.push(read(row)?);
    }
    Ok(Listed::new(users, page.limit, |last| last.value.name.clone()))
}

pub(crate) fn read(row: Cells) -> Result<Versioned<User>, StoreError> {
    let mut columns = Columns::of("users", 2, row);
    let (tenant, name) = (columns.text("tenant")?, columns.text("name")?);
    let version = columns.next("version")?;
    let id = UserId(columns.id("id")?);
    let serial_base = SerialBase(columns.next("serial_base")?);
    let devices_made = columns.next("devices_made")?;
    let activations_made = columns.next("activations_made")?;
    let lock_state = LockState {
        wrong_pins: columns.next("wrong_pins")?,
        wrong_codes: columns.next("wrong_codes")?,
        pin_locks_in_a_row: columns.next("pin_locks_in_a_row")?,
        code_locks_in_a_row: columns.next("code_locks_in_a_row")?,
        lock: read_lock(&mut columns)?,
    };
    let profile = columns.next("profile")?;
    let created_at = columns.moment("created_at")?;
    let value = User {
        tenant,
        name,
        id,
        serial_base,
        devices_made,
        activations_made,
        lock_state,
        profile,
        created_at,
    };
    Ok(Versioned { value, version })
}

/// The version of a user's row, if there is one.
pub(crate) async fn version(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
) -> Result<Option<u32>, StoreError> {
    let version = "SELECT version FROM users WHERE tenant = ?1 AND name = ?2 /* FOR UPDATE */";
    sql.find(version, values![tenant.as_str(), name.as_str()]).await
}

pub(crate) async fn set_lock_state(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
    expected: u32,
    lock_state: LockState,
) -> Result<Committed, StoreError> {
    let (lock, until) = lock_columns(lock_state.lock);
    let written = sql
        .execute(
            "UPDATE users SET version = version + 1, wrong_pins = ?4, wrong_codes = ?5,
                              pin_locks_in_a_row = ?6, code_locks_in_a_row = ?7, lock = ?8,
                              locked_until = ?9
              WHERE tenant = ?1 AND name = ?2 AND version = ?3",
            values![
                tenant.as_str(),
                name.as_str(),
                expected,
                lock_state.wrong_pins,
                lock_state.wrong_codes,
                lock_state.pin_locks_in_a_row,
                lock_state.code_locks_in_a_row,
                lock,
                until.map(moment),
            ],
        )
        .await?;
    Ok(if written == 1 { Committed::Written } else { Committed::Stale })
}

/// Removes a user who has no open transaction, retires the user's devices, and removes the
/// activations.
pub(crate) async fn delete(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
    expected: u32,
) -> Result<Committed, StoreError> {
    let (of, user) = (tenant.as_str(), name.as_str());
    let whose = values![of, user];
    // The user is locked before transactions are counted, so that none begins in between.
    if version(sql, tenant, name).await? != Some(expected)
        || sql.value::<u32>(COUNT_OPEN, whose).await? != 0
    {
        return Ok(Committed::Stale);
    }
    for statement in [
        "DELETE FROM identities WHERE tenant = ?1
            AND device IN (SELECT id FROM devices WHERE tenant = ?1 AND user_name = ?2)",
        "DELETE FROM identity_labels WHERE tenant = ?1
            AND device IN (SELECT id FROM devices WHERE tenant = ?1 AND user_name = ?2)",
        "UPDATE devices SET version = version + 1, status = 'retired', push_provider = NULL,
                push_address = NULL, push_mark = NULL, push_at = NULL, push_retired = NULL
          WHERE tenant = ?1 AND user_name = ?2 AND status <> 'retired'",
        "DELETE FROM activations WHERE tenant = ?1 AND user_name = ?2",
        "DELETE FROM users WHERE tenant = ?1 AND name = ?2",
    ] {
        sql.execute(statement, whose).await?;
    }
    sql.execute("UPDATE tenants SET users = users - 1 WHERE name = ?1", values![tenant.as_str()])
        .await?;
    Ok(Committed::Written)
}

/// Counts one more device of a user.
pub(crate) async fn count_device(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE users SET version = version + 1, devices_made = devices_made + 1
          WHERE tenant = ?1 AND name = ?2",
        values![tenant.as_str(), name.as_str()],
    )
    .await?;
    Ok(())
}

/// Counts one more activation of a user, if the count is still the expected one.
pub(crate) async fn count_activation(
    sql: &impl Sql,
    tenant: &TenantName,
    name: &UserName,
    expected: u32,
) -> Result<Committed, StoreError> {
    let counted = sql
        .execute(
            "UPDATE users SET activations_made = activations_made + 1
              WHERE tenant = ?1 AND name = ?2 AND activations_made = ?3",
            values![tenant.as_str(), name.as_str(), expected],
        )
        .await?;
    Ok(if counted == 1 { Committed::Written } else { Committed::Stale })
}

fn lock_columns(lock: Lock) -> (&'static str, Option<Timestamp>) {
    match lock {
        Lock::Open => ("open", None),
        Lock::Until(end) => ("until", Some(end)),
        Lock::ReportedByUser => ("reported", None),
        Lock::Administrator => ("administrator", None),
    }
}

fn read_lock(columns: &mut Columns) -> Result<Lock, StoreError> {
    let lock: String = columns.next("lock")?;
    let until = columns.moment_or_none("locked_until")?;
    match (lock.as_str(), until) {
        ("open", None) => Ok(Lock::Open),
        ("until", Some(end)) => Ok(Lock::Until(end)),
        ("reported", None) => Ok(Lock::ReportedByUser),
        ("administrator", None) => Ok(Lock::Administrator),
        _ => Err(columns.corrupt("lock", format!("no such lock as {lock:?}"))),
    }
}
