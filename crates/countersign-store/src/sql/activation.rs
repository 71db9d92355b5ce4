//! Rows of activation codes, and the unit of work that uses one and creates its device.

use countersign_core::enrolment::{Activation, ActivationState, Enrolment};
use countersign_core::id::{TenantName, UserName};
use countersign_core::limits::ACTIVATIONS_LISTED_MAX;
use countersign_core::port::{Committed, Versioned};
use countersign_core::secret::Secret;
use countersign_core::time::Timestamp;

use super::column::{Columns, json, moment};
use super::error::StoreError;
use super::{device, identity_key, tenant, user};
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};
use crate::sql::Sql;
use crate::sql::value::{Cells, values};

/// An activation, prepared to be written: its code sealed.
pub(crate) struct Row {
    activation: Activation,
    code: Vec<u8>,
}

impl Row {
    pub(crate) fn of(activation: Activation, keys: &MasterKeys) -> Self {
        let owner = Owner::ActivationCode(activation.id);
        let code =
            keys.seal(SealContext { tenant: &activation.tenant, owner }, activation.code.expose());
        Self { activation, code }
    }

    /// Writes it, if exactly `expected` activations were created for its user before, and its
    /// tenant may have one more device.
    pub(crate) async fn insert(
        &self,
        sql: &impl Sql,
        expected: u32,
        devices_max: u64,
    ) -> Result<Committed, StoreError> {
        let activation = &self.activation;
        tenant::check(sql, &activation.tenant).await?;
        if !tenant::has_room_for_device(sql, &activation.tenant, devices_max).await? {
            return Ok(Committed::TenantFull);
        }
        if version(sql, activation).await?.is_some()
            || user::count_activation(sql, &activation.tenant, &activation.user, expected).await?
                == Committed::Stale
        {
            return Ok(Committed::Stale);
        }
        let (state, request, answer) = match &activation.state {
            ActivationState::Open => ("open", None, None),
            ActivationState::Used { request, answer } => ("used", Some(request), Some(answer)),
        };
        sql.execute(
            "INSERT INTO activations (tenant, id, version, user_name, code, not_after, maker, secret,
                                      chosen, labels, state, request, answer)
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            values![
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
            ],
        )
        .await?;
        Ok(Committed::Written)
    }
}

/// The version of an activation's row, if there is one.
async fn version(sql: &impl Sql, activation: &Activation) -> Result<Option<u32>, StoreError> {
    let version = "SELECT version FROM activations WHERE tenant = ?1 AND id = ?2 /* FOR UPDATE */";
    sql.find(version, values![activation.tenant.as_str(), activation.id.to_be_bytes()]).await
}

pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    user: &UserName,
    now: Timestamp,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Activation>>, StoreError> {
    let select =
        "SELECT tenant, id, version, user_name, code, not_after, maker, secret, chosen, labels, state,
                request, answer
           FROM activations WHERE tenant = ?1 AND user_name = ?2 AND not_after > ?3
          ORDER BY seq DESC LIMIT ?4";
    let listed = ACTIVATIONS_LISTED_MAX as u32;
    let rows =
        sql.query(select, values![tenant.as_str(), user.as_str(), moment(now), listed]).await?;
    let mut activations = Vec::new();
    for row in rows {
        activations.push(read(row, keys)?);
    }
    Ok(activations)
}

fn read(row: Cells, keys: &MasterKeys) -> Result<Versioned<Activation>, StoreError> {
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

pub(crate) async fn delete(
    sql: &impl Sql,
    tenant: &TenantName,
    id: u128,
) -> Result<Committed, StoreError> {
    let gone = sql
        .execute(
            "DELETE FROM activations WHERE tenant = ?1 AND id = ?2",
            values![tenant.as_str(), id.to_be_bytes()],
        )
        .await?;
    Ok(if gone == 1 { Committed::Written } else { Committed::Stale })
}

pub(crate) const EXPIRED: &str =
    "SELECT tenant, id FROM activations WHERE not_after <= ?1 ORDER BY not_after LIMIT ?2";

pub(crate) async fn expired(
    sql: &impl Sql,
    before: Timestamp,
    limit: u16,
) -> Result<Vec<Cells>, StoreError> {
    sql.query(EXPIRED, values![moment(before), limit]).await
}

/// Removes those of these activations that still exist, and answers how many were.
pub(crate) async fn purge(
    sql: &impl Sql,
    keys: &[Cells],
    before: Timestamp,
) -> Result<u16, StoreError> {
    let delete = "DELETE FROM activations WHERE tenant = ?1 AND id = ?2 AND not_after <= ?3";
    let mut gone = 0;
    for key in keys {
        gone += sql.execute(delete, values![key[0], key[1], moment(before)]).await? as u16;
    }
    Ok(gone)
}

/// An enrolment, prepared to be written.
pub(crate) struct EnrolmentWork {
    enrolment: Enrolment,
    device: device::Row,
    devices_max: u64,
}

impl EnrolmentWork {
    pub(crate) fn of(enrolment: Enrolment, devices_max: u64, keys: &MasterKeys) -> Self {
        let device = device::Row::of(enrolment.device.clone(), keys);
        Self { enrolment, device, devices_max }
    }

    pub(crate) async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let Enrolment { activation, device, keys, .. } = &self.enrolment;
        let tenant = &device.tenant;
        if !self.enrolment.keys_fit() {
            return Err(StoreError::Misused(Enrolment::KEYS_UNFIT));
        }
        if !self.holds(sql).await? || device::version(sql, tenant, device.id).await?.is_some() {
            return Ok(Committed::Stale);
        }
        let devices_made: u32 = sql
            .value(
                "SELECT devices_made FROM users WHERE tenant = ?1 AND name = ?2",
                values![tenant.as_str(), device.user.as_str()],
            )
            .await?;
        if device.serial_number.sequence != devices_made + 1 {
            return Err(StoreError::Misused("the device's sequence number is not the next"));
        }
        let checked = identity_key::check(sql, tenant, keys).await?;
        if checked != Committed::Written {
            return Ok(checked);
        }
        if !tenant::count_device(sql, tenant, self.devices_max).await? {
            return Ok(Committed::TenantFull);
        }

        sql.execute("UPDATE activations SET version = version + 1, state = 'used', request = ?3, answer = ?4
              WHERE tenant = ?1 AND id = ?2", values![
            activation.tenant.as_str(),
            activation.id.to_be_bytes(),
            self.enrolment.request,
            self.enrolment.answer,
        ]).await?;
        user::count_device(sql, tenant, &device.user).await?;
        self.device.insert(sql).await?;
        identity_key::insert(sql, tenant, keys).await?;
        Ok(Committed::Written)
    }

    /// Whether the rows on which it was decided are unchanged.
    async fn holds(&self, sql: &impl Sql) -> Result<bool, StoreError> {
        let Enrolment { activation, device, .. } = &self.enrolment;
        let version = version(sql, activation).await?;
        let user = user::version(sql, &device.tenant, &device.user).await?;
        let enrolment = &self.enrolment;
        Ok(version == Some(enrolment.expected) && user == Some(enrolment.user_expected))
    }
}
