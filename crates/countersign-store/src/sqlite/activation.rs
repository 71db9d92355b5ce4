//! Rows of activation codes, and the unit of work that uses one and creates its device.

use countersign_core::enrolment::{Activation, ActivationState, Enrolment};
use countersign_core::id::{TenantName, UserName};
use countersign_core::limits::ACTIVATIONS_LISTED_MAX;
use countersign_core::port::{Committed, Versioned};
use countersign_core::secret::Secret;
use countersign_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::column::{Columns, json, moment};
use super::error::StoreError;
use super::{device, identity_key, tenant, user};
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};

/// An activation, prepared to be written: its code sealed.
pub(super) struct Row {
    activation: Activation,
    code: Vec<u8>,
}

impl Row {
    pub(super) fn of(activation: Activation, keys: &MasterKeys) -> Self {
        let owner = Owner::ActivationCode(activation.id);
        let code =
            keys.seal(SealContext { tenant: &activation.tenant, owner }, activation.code.expose());
        Self { activation, code }
    }

    /// Writes it, if exactly `expected` activations were created for its user before, and its
    /// tenant may have one more device.
    pub(super) fn insert(
        &self,
        sql: &Connection,
        expected: u32,
        devices_max: u64,
    ) -> Result<Committed, StoreError> {
        let activation = &self.activation;
        tenant::check(sql, &activation.tenant)?;
        if !tenant::has_room_for_device(sql, &activation.tenant, devices_max)? {
            return Ok(Committed::TenantFull);
        }
        if version(sql, activation)?.is_some()
            || user::count_activation(sql, &activation.tenant, &activation.user, expected)?
                == Committed::Stale
        {
            return Ok(Committed::Stale);
        }
        let (state, request, answer) = match &activation.state {
            ActivationState::Open => ("open", None, None),
            ActivationState::Used { request, answer } => ("used", Some(request), Some(answer)),
        };
        sql.prepare_cached(
            "INSERT INTO activations (tenant, id, version, user, code, not_after, maker, secret,
                                      chosen, labels, state, request, answer)
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            activation.tenant.as_str(),
            activation.id.to_be_bytes(),
            activation.user.as_str(),
            self.code,
            moment(activation.not_after),
            activation.maker.to_string(),
            activation.secret,
            activation.chosen,
            json(&activation.labels),
            state,
            request,
            answer,
        ])?;
        Ok(Committed::Written)
    }
}

/// The version of an activation's row, if there is one.
fn version(sql: &Connection, activation: &Activation) -> Result<Option<u32>, StoreError> {
    Ok(sql
        .prepare_cached("SELECT version FROM activations WHERE tenant = ?1 AND id = ?2")?
        .query_row(params![activation.tenant.as_str(), activation.id.to_be_bytes()], |row| {
            row.get(0)
        })
        .optional()?)
}

