//! Rows of devices, including their identities.

use countersign_core::device::{About, Device, DeviceStatus, Identity, PinDigest, Renewed, Usage};
use countersign_core::enrolment::{Addition, Enrolment, Renewal};
use countersign_core::id::{DeviceId, IdentityId, SerialBase, SerialNumber, TenantName, UserName};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{Committed, DeviceCursor, Page, Versioned};
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::column::{Base64, Columns, json, moment, number};
use super::error::StoreError;
use super::{identity_key, user};
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};

mod push;

pub(super) use push::{load_sleeper, retire as retire_push};

const COLUMNS: &str = "tenant, id, version, user, serial_base, sequence, status, auth_key,
    payload_key, code_key, pin_digest, pin_version, push_provider, push_address, push_mark,
    push_at, push_retired, enrolled_at, about, identities";
/// The column that is read after these.
const TENANT_LOCKED: &str =
    "coalesce((SELECT state <> 'active' FROM tenants WHERE name = devices.tenant), 0)";

/// A device, prepared to be written: its secrets sealed, its lists as JSON.
pub(super) struct Row {
    device: Device,
    payload_key: Vec<u8>,
    code_key: Vec<u8>,
    pin_digest: Option<Vec<u8>>,
    push: push::PushColumns,
    about: String,
    identities: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AboutBody {
    name: String,
    platform: String,
    os_version: String,
    app: String,
    app_version: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IdentityBody {
    id: String,
    usage: PurposeBody,
    certificate: Base64,
    chain: Vec<Base64>,
    valid_until: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewal: Option<RenewedBody>,
    labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    proposed_labels: Vec<String>,
    enabled: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status_reason: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RenewedBody {
    /// SHA-256 of the request.
    request: Base64,
    certificate: Base64,
    chain: Vec<Base64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PurposeBody {
    Content,
    Digest,
}

impl PurposeBody {
    pub(super) fn of(usage: Usage) -> Self {
        match usage {
            Usage::Content => Self::Content,
            Usage::Digest => Self::Digest,
        }
    }
}

impl From<PurposeBody> for Usage {
    fn from(body: PurposeBody) -> Self {
        match body {
            PurposeBody::Content => Self::Content,
            PurposeBody::Digest => Self::Digest,
        }
    }
}

impl Row {
    pub(super) fn of(device: Device, keys: &MasterKeys) -> Self {
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

    pub(super) fn insert(&self, sql: &Connection) -> Result<(), StoreError> {
        let device = &self.device;
        self.push.take_from_others(sql, device)?;
        let statement = format!(
            "INSERT INTO devices ({COLUMNS})
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19)"
        );
        sql.prepare_cached(&statement)?.execute(params![
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
        ])?;
        Ok(())
    }

    /// Writes the mutable columns of a device.
    pub(super) fn update(&self, sql: &Connection, expected: u32) -> Result<Committed, StoreError> {
        let device = &self.device;
        if version(sql, &device.tenant, device.id)? != Some(expected) {
            return Ok(Committed::Stale);
        }
        self.push.take_from_others(sql, device)?;
        sql.prepare_cached(
            "UPDATE devices SET version = version + 1, status = ?3, pin_digest = ?4,
                    pin_version = ?5, push_provider = ?6, push_address = ?7, push_mark = ?8,
                    push_at = ?9, push_retired = ?10, identities = ?11
              WHERE tenant = ?1 AND id = ?2",
        )?
        .execute(params![
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
        ])?;
        Ok(Committed::Written)
    }

    /// Writes the mutable columns of a device, and the user's lock state if one is given.
    pub(super) fn change_pin(
        &self,
        sql: &Connection,
        expected: u32,
        user_expected: u32,
        lock_state: Option<LockState>,
    ) -> Result<Committed, StoreError> {
        let (tenant, user) = (&self.device.tenant, &self.device.user);
        if version(sql, tenant, self.device.id)? != Some(expected)
            || user::version(sql, tenant, user)? != Some(user_expected)
        {
            return Ok(Committed::Stale);
        }
        if let Some(lock_state) = lock_state {
            user::set_lock_state(sql, tenant, user, user_expected, lock_state)?;
        }
        self.update(sql, expected)
    }
}

/// An addition of an identity, prepared to be written.
pub(super) struct AdditionRow {
    row: Row,
    addition: Addition,
}

impl AdditionRow {
    pub(super) fn of(addition: Addition, keys: &MasterKeys) -> Self {
        Self { row: Row::of(addition.device.clone(), keys), addition }
    }

    pub(super) fn write(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let Addition { device, expected, user_expected, key } = &self.addition;
        if !self.addition.key_fits() {
            return Err(StoreError::Misused(Enrolment::KEYS_UNFIT));
        }
        if version(sql, &device.tenant, device.id)? != Some(*expected)
            || user::version(sql, &device.tenant, &device.user)? != Some(*user_expected)
        {
            return Ok(Committed::Stale);
        }
        let checked = identity_key::check(sql, &device.tenant, &[*key])?;
        if checked == Committed::Written {
            identity_key::insert(sql, &device.tenant, &[*key])?;
            self.row.update(sql, *expected)?;
        }
        Ok(checked)
    }
}

/// A renewal of an identity's certificate, prepared to be written.
pub(super) struct RenewalRow {
    row: Row,
    renewal: Renewal,
}

impl RenewalRow {
    pub(super) fn of(renewal: Renewal, keys: &MasterKeys) -> Self {
        Self { row: Row::of(renewal.device.clone(), keys), renewal }
    }

    pub(super) fn write(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let Renewal { device, expected, user_expected, key } = &self.renewal;
        if !self.renewal.key_fits() {
            return Err(StoreError::Misused(Enrolment::KEYS_UNFIT));
        }
        if version(sql, &device.tenant, device.id)? != Some(*expected)
            || user::version(sql, &device.tenant, &device.user)? != Some(*user_expected)
        {
            return Ok(Committed::Stale);
        }
        let checked = identity_key::check_renewal(sql, &device.tenant, key)?;
        if checked == Committed::Written {
            identity_key::renew(sql, &device.tenant, key)?;
            self.row.update(sql, *expected)?;
        }
        Ok(checked)
    }
}

pub(super) fn load(
    sql: &Connection,
    tenant: &TenantName,
    id: DeviceId,
    keys: &MasterKeys,
) -> Result<Option<Versioned<Device>>, StoreError> {
    let select =
        format!("SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices WHERE tenant = ?1 AND id = ?2");
    let mut select = sql.prepare_cached(&select)?;
    let mut rows = select.query(params![tenant.as_str(), number(id.number())])?;
    rows.next()?.map(|row| read(row, keys)).transpose()
}

pub(super) fn load_by_serial(
    sql: &Connection,
    tenant: &TenantName,
    serial: SerialNumber,
    keys: &MasterKeys,
) -> Result<Option<Versioned<Device>>, StoreError> {
    let mut select = sql.prepare_cached(&by_serial_statement())?;
    let mut rows = select.query(params![tenant.as_str(), serial.base.0, serial.sequence])?;
    rows.next()?.map(|row| read(row, keys)).transpose()
}

pub(super) fn by_serial_statement() -> String {
    format!(
        "SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices
          WHERE tenant = ?1 AND serial_base = ?2 AND sequence = ?3 AND status <> 'retired'"
    )
}

/// Lists the devices of one user, by sequence, at most [`LISTED_MAX`].
pub(super) fn list_of_user(
    sql: &Connection,
    tenant: &TenantName,
    user: &UserName,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Device>>, StoreError> {
    list(sql, tenant, Some(user), &Page::first(LISTED_MAX), keys)
}

/// Lists the devices of one user, or of all users.
pub(super) fn list(
    sql: &Connection,
    tenant: &TenantName,
    user: Option<&UserName>,
    page: &Page<DeviceCursor>,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Device>>, StoreError> {
    let mut select = sql.prepare_cached(&list_statement(user.is_some()))?;
    let (after, sequence) = after(page);
    let name = user.map_or(after, UserName::as_str);
    let mut rows = select.query(params![tenant.as_str(), name, sequence, page.limit])?;
    let mut devices = Vec::new();
    while let Some(row) = rows.next()? {
        devices.push(read(row, keys)?);
    }
    Ok(devices)
}

/// The user and the sequence after which a page begins.
pub(super) fn after(page: &Page<DeviceCursor>) -> (&str, i64) {
    page.after.as_ref().map_or(("", -1), |after| (after.user.as_str(), after.sequence.into()))
}

/// Lists the devices of one user, or of all users, after a sequence.
pub(super) fn list_statement(of_user: bool) -> String {
    let which = if of_user { "user = ?2 AND sequence > ?3" } else { "(user, sequence) > (?2, ?3)" };
    format!(
        "SELECT {COLUMNS}, {TENANT_LOCKED} FROM devices
          WHERE tenant = ?1 AND {which} AND status <> 'retired'
          ORDER BY user, sequence LIMIT ?4"
    )
}

/// The version of a device's row, if there is one.
pub(super) fn version(
    sql: &Connection,
    tenant: &TenantName,
    id: DeviceId,
) -> Result<Option<u32>, StoreError> {
    Ok(sql
        .prepare_cached("SELECT version FROM devices WHERE tenant = ?1 AND id = ?2")?
        .query_row(params![tenant.as_str(), number(id.number())], |row| row.get(0))
        .optional()?)
}

/// The next column: a device's id.
pub(super) fn id(columns: &mut Columns<'_>, column: &'static str) -> Result<DeviceId, StoreError> {
    let number = columns.number(column)?;
    DeviceId::try_from(number).map_err(|error| columns.corrupt(column, error))
}

/// The next column: a device's id, or NULL.
pub(super) fn id_or_none(
    columns: &mut Columns<'_>,
    column: &'static str,
) -> Result<Option<DeviceId>, StoreError> {
    let Some(number) = columns.next::<Option<i64>>(column)? else { return Ok(None) };
    let id = u64::try_from(number).ok().and_then(|number| DeviceId::try_from(number).ok());
    id.map(Some).ok_or_else(|| columns.corrupt(column, "not a device id"))
}

fn read(row: &rusqlite::Row<'_>, keys: &MasterKeys) -> Result<Versioned<Device>, StoreError> {
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

fn read_status(columns: &mut Columns<'_>) -> Result<DeviceStatus, StoreError> {
    let all = [DeviceStatus::Active, DeviceStatus::Locked, DeviceStatus::Retired];
    columns.one_of("status", all, DeviceStatus::as_str)
}

fn read_pin(
    columns: &mut Columns<'_>,
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

fn read_identities(columns: &mut Columns<'_>) -> Result<Vec<Identity>, StoreError> {
    let bodies: Vec<IdentityBody> = columns.json("identities")?;
    let identities: Result<_, _> = bodies.into_iter().map(IdentityBody::into_identity).collect();
    identities.map_err(|error| columns.corrupt("identities", error))
}

impl AboutBody {
    pub(super) fn of(about: &About) -> Self {
        let About { name, platform, os_version, app, app_version } = about.clone();
        Self { name, platform, os_version, app, app_version }
    }

    pub(super) fn into_about(self) -> About {
        let Self { name, platform, os_version, app, app_version } = self;
        About { name, platform, os_version, app, app_version }
    }
}

impl RenewedBody {
    fn of(renewed: &Renewed) -> Self {
        Self {
            request: Base64(renewed.request.to_vec()),
            certificate: Base64(renewed.certificate.clone()),
            chain: renewed.chain.iter().cloned().map(Base64).collect(),
        }
    }

    fn into_renewed(self) -> Result<Renewed, &'static str> {
        Ok(Renewed {
            request: self.request.0.try_into().map_err(|_| "a digest has 32 bytes")?,
            certificate: self.certificate.0,
            chain: self.chain.into_iter().map(|certificate| certificate.0).collect(),
        })
    }
}

impl IdentityBody {
    fn of(identity: &Identity) -> Self {
        Self {
            id: identity.id.to_string(),
            usage: PurposeBody::of(identity.usage),
            certificate: Base64(identity.certificate.clone()),
            chain: identity.chain.iter().cloned().map(Base64).collect(),
            valid_until: identity.valid_until.0,
            imported: identity.imported,
            renewal: identity.renewal.as_deref().map(RenewedBody::of),
            labels: identity.labels.clone(),
            proposed_labels: identity.proposed_labels.clone(),
            enabled: identity.enabled,
            status_reason: identity.status_reason.clone(),
        }
    }

    fn into_identity(self) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
        let renewal = self.renewal.map(RenewedBody::into_renewed).transpose()?;
        Ok(Identity {
            id: self.id.parse::<IdentityId>()?,
            usage: self.usage.into(),
            certificate: self.certificate.0,
            chain: self.chain.into_iter().map(|certificate| certificate.0).collect(),
            valid_until: Timestamp(self.valid_until),
            imported: self.imported,
            renewal: renewal.map(Box::new),
            labels: self.labels,
            proposed_labels: self.proposed_labels,
            enabled: self.enabled,
            status_reason: self.status_reason,
        })
    }
}
