//! API keys, and devices found by their serial numbers.

use countersign_core::device::DeviceStatus;
use countersign_core::id::{ApiKeyId, SerialBase, SerialNumber, TenantName};
use countersign_core::port::{Committed, Ledger as _, Page};
use countersign_core::tenant::{ApiKey, CredentialState, KeyKind};
use countersign_core::time::Timestamp;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{device_id, populate};

pub(crate) fn key(id: u8, tenant: Option<&str>, kind: KeyKind) -> ApiKey {
    ApiKey {
        id: ApiKeyId(id.into()),
        tenant: tenant.map(|name| name.parse().unwrap()),
        kind,
        digest: [id; 32],
        state: CredentialState::Active,
        not_after: id.is_multiple_of(2).then_some(Timestamp(9)),
        tenant_locked: false,
        created_at: Timestamp(id.into()),
    }
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

#[tokio::test]
async fn an_api_key_is_found_by_its_digest_and_listed_for_its_tenants() {
    on_every_store(async |store| {
        populate(&store).await;
        let own = key(1, Some("acme"), KeyKind::FrontEnd);
        let every = key(2, None, KeyKind::BackEnd);
        let others = key(3, Some("beta"), KeyKind::FrontEnd);
        for made in [&own, &every, &others] {
            assert_eq!(store.create_key(made.clone()).await.unwrap(), Committed::Written);
        }
        for (id, digest) in [(1, 9), (9, 1)] {
            let taken = ApiKey { digest: [digest; 32], ..key(id, None, KeyKind::FrontEnd) };
            assert_eq!(store.create_key(taken).await.unwrap(), Committed::Exists);
        }
        assert!(store.create_key(key(4, Some("nobody"), KeyKind::BackEnd)).await.is_err());
        assert_eq!(store.read().api_key(&[2; 32]).await.unwrap(), Some(every.clone()));
        assert_eq!(store.read().api_key(&[9; 32]).await.unwrap(), None);
        assert_eq!(
            store.api_keys(Some(&acme()), Page::first(9)).await.unwrap().rows,
            [own.clone(), every.clone()]
        );
        assert_eq!(store.api_keys(None, Page::first(9)).await.unwrap().rows, [own, every, others]);
    })
    .await;
}

#[tokio::test]
async fn a_device_is_found_by_its_serial_number_until_it_is_retired() {
    on_every_store(async |store| {
        populate(&store).await;
        let device = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        let serial = device.value.serial_number;
        let found = store.read().device_by_serial(&acme(), serial).await.unwrap();
        assert_eq!(found, Some(device.clone()));
        let next = SerialNumber { sequence: serial.sequence + 1, ..serial };
        let other = SerialNumber { base: SerialBase(serial.base.0 + 1), ..serial };
        for none in [next, other] {
            assert_eq!(store.read().device_by_serial(&acme(), none).await.unwrap(), None);
        }
        let retired = device.value.with_status(DeviceStatus::Retired).unwrap();
        let changed = store.change_device(retired, device.version).await.unwrap();
        assert_eq!(changed, Committed::Written);
        assert_eq!(store.read().device_by_serial(&acme(), serial).await.unwrap(), None);
    })
    .await;
}