pub(super) fn list(
    sql: &Connection,
    tenant: &TenantName,
    user: &UserName,
    now: Timestamp,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Activation>>, StoreError> {
    let mut select = sql.prepare_cached(
        "SELECT tenant, id, version, user, code, not_after, maker, secret, chosen, labels, state,
                request, answer
           FROM activations WHERE tenant = ?1 AND user = ?2 AND not_after > ?3
          ORDER BY seq DESC LIMIT ?4",
    )?;
    let listed = ACTIVATIONS_LISTED_MAX as u32;
    let mut rows = select.query(params![tenant.as_str(), user.as_str(), moment(now), listed])?;
    let mut activations = Vec::new();
    while let Some(row) = rows.next()? {
        activations.push(read(row, keys)?);
    }
    Ok(activations)
}

fn read(row: &rusqlite::Row<'_>, keys: &MasterKeys) -> Result<Versioned<Activation>, StoreError> {
    let mut columns = Columns::of("activations", 2, row);
    let tenant: TenantName = columns.text("tenant")?;
    let id = columns.id("id")?;
    let version = columns.next("version")?;
    let user = columns.text("user")?;
    let code = columns.secret("code", keys, &tenant, Owner::ActivationCode(id))?;
    let not_after = columns.moment("not_after")?;
    let maker = columns.text("maker")?;
    let secret = columns.next("secret")?;
    let chosen = columns.next("chosen")?;
    let labels = columns.json("labels")?;
    let state: String = columns.next("state")?;
    let request: Option<[u8; 32]> = columns.next("request")?;
    let answer: Option<Vec<u8>> = columns.next("answer")?;
    let state = match (state.as_str(), request, answer) {
        ("open", None, None) => ActivationState::Open,
        ("used", Some(request), Some(answer)) => ActivationState::Used { request, answer },
        _ => return Err(columns.corrupt("state", format!("no such state as {state:?}"))),
    };
    let code = Secret::new(code.to_vec());
    let value =
        Activation { id, tenant, user, code, not_after, maker, secret, chosen, labels, state };
    Ok(Versioned { value, version })
}

pub(super) fn delete(
    sql: &Connection,
    tenant: &TenantName,
    id: u128,
) -> Result<Committed, StoreError> {
    let gone = sql
        .prepare_cached("DELETE FROM activations WHERE tenant = ?1 AND id = ?2")?
        .execute(params![tenant.as_str(), id.to_be_bytes()])?;
    Ok(if gone == 1 { Committed::Written } else { Committed::Stale })
}

pub(super) const EXPIRED: &str =
    "SELECT seq FROM activations WHERE not_after <= ?1 ORDER BY not_after LIMIT ?2";

pub(super) fn expired(
    sql: &Connection,
    before: Timestamp,
    limit: u16,
) -> Result<Vec<i64>, StoreError> {
    let mut select = sql.prepare_cached(EXPIRED)?;
    let rows = select.query_map(params![moment(before), limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes those of these activations that still exist, and answers how many were.
pub(super) fn purge(sql: &Connection, seqs: &[i64], before: Timestamp) -> Result<u16, StoreError> {
    let mut delete =
        sql.prepare_cached("DELETE FROM activations WHERE seq = ?1 AND not_after <= ?2")?;
    let mut gone = 0;
    for seq in seqs {
        gone += delete.execute(params![seq, moment(before)])? as u16;
    }
    Ok(gone)
}

/// An enrolment, prepared to be written.
pub(super) struct EnrolmentWork {
    enrolment: Enrolment,
    device: device::Row,
    devices_max: u64,
}

impl EnrolmentWork {
    pub(super) fn of(enrolment: Enrolment, devices_max: u64, keys: &MasterKeys) -> Self {
        let device = device::Row::of(enrolment.device.clone(), keys);
        Self { enrolment, device, devices_max }
    }

    pub(super) fn write(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let Enrolment { activation, device, keys, .. } = &self.enrolment;
        let tenant = &device.tenant;
        if !self.enrolment.keys_fit() {
            return Err(StoreError::Misused(Enrolment::KEYS_UNFIT));
        }
        if !self.holds(sql)? || device::version(sql, tenant, device.id)?.is_some() {
            return Ok(Committed::Stale);
        }
        let devices_made: u32 = sql
            .prepare_cached("SELECT devices_made FROM users WHERE tenant = ?1 AND name = ?2")?
            .query_row([tenant.as_str(), device.user.as_str()], |row| row.get(0))?;
        if device.serial_number.sequence != devices_made + 1 {
            return Err(StoreError::Misused("the device's sequence number is not the next"));
        }
        let checked = identity_key::check(sql, tenant, keys)?;
        if checked != Committed::Written {
            return Ok(checked);
        }
        if !tenant::count_device(sql, tenant, self.devices_max)? {
            return Ok(Committed::TenantFull);
        }

        sql.prepare_cached(
            "UPDATE activations SET version = version + 1, state = 'used', request = ?3, answer = ?4
              WHERE tenant = ?1 AND id = ?2",
        )?
        .execute(params![
            activation.tenant.as_str(),
            activation.id.to_be_bytes(),
            self.enrolment.request,
            self.enrolment.answer,
        ])?;
        user::count_device(sql, tenant, &device.user)?;
        self.device.insert(sql)?;
        identity_key::insert(sql, tenant, keys)?;
        Ok(Committed::Written)
    }

    /// Whether the rows on which it was decided are unchanged.
    fn holds(&self, sql: &Connection) -> Result<bool, StoreError> {
        let Enrolment { activation, device, .. } = &self.enrolment;
        let version = version(sql, activation)?;
        let user = user::version(sql, &device.tenant, &device.user)?;
        let enrolment = &self.enrolment;
        Ok(version == Some(enrolment.expected) && user == Some(enrolment.user_expected))
    }
}
