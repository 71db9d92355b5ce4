//! Rows of devices, including their identities.

use countersign_core::device::{Device, DeviceStatus, Identity, PinDigest};
use countersign_core::enrolment::{Addition, Enrolment, Renewal};
use countersign_core::id::{DeviceId, IdentityId, SerialBase, SerialNumber, TenantName, UserName};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{Committed, DeviceCursor, Page, Versioned};
use countersign_core::user::LockState;

use super::column::{Columns, json, moment, number};
use super::error::StoreError;
use super::{identity, identity_key, user};
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};
use crate::sql::Sql;
use crate::sql::value::{Cells, values};

mod body;
mod push;

use body::IdentityBody;
pub(crate) use body::{AboutBody, PurposeBody};
pub(crate) use push::{load_sleeper, retire as retire_push};

pub(crate) const COLUMNS: &str =
    "tenant, id, version, user_name, serial_base, sequence, status, auth_key,
    payload_key, code_key, pin_digest, pin_version, push_provider, push_address, push_mark,
    push_at, push_retired, enrolled_at, about, identities";
/// The column that is read after these.
pub(crate) const TENANT_LOCKED: &str =
    "coalesce((SELECT state <> 'active' FROM tenants WHERE name = devices.tenant), false)";

/// The version of a device's row, and whether its identities and its status are these.
const FOUND: &str = "SELECT version, identities = ?3 AND status = ?4 FROM devices
    WHERE tenant = ?1 AND id = ?2 /* FOR UPDATE */";

/// A device, prepared to be written: its secrets sealed, its lists as JSON.
pub(crate) struct Row {
    device: Device,
    payload_key: Vec<u8>,
    code_key: Vec<u8>,
    pin_digest: Option<Vec<u8>>,
    push: push::PushColumns,
    about: String,
    identities: String,
}

impl Row {
    pub(crate) fn of(device: Device, keys: &MasterKeys) -> Self {
        let seal = |owner, secret: &[u8; 32]| {
            keys.seal(SealContext { tenant: &device.tenant, owner }, secret)
        };
        let payload_key = seal(Owner::PayloadKey(device.id), device.payload_key.expose());
        let code_key = seal(Owner::CodeKey(device.id), device.code_key.expose());
        let pin_digest =
            device.pin.as_ref().map(|pin| seal(Owner::Pin(device.id), pin.digest.expose()));
        let push = push::PushColumns::of(&device, keys);
        let about = json(&AboutBody::of(&device.about));
        let identities: Vec<_> = device.identities.iter().map(IdentityBody::of).collect();
        let identities = json(&identities);
        Self { device, payload_key, code_key, pin_digest, push, about, identities }
    }

    pub(crate) async fn insert(&self, sql: &impl Sql) -> Result<(), StoreError> {
        let device = &self.device;
        self.push.take_from_others(sql, device).await?;
        let statement = format!(
            "INSERT INTO devices ({COLUMNS})
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19)"
        );
        sql.execute(
            &statement,
            values![
                device.tenant.as_str(),
                number(device.id.number()),
                device.user.as_str(),
                device.serial_number.base.0,
                device.serial_number.sequence,
                device.status.as_str(),
                device.auth_key,
                self.payload_key,
                self.code_key,
                self.pin_digest,
                device.pin.as_ref().map(|pin| pin.version),
                self.push.provider,
                self.push.address,
                self.push.mark,
                self.push.at,
                self.push.retired,
                moment(device.enrolled_at),
                self.about,
                self.identities,
            ],
        )
        .await?;
        identity::insert(sql, device).await
    }

    /// Writes the mutable columns of a device.
    pub(crate) async fn update(
        &self,
        sql: &impl Sql,
        expected: u32,
    ) -> Result<Committed, StoreError> {
        let device = &self.device;
        let Some(found) = sql
            .first(
                FOUND,
                values![
                    device.tenant.as_str(),
                    number(device.id.number()),
                    self.identities,
                    device.status.as_str(),
                ],
            )
            .await?
        else {
            return Ok(Committed::Stale);
        };
        let mut found = Columns::of("devices", 0, found);
        if found.next::<u32>("version")? != expected {
            return Ok(Committed::Stale);
        }
        if !found.next::<bool>("identities")? {
            identity::remove(sql, &device.tenant, device.id).await?;
            identity::insert(sql, device).await?;
        }
        self.push.take_from_others(sql, device).await?;
        sql.execute(
            "UPDATE devices SET version = version + 1, status = ?3, pin_digest = ?4,
                    pin_version = ?5, push_provider = ?6, push_address = ?7, push_mark = ?8,
                    push_at = ?9, push_retired = ?10, identities = ?11
              WHERE tenant = ?1 AND id = ?2",
            values![
                device.tenant.as_str(),
                number(device.id.number()),
                device.status.as_str(),
                self.pin_digest,
                device.pin.as_ref().map(|pin| pin.version),
                self.push.provider,
                self.push.address,
                self.push.mark,
                self.push.at,
                self.push.retired,
                self.identities,
            ],
        )
        .await?;
        Ok(Committed::Written)
    }

    /// Writes the mutable columns of a device, and the user's lock state if one is given.
    pub(crate) async fn change_pin(
        &self,
        sql: &impl Sql,
        expected: u32,
        user_expected: u32,
        lock_state: Option<LockState>,
    ) -> Result<Committed, StoreError> {
        let (tenant, user) = (&self.device.tenant, &self.device.user);
        if version(sql, tenant, self.device.id).await? != Some(expected)
            || user::version(sql, tenant, user).await? != Some(user_expected)
        {
            return Ok(Committed::Stale);
        }
        if let Some(lock_state) = lock_state {
            user::set_lock_state(sql, tenant, user, user_expected, lock_state).await?;
        }
        self.update(sql, expected).await
    }
}

