//! Rows of users.

use countersign_core::id::{SerialBase, TenantName, UserId, UserName};
use countersign_core::port::{Committed, Listed, Page, Versioned};
use countersign_core::time::Timestamp;
use countersign_core::user::{Lock, LockState, User};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::column::{Columns, moment, number};
use super::error::StoreError;
use super::tenant;
use super::transaction::COUNT_OPEN;

/// The columns of a user, in the order in which [`read`] reads them.
const COLUMNS: &str = "tenant, name, version, id, serial_base, devices_made, activations_made,
    wrong_pins, wrong_codes, pin_locks_in_a_row, code_locks_in_a_row, lock, locked_until, profile,
    created_at";

pub(super) fn create(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
    id: UserId,
    profile: Option<&str>,
    now: Timestamp,
    max: u64,
) -> Result<Committed, StoreError> {
    if version(sql, tenant, name)?.is_some() {
        return Ok(Committed::Exists);
    }
    tenant::check(sql, tenant)?;
    let serial_base: Option<u32> = sql
        .prepare_cached(
            "UPDATE tenants SET users_made = users_made + 1, users = users + 1
              WHERE name = ?1 AND users < ?2 RETURNING users_made",
        )?
        .query_row(params![tenant.as_str(), number(max)], |row| row.get(0))
        .optional()?;
    let Some(serial_base) = serial_base else { return Ok(Committed::TenantFull) };
    sql.prepare_cached(
        "INSERT INTO users (tenant, name, version, id, serial_base, devices_made, activations_made,
                            wrong_pins, wrong_codes, pin_locks_in_a_row, code_locks_in_a_row, lock,
                            locked_until, profile, created_at)
         VALUES (?1, ?2, 1, ?3, ?4, 0, 0, 0, 0, 0, 0, 'open', NULL, ?5, ?6)",
    )?
    .execute(params![
        tenant.as_str(),
        name.as_str(),
        id.0.to_be_bytes(),
        serial_base,
        profile,
        moment(now)
    ])?;
    Ok(Committed::Written)
}

pub(super) fn load(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
) -> Result<Option<Versioned<User>>, StoreError> {
    Ok(load_and(sql, tenant, name, || Ok(()))?.map(|(user, ())| user))
}

/// Reads a user, and runs `then` on the same snapshot.
pub(super) fn load_and<T>(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
    then: impl FnOnce() -> Result<T, StoreError>,
) -> Result<Option<(Versioned<User>, T)>, StoreError> {
    let select = format!("SELECT {COLUMNS} FROM users WHERE tenant = ?1 AND name = ?2");
    let mut select = sql.prepare_cached(&select)?;
    // As long as this statement is active, the others read the same snapshot.
    let mut rows = select.query([tenant.as_str(), name.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some((read(row)?, then()?)))
}

/// Lists the users of a tenant, by name.
pub(super) fn list(
    sql: &Connection,
    tenant: &TenantName,
    page: &Page<UserName>,
) -> Result<Listed<Versioned<User>, UserName>, StoreError> {
    let select = format!(
        "SELECT {COLUMNS} FROM users WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3"
    );
    let mut select = sql.prepare_cached(&select)?;
    let after = page.after.as_ref().map_or("", UserName::as_str);
    let mut rows = select.query(params![tenant.as_str(), after, page.limit])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(read(row)?);
    }
    Ok(Listed::new(users, page.limit, |last| last.value.name.clone()))
}

fn read(row: &rusqlite::Row<'_>) -> Result<Versioned<User>, StoreError> {
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
pub(super) fn version(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
) -> Result<Option<u32>, StoreError> {
    Ok(sql
        .prepare_cached("SELECT version FROM users WHERE tenant = ?1 AND name = ?2")?
        .query_row([tenant.as_str(), name.as_str()], |row| row.get(0))
        .optional()?)
}

pub(super) fn set_lock_state(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
    expected: u32,
    lock_state: LockState,
) -> Result<Committed, StoreError> {
    let (lock, until) = lock_columns(lock_state.lock);
    let written = sql
        .prepare_cached(
            "UPDATE users SET version = version + 1, wrong_pins = ?4, wrong_codes = ?5,
                              pin_locks_in_a_row = ?6, code_locks_in_a_row = ?7, lock = ?8,
                              locked_until = ?9
              WHERE tenant = ?1 AND name = ?2 AND version = ?3",
        )?
        .execute(params![
            tenant.as_str(),
            name.as_str(),
            expected,
            lock_state.wrong_pins,
            lock_state.wrong_codes,
            lock_state.pin_locks_in_a_row,
            lock_state.code_locks_in_a_row,
            lock,
            until.map(moment),
        ])?;
    Ok(if written == 1 { Committed::Written } else { Committed::Stale })
}

/// Removes a user who has no open transaction, retires the user's devices, and removes the
/// activations.
pub(super) fn delete(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
    expected: u32,
) -> Result<Committed, StoreError> {
    let whose = [tenant.as_str(), name.as_str()];
    let open: u32 = sql.prepare_cached(COUNT_OPEN)?.query_row(whose, |row| row.get(0))?;
    if version(sql, tenant, name)? != Some(expected) || open != 0 {
        return Ok(Committed::Stale);
    }
    for statement in [
        "UPDATE devices SET version = version + 1, status = 'retired', push_provider = NULL,
                push_address = NULL, push_mark = NULL, push_at = NULL, push_retired = NULL
          WHERE tenant = ?1 AND user = ?2 AND status <> 'retired'",
        "DELETE FROM activations WHERE tenant = ?1 AND user = ?2",
        "DELETE FROM users WHERE tenant = ?1 AND name = ?2",
    ] {
        sql.prepare_cached(statement)?.execute(whose)?;
    }
    sql.prepare_cached("UPDATE tenants SET users = users - 1 WHERE name = ?1")?
        .execute([tenant.as_str()])?;
    Ok(Committed::Written)
}

/// Counts one more device of a user.
pub(super) fn count_device(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
) -> Result<(), StoreError> {
    sql.prepare_cached(
        "UPDATE users SET version = version + 1, devices_made = devices_made + 1
          WHERE tenant = ?1 AND name = ?2",
    )?
    .execute([tenant.as_str(), name.as_str()])?;
    Ok(())
}

/// Counts one more activation of a user, if the count is still the expected one.
pub(super) fn count_activation(
    sql: &Connection,
    tenant: &TenantName,
    name: &UserName,
    expected: u32,
) -> Result<Committed, StoreError> {
    let counted = sql
        .prepare_cached(
            "UPDATE users SET activations_made = activations_made + 1
              WHERE tenant = ?1 AND name = ?2 AND activations_made = ?3",
        )?
        .execute(params![tenant.as_str(), name.as_str(), expected])?;
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

fn read_lock(columns: &mut Columns<'_>) -> Result<Lock, StoreError> {
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
