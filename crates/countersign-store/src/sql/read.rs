//! The reads of the port that several kinds of rows answer together.

use countersign_core::device::Device;
use countersign_core::id::{DeviceId, TenantName, TransactionId};
use countersign_core::port::{
    Credential, CredentialKey, DeviceCursor, DeviceFilter, Handle, Listed, Page, Versioned,
};
use countersign_core::push_policy::PushSnapshot;

use super::error::StoreError;
use super::{Sql, client, device, identity, key, transaction, user};
use crate::master_key::MasterKeys;

/// Reads the snapshots on which pushes are decided, in the order of the pairs.
pub(crate) async fn push_snapshots(
    sql: &impl Sql,
    who: &[(TenantName, DeviceId, TransactionId)],
    keys: &MasterKeys,
) -> Result<Vec<Option<PushSnapshot>>, StoreError> {
    let mut found = Vec::with_capacity(who.len());
    for (tenant, id, on) in who {
        let Some(device) = device::load_sleeper(sql, tenant, *id, keys).await? else {
            found.push(None);
            continue;
        };
        let user = user::load(sql, tenant, &device.user).await?;
        let transaction = transaction::load(sql, tenant, &Handle::Id(*on)).await?;
        found.push(Some(PushSnapshot { device, user, transaction }));
    }
    Ok(found)
}

/// Finds the credential of a caller. Each kind is read with one statement.
pub(crate) async fn credential(
    sql: &impl Sql,
    key: CredentialKey<'_>,
) -> Result<Option<Credential>, StoreError> {
    Ok(match key {
        CredentialKey::Client(tenant, id) => {
            client::load(sql, Some(tenant), id).await?.map(Credential::Client)
        }
        CredentialKey::AnyClient(id) => client::load(sql, None, id).await?.map(Credential::Client),
        CredentialKey::TokenHolder(tenant, id) => {
            let found = client::load_holder(sql, tenant, id).await?;
            found.map(|(client, keys)| Credential::TokenHolder(client, keys))
        }
        CredentialKey::ApiKey(digest) => key::load(sql, digest).await?.map(Credential::ApiKey),
        CredentialKey::ApiKeyId(id) => key::load_by_id(sql, id).await?.map(Credential::ApiKey),
    })
}

/// Lists the devices that a filter selects.
pub(crate) async fn devices(
    sql: &impl Sql,
    tenant: &TenantName,
    filter: DeviceFilter<'_>,
    page: &Page<DeviceCursor>,
    keys: &MasterKeys,
) -> Result<Listed<Versioned<Device>, DeviceCursor>, StoreError> {
    let rows = match filter {
        DeviceFilter::All => device::list(sql, tenant, None, page, keys).await?,
        DeviceFilter::User(user) => device::list(sql, tenant, Some(user), page, keys).await?,
        DeviceFilter::Labels(labels) => {
            identity::devices_with(sql, tenant, labels, page, keys).await?
        }
    };
    Ok(Listed::new(rows, page.limit, DeviceCursor::of))
}