/// An addition of an identity, prepared to be written.
pub(crate) struct AdditionRow {
    row: Row,
    addition: Addition,
}

impl AdditionRow {
    pub(crate) fn of(addition: Addition, keys: &MasterKeys) -> Self {
        Self { row: Row::of(addition.device.clone(), keys), addition }
    }

    pub(crate) async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let Addition { device, expected, user_expected, key } = &self.addition;
        if !self.addition.key_fits() {
            return Err(StoreError::Misused(Enrolment::KEYS_UNFIT));
        }
        if version(sql, &device.tenant, device.id).await? != Some(*expected)
            || user::version(sql, &device.tenant, &device.user).await? != Some(*user_expected)
        {
            return Ok(Committed::Stale);
        }
        let checked = identity_key::check(sql, &device.tenant, &[*key]).await?;
        if checked == Committed::Written {
            identity_key::insert(sql, &device.tenant, &[*key]).await?;
            self.row.update(sql, *expected).await?;
        }
        Ok(checked)
    }
}

/// A renewal of an identity's certificate, prepared to be written.
pub(crate) struct RenewalRow {
    row: Row,
    renewal: Renewal,
}

impl RenewalRow {
    pub(crate) fn of(renewal: Renewal, keys: &MasterKeys) -> Self {
        Self { row: Row::of(renewal.device.clone(), keys), renewal }
    }

    pub(crate) async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let Renewal { device, expected, user_expected, key } = &self.renewal;
        if !self.renewal.key_fits() {
            return Err(StoreError::Misused(Enrolment::KEYS_UNFIT));
        }
        if version(sql, &device.tenant, device.id).await? != Some(*expected)
            || user::version(sql, &device.tenant, &device.user).await? != Some(*user_expected)
        {
            return Ok(Committed::Stale);
        }
        let checked = identity_key::check_renewal(sql, &device.tenant, key).await?;
        if checked == Committed::Written {
            identity_key::renew(sql, &device.tenant, key).await?;
            self.row.update(sql, *expected).await?;
        }
        Ok(checked)
    }
}

pub(crate) async fn load(
    sql: &impl Sql,
    tenant: &TenantName,
    id: DeviceId,
    keys: &MasterKeys,
) -> Result<Option<Versioned<Device>>, StoreError> {
    let select =
        format!("SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices WHERE tenant = ?1 AND id = ?2");
    let select = &select;
    let rows = sql.query(select, values![tenant.as_str(), number(id.number())]).await?;
    rows.into_iter().next().map(|row| read(row, keys)).transpose()
}

pub(crate) async fn load_by_serial(
    sql: &impl Sql,
    tenant: &TenantName,
    serial: SerialNumber,
    keys: &MasterKeys,
) -> Result<Option<Versioned<Device>>, StoreError> {
    let select = &by_serial_statement();
    let rows = sql.query(select, values![tenant.as_str(), serial.base.0, serial.sequence]).await?;
    rows.into_iter().next().map(|row| read(row, keys)).transpose()
}

/// Reads the device that holds an identity.
pub(crate) async fn load_by_identity(
    sql: &impl Sql,
    tenant: &TenantName,
    id: IdentityId,
    keys: &MasterKeys,
) -> Result<Option<Versioned<Device>>, StoreError> {
    let found =
        sql.first(&by_identity_statement(), values![tenant.as_str(), id.to_string()]).await?;
    found.map(|row| read(row, keys)).transpose()
}

pub(crate) fn by_identity_statement() -> String {
    format!(
        "SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices
          WHERE tenant = ?1
            AND id = (SELECT device FROM identities WHERE tenant = ?1 AND id = ?2)"
    )
}

pub(crate) fn by_serial_statement() -> String {
    format!(
        "SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices
          WHERE tenant = ?1 AND serial_base = ?2 AND sequence = ?3 AND status <> 'retired'"
    )
}

