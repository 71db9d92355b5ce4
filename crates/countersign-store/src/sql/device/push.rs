//! A device's push address in its row: sealed, and with a mark that makes it unique in its tenant.

use aws_lc_rs::digest;
use countersign_core::device::Device;
use countersign_core::id::{DeviceId, TenantName};
use countersign_core::push::{
    Provider, Push, PushAddress, Registration, Retirement, SubscriptionKeys,
};
use countersign_core::push_policy::PushTarget;
use countersign_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::column::{self, Base64, json, moment, number};
use super::super::error::StoreError;
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};
use crate::sql::Sql;
use crate::sql::value::values;

/// The columns of a row for the device's push registration.
pub(crate) struct PushColumns {
    pub(crate) provider: Option<&'static str>,
    pub(crate) address: Option<Vec<u8>>,
    pub(crate) mark: Option<Vec<u8>>,
    pub(crate) at: Option<i64>,
    pub(crate) retired: Option<&'static str>,
}

/// Column `push_address`, before it is sealed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PushAddressBody {
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p256dh: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    language: Option<String>,
}

impl PushColumns {
    pub(crate) fn of(device: &Device, keys: &MasterKeys) -> Self {
        match &device.push {
            Push::None => {
                Self { provider: None, address: None, mark: None, at: None, retired: None }
            }
            Push::Retired { provider, at, why } => Self {
                provider: Some(provider.as_str()),
                address: None,
                mark: None,
                at: Some(moment(*at)),
                retired: Some(why.as_str()),
            },
            Push::At(registration) => {
                let place = SealContext { tenant: &device.tenant, owner: Owner::Push(device.id) };
                let body = Zeroizing::new(json(&PushAddressBody::of(registration)));
                Self {
                    provider: Some(registration.address.provider.as_str()),
                    address: Some(keys.seal(place, body.as_bytes())),
                    mark: Some(mark(&registration.address)),
                    at: Some(moment(registration.since)),
                    retired: None,
                }
            }
        }
    }

    /// Retires the address in any other device that has it.
    pub(crate) async fn take_from_others(
        &self,
        sql: &impl Sql,
        device: &Device,
    ) -> Result<(), StoreError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        sql.execute(
            "UPDATE devices SET version = version + 1, push_address = NULL, push_mark = NULL,
                    push_at = ?4, push_retired = 'moved'
              WHERE tenant = ?1 AND push_mark = ?3 AND id <> ?2",
            values![device.tenant.as_str(), number(device.id.number()), mark, self.at],
        )
        .await?;
        Ok(())
    }
}

/// Reads the part of a device that a push needs. Only one secret is opened.
pub(crate) async fn load_sleeper(
    sql: &impl Sql,
    tenant: &TenantName,
    id: DeviceId,
    keys: &MasterKeys,
) -> Result<Option<PushTarget>, StoreError> {
    let select =
        "SELECT tenant, id, version, user_name, status, push_provider, push_address, push_mark,
                push_at, push_retired, about
           FROM devices WHERE tenant = ?1 AND id = ?2";
    let rows = sql.query(select, values![tenant.as_str(), number(id.number())]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut columns = column::Columns::of("devices", 2, row);
    let tenant: TenantName = columns.text("tenant")?;
    let id = super::id(&mut columns, "id")?;
    Ok(Some(PushTarget {
        version: columns.next("version")?,
        user: columns.text("user")?,
        status: super::read_status(&mut columns)?,
        push: read(&mut columns, keys, &tenant, id)?,
        app: columns.json::<super::AboutBody>("about")?.app,
        tenant,
        id,
    }))
}

/// Retires a device's address because it is no longer registered, if the device still has this
/// version. Answers whether it did.
pub(crate) async fn retire(
    sql: &impl Sql,
    tenant: &TenantName,
    device: DeviceId,
    version: u32,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let changed = sql
        .execute(
            "UPDATE devices SET version = version + 1, push_address = NULL, push_mark = NULL,
                push_at = ?4, push_retired = 'gone'
          WHERE tenant = ?1 AND id = ?2 AND version = ?3 AND push_address IS NOT NULL",
            values![tenant.as_str(), number(device.number()), version, moment(at)],
        )
        .await?;
    Ok(changed > 0)
}

pub(crate) fn read(
    columns: &mut column::Columns,
    keys: &MasterKeys,
    tenant: &TenantName,
    device: DeviceId,
) -> Result<Push, StoreError> {
    let provider: Option<String> = columns.next("push_provider")?;
    let owner = Owner::Push(device);
    let address = columns.secret_or_none("push_address", keys, tenant, owner)?;
    let _mark: Option<Vec<u8>> = columns.next("push_mark")?;
    let at = columns.moment_or_none("push_at")?;
    let retired: Option<String> = columns.next("push_retired")?;
    let known = |name: &String| Provider::ALL.into_iter().find(|one| one.as_str() == name);
    let why = |name: &String| {
        [Retirement::Gone, Retirement::Moved].into_iter().find(|one| one.as_str() == name)
    };
    match (provider.as_ref().map(known), address, at, retired.as_ref().map(why)) {
        (None, None, None, None) => Ok(Push::None),
        (Some(Some(provider)), None, Some(at), Some(Some(why))) => {
            Ok(Push::Retired { provider, at, why })
        }
        (Some(Some(provider)), Some(address), Some(since), None) => {
            let body = serde_json::from_slice::<PushAddressBody>(&address);
            let registration = body.ok().and_then(|body| body.into_registration(provider, since));
            let registration = registration.ok_or_else(|| {
                columns.corrupt("push_address", "it is no address of its service")
            })?;
            Ok(Push::At(registration))
        }
        _ => Err(columns.corrupt("push_provider", "an address has a service and a moment")),
    }
}

impl PushAddressBody {
    fn of(registration: &Registration) -> Self {
        let keys = registration.address.keys.as_ref();
        Self {
            token: registration.address.token.clone(),
            p256dh: keys.map(|keys| Base64(keys.p256dh.to_vec())),
            auth: keys.map(|keys| Base64(keys.auth.to_vec())),
            language: registration.language.clone(),
        }
    }

    fn into_registration(self, provider: Provider, since: Timestamp) -> Option<Registration> {
        let keys = match (self.p256dh, self.auth) {
            (None, None) => None,
            (Some(point), Some(secret)) => Some(SubscriptionKeys {
                p256dh: point.0.try_into().ok()?,
                auth: secret.0.try_into().ok()?,
            }),
            _ => return None,
        };
        let address = PushAddress { provider, token: self.token, keys };
        Some(Registration { address, language: self.language, since })
    }
}

/// The mark of an address: equal for the same token of the same service. It is compared within a
/// tenant only, because the index begins with the tenant.
fn mark(address: &PushAddress) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(address.provider.as_str().as_bytes());
    hash.update(b"/");
    hash.update(address.token.as_bytes());
    hash.finish().as_ref().to_vec()
}
