//! The contract of certificates that end: renewals, counts of ends, and authorities.

use countersign_core::device::{DeviceStatus, Renewed};
use countersign_core::enrolment::{IdentityKey, Renewal};
use countersign_core::id::{IdentityId, TenantName};
use countersign_core::port::{
    CertificateEnds, Change, Commit, Committed, Keys as _, Ledger as _, Signer as _, SigningRole,
};
use countersign_core::time::Timestamp;
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{device_id, identity_key, new_tenant, populate};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// A renewal of the identity of jane's device 1, for this key and with this serial number.
async fn renewal(store: &Store, key: u128, serial: u128) -> Renewal {
    let found = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
    let user = store.read().user(&acme(), &found.value.user).await.unwrap().unwrap();
    let mut device = found.value;
    let identity = &mut device.identities[0];
    identity.certificate = vec![serial as u8];
    identity.valid_until = Timestamp(9_000_000);
    identity.renewal =
        Some(Box::new(Renewed { request: [1; 32], certificate: vec![6], chain: vec![vec![8]] }));
    let key = IdentityKey {
        identity: identity.id,
        certificate_serial: Some(serial),
        ..identity_key(key)
    };
    Renewal { device, expected: found.version, user_expected: user.version, key }
}

#[tokio::test]
async fn a_renewal_keeps_the_key_or_brings_a_new_one_and_both_stay_the_identitys() {
    on_every_store(async |store| {
        populate(&store).await; // Jane's device 1 holds identity 1 with key 1 and serial number 1.
        let same = renewal(&store, 1, 50).await;
        assert_eq!(store.renew_identity(same.clone()).await.unwrap(), Committed::Written);
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap().value;
        assert_eq!(read.identities, same.device.identities);
        assert_eq!(store.renew_identity(same).await.unwrap(), Committed::Stale, "once");

        let used = renewal(&store, 1, 50).await;
        assert_eq!(store.renew_identity(used).await.unwrap(), Committed::SerialUsed);
        let new = renewal(&store, 77, 51).await;
        assert_eq!(store.renew_identity(new).await.unwrap(), Committed::Written);
        let back = renewal(&store, 1, 52).await;
        assert_eq!(store.renew_identity(back).await.unwrap(), Committed::Written);

        let mut others = renewal(&store, 77, 53).await;
        others.key.identity = IdentityId(7);
        assert!(store.renew_identity(others).await.is_err(), "the device has no such identity");
    })
    .await;
}

#[tokio::test]
async fn a_renewal_with_another_identitys_key_or_on_changed_rows_writes_nothing() {
    on_every_store(async |store| {
        populate(&store).await;
        let found = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        let jane = found.value.user.clone();
        let mut stale = renewal(&store, 1, 50).await;
        stale.user_expected += 1;
        assert_eq!(store.renew_identity(stale).await.unwrap(), Committed::Stale);
        let mut stale = renewal(&store, 1, 50).await;
        stale.expected += 1;
        assert_eq!(store.renew_identity(stale).await.unwrap(), Committed::Stale);

        // Identity 1 gets key 77; whoever then adds an identity with it is refused.
        let new = renewal(&store, 77, 51).await;
        assert_eq!(store.renew_identity(new).await.unwrap(), Committed::Written);
        let user = store.read().user(&acme(), &jane).await.unwrap().unwrap();
        let mut device = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        let mut second = device.value.identities[0].clone();
        second.id = IdentityId(99);
        device.value.identities.push(second);
        let key = IdentityKey { identity: IdentityId(99), ..identity_key(77) };
        let addition = countersign_core::enrolment::Addition {
            device: device.value,
            expected: device.version,
            user_expected: user.version,
            key,
        };
        assert_eq!(store.add_identity(addition).await.unwrap(), Committed::KeyUsed);
    })
    .await;
}

#[tokio::test]
async fn ends_are_counted_for_enabled_identities_of_devices_that_are_not_retired() {
    on_every_store(async |store| {
        populate(&store).await;
        let ends = async |now, until| {
            store.certificate_ends(Timestamp(now), Timestamp(until)).await.unwrap()
        };
        // Each device of the world has one identity, until second 2,000.
        let all = ends(0, 2_000_000).await;
        let count = all.ending;
        assert!(count >= 2, "{all:?}");
        let first = Some(Timestamp(2_000_000));
        assert_eq!(all, CertificateEnds { ended: 0, ending: count, first });
        assert_eq!(ends(0, 1_999_999).await, CertificateEnds { ended: 0, ending: 0, first });
        assert_eq!(ends(2_000_999, 3_000_000).await.ended, 0, "the last second is a whole one");
        let ended = CertificateEnds { ended: count, ending: 0, first: None };
        assert_eq!(ends(2_001_000, 3_000_000).await, ended);

        let change = async |status, enabled| {
            let found = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
            let mut device = found.value;
            device.status = status;
            device.identities[0].enabled = enabled;
            let changed = store.change_device(device, found.version).await.unwrap();
            assert_eq!(changed, Committed::Written);
        };
        change(DeviceStatus::Active, false).await;
        assert_eq!(ends(2_001_000, 3_000_000).await.ended, count - 1);
        change(DeviceStatus::Locked, true).await;
        assert_eq!(ends(2_001_000, 3_000_000).await.ended, count, "it will be unlocked");
        change(DeviceStatus::Retired, true).await;
        assert_eq!(ends(2_001_000, 3_000_000).await.ended, count - 1);
    })
    .await;
}

#[tokio::test]
async fn a_new_authority_stands_beside_the_old_one_until_that_is_taken_back() {
    on_every_store(async |store| {
        let commit =
            async |change| store.commit(Commit { change, events: Vec::new() }).await.unwrap();
        let read = async || store.read().tenant(&acme()).await.unwrap().unwrap();
        let keys = store.private_keys();
        commit(Change::CreateTenant(Box::new(new_tenant(&store, "acme").await))).await;
        let old = read().await;
        let (signer, key) = keys.generate(&acme(), SigningRole::Authority).await.unwrap();
        let replace = |expected: &[u8], certificate: u8| Change::ReplaceAuthority {
            tenant: acme(),
            expected: expected.to_vec(),
            certificate: vec![certificate],
            key: key.clone(),
        };
        let retire = |root: &[u8]| Change::DistrustRoot { tenant: acme(), root: root.to_vec() };
        let first = old.authority_certificate.clone();
        assert_eq!(commit(replace(b"other", 9)).await, Committed::Stale);
        assert_eq!(commit(retire(&first)).await, Committed::Stale, "it issues");
        assert_eq!(commit(replace(&first, 9)).await, Committed::Written);
        let new = read().await;
        assert_eq!(new.authority_certificate, [9]);
        assert_eq!(new.roots, [&old.roots[..], &[vec![9]]].concat());
        let prepared = keys.prepare(&acme(), SigningRole::Authority).await.unwrap();
        assert_eq!(prepared.public_key(), signer.public_key());

        assert_eq!(commit(retire(&[9])).await, Committed::Stale);
        assert_eq!(commit(retire(&first)).await, Committed::Written);
        assert_eq!(commit(retire(&first)).await, Committed::Stale);
        let roots = read().await.roots;
        assert!(!roots.contains(&first) && roots.contains(&vec![9]), "{roots:?}");
    })
    .await;
}