/// Lists the devices of one user, by sequence, at most [`LISTED_MAX`].
pub(crate) async fn list_of_user(
    sql: &impl Sql,
    tenant: &TenantName,
    user: &UserName,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Device>>, StoreError> {
    list(sql, tenant, Some(user), &Page::first(LISTED_MAX), keys).await
}

/// Lists the devices of one user, or of all users.
pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    user: Option<&UserName>,
    page: &Page<DeviceCursor>,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Device>>, StoreError> {
    let select = &list_statement(user.is_some());
    let (after, sequence) = after(page);
    let name = user.map_or(after, UserName::as_str);
    let rows = sql.query(select, values![tenant.as_str(), name, sequence, page.limit]).await?;
    let mut devices = Vec::new();
    for row in rows {
        devices.push(read(row, keys)?);
    }
    Ok(devices)
}

/// The user and the sequence after which a page begins.
pub(crate) fn after(page: &Page<DeviceCursor>) -> (&str, i64) {
    page.after.as_ref().map_or(("", -1), |after| (after.user.as_str(), after.sequence.into()))
}

/// Lists the devices of one user, or of all users, after a sequence.
pub(crate) fn list_statement(of_user: bool) -> String {
    let which = if of_user {
        "user_name = ?2 AND sequence > ?3"
    } else {
        "(user_name, sequence) > (?2, ?3)"
    };
    format!(
        "SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices
          WHERE tenant = ?1 AND {which} AND status <> 'retired'
          ORDER BY user_name, sequence LIMIT ?4"
    )
}

/// Whether any device was ever enrolled, in any tenant that is left.
pub(crate) async fn any(sql: &impl Sql) -> Result<bool, StoreError> {
    sql.exists("SELECT 1 FROM devices LIMIT 1", &[]).await
}

/// The version of a device's row, if there is one.
pub(crate) async fn version(
    sql: &impl Sql,
    tenant: &TenantName,
    id: DeviceId,
) -> Result<Option<u32>, StoreError> {
    let version = "SELECT version FROM devices WHERE tenant = ?1 AND id = ?2 /* FOR UPDATE */";
    sql.find(version, values![tenant.as_str(), number(id.number())]).await
}

/// The next column: a device's id.
pub(crate) fn id(columns: &mut Columns, column: &'static str) -> Result<DeviceId, StoreError> {
    let number = columns.number(column)?;
    DeviceId::try_from(number).map_err(|error| columns.corrupt(column, error))
}

/// The next column: a device's id, or NULL.
pub(crate) fn id_or_none(
    columns: &mut Columns,
    column: &'static str,
) -> Result<Option<DeviceId>, StoreError> {
    let Some(number) = columns.next::<Option<i64>>(column)? else { return Ok(None) };
    let id = u64::try_from(number).ok().and_then(|number| DeviceId::try_from(number).ok());
    id.map(Some).ok_or_else(|| columns.corrupt(column, "not a device id"))
}

pub(crate) fn read(row: Cells, keys: &MasterKeys) -> Result<Versioned<Device>, StoreError> {
    let mut columns = Columns::of("devices", 2, row);
    let tenant: TenantName = columns.text("tenant")?;
    let id = id(&mut columns, "id")?;
    let version = columns.next("version")?;
    let user = columns.text("user")?;
    let serial_number = SerialNumber {
        base: SerialBase(columns.next("serial_base")?),
        sequence: columns.next("sequence")?,
    };
    let value = Device {
        user,
        serial_number,
        status: read_status(&mut columns)?,
        auth_key: columns.bytes("auth_key")?,
        payload_key: columns.secret32("payload_key", keys, &tenant, Owner::PayloadKey(id))?,
        code_key: columns.secret32("code_key", keys, &tenant, Owner::CodeKey(id))?,
        pin: read_pin(&mut columns, keys, &tenant, id)?,
        push: push::read(&mut columns, keys, &tenant, id)?,
        enrolled_at: columns.moment("enrolled_at")?,
        about: columns.json::<AboutBody>("about")?.into_about(),
        identities: read_identities(&mut columns)?,
        tenant_locked: columns.next("tenant")?,
        tenant,
        id,
    };
    Ok(Versioned { value, version })
}

fn read_status(columns: &mut Columns) -> Result<DeviceStatus, StoreError> {
    let all = [DeviceStatus::Active, DeviceStatus::Locked, DeviceStatus::Retired];
    columns.one_of("status", all, DeviceStatus::as_str)
}

fn read_pin(
    columns: &mut Columns,
    keys: &MasterKeys,
    tenant: &TenantName,
    id: DeviceId,
) -> Result<Option<PinDigest>, StoreError> {
    let digest = columns.secret32_or_none("pin_digest", keys, tenant, Owner::Pin(id))?;
    let version: Option<u32> = columns.next("pin_version")?;
    match (digest, version) {
        (None, None) => Ok(None),
        (Some(digest), Some(version)) => Ok(Some(PinDigest { digest, version })),
        _ => Err(columns.corrupt("pin_version", "a PIN has a digest and a version")),
    }
}

fn read_identities(columns: &mut Columns) -> Result<Vec<Identity>, StoreError> {
    let bodies: Vec<IdentityBody> = columns.json("identities")?;
    let identities: Result<_, _> = bodies.into_iter().map(IdentityBody::into_identity).collect();
    identities.map_err(|error| columns.corrupt("identities", error))
}
