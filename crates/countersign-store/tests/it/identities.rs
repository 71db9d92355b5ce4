//! Identities are found by id and by labels, on every store; and after a device, its user or the file
//! has changed.

use countersign_core::device::{Device, DeviceStatus, Identity, Purpose};
use countersign_core::id::{DeviceId, IdentityId, TenantName};
use countersign_core::port::{Changed, Household, Registry};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::{activation, device, device_id, enrolment, invite, populate};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn identity(id: u128, labels: &[&str]) -> Identity {
    Identity {
        id: IdentityId(id),
        purpose: Purpose::Content,
        certificate: vec![1],
        chain: Vec::new(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        enabled: true,
        status_reason: String::new(),
    }
}

/// Enrols a device of joe's at acme with these identities; the `nth` is the device's sequence number.
async fn enrol(store: &Store, number: u64, nth: u32, identities: Vec<Identity>) {
    let code = activation("acme", "joe", u128::from(number) + 100);
    invite(store, code.clone()).await;
    let device = Device { identities, ..device("acme", "joe", number, nth) };
    assert_eq!(store.enrol(enrolment(code, device, nth)).await.unwrap(), Changed::Written);
}

async fn labelled(store: &Store, labels: &[&str], limit: u16) -> Vec<DeviceId> {
    let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
    let found = store.devices_by_labels(&acme(), &labels, limit).await.unwrap();
    found.into_iter().map(|found| found.value.id).collect()
}

async fn holder(store: &Store, id: u128) -> Option<DeviceId> {
    let found = store.device_by_identity(&acme(), IdentityId(id)).await.unwrap();
    let found = found.map(|found| found.value.id);
    // Whoever holds it is found with it.
    let holder = store.holder(&acme(), IdentityId(id)).await.unwrap();
    let held = holder.as_ref().and_then(|holder| holder.identity(IdentityId(id)));
    assert_eq!(held.map(|(device, _)| device.id), found);
    if let Some(Household { user, devices }) = holder {
        assert_eq!(store.user(&acme(), &user.value.name).await.unwrap(), Some(user));
        let device = store.device(&acme(), found.unwrap()).await.unwrap();
        assert_eq!(devices, [device.unwrap()]);
    }
    found
}

async fn change(store: &Store, number: u64, change: impl FnOnce(&mut Device)) {
    let found = store.device(&acme(), device_id(number)).await.unwrap().unwrap();
    let mut device = found.value;
    change(&mut device);
    let changed = store.change_device(device, found.version).await.unwrap();
    assert_eq!(changed, Changed::Written);
}

#[tokio::test]
async fn an_identity_is_found_by_its_id_and_by_labels_that_it_has_all_of() {
    on_every_store(async |store| {
        populate(&store).await; // Jane's device 1 holds identity 1, labelled private and größer.
        enrol(&store, 21, 1, vec![identity(7, &["work", "sign"]), identity(8, &["home"])]).await;
        enrol(&store, 22, 2, vec![identity(9, &["work"]), identity(10, &["work", "home"])]).await;
        assert_eq!(holder(&store, 1).await, Some(device_id(1)));
        assert_eq!(holder(&store, 8).await, Some(device_id(21)));
        assert_eq!(holder(&store, 99).await, None);
        let beta: TenantName = "beta".parse().unwrap();
        assert_eq!(store.device_by_identity(&beta, IdentityId(8)).await.unwrap(), None);
        assert!(store.holder(&beta, IdentityId(8)).await.unwrap().is_none());

        let (one, two) = (device_id(21), device_id(22));
        assert_eq!(labelled(&store, &["größer"], 9).await, [device_id(1)]);
        assert_eq!(labelled(&store, &["work"], 9).await, [one, two], "a device comes once");
        assert_eq!(labelled(&store, &["work"], 1).await, [one]);
        assert_eq!(labelled(&store, &["home", "work"], 9).await, [two], "one identity has all");
        assert_eq!(labelled(&store, &["work", "work"], 9).await, [one, two]);
        assert_eq!(labelled(&store, &["sign", "home"], 9).await, []);
        assert_eq!(labelled(&store, &["wor"], 9).await, []);
        assert_eq!(labelled(&store, &[], 9).await, []);
        let found = store.devices_by_labels(&beta, &["work".into()], 9).await.unwrap();
        assert_eq!(found, []);
    })
    .await;
}

#[tokio::test]
async fn what_a_device_no_longer_holds_is_found_no_more() {
    on_every_store(async |store| {
        populate(&store).await;
        enrol(&store, 21, 1, vec![identity(7, &["work"]), identity(8, &["home"])]).await;
        change(&store, 21, |device| device.identities[0].labels = vec!["new".into()]).await;
        assert_eq!(labelled(&store, &["work"], 9).await, []);
        assert_eq!(labelled(&store, &["new"], 9).await, [device_id(21)]);
        change(&store, 21, |device| drop(device.identities.remove(1))).await;
        assert_eq!((holder(&store, 7).await, holder(&store, 8).await), (Some(device_id(21)), None));
        assert_eq!(labelled(&store, &["home"], 9).await, []);
        change(&store, 21, |device| device.status = DeviceStatus::Locked).await;
        assert_eq!(holder(&store, 7).await, Some(device_id(21)), "a lock hides nothing");
        change(&store, 21, |device| device.status = DeviceStatus::Retired).await;
        assert_eq!(holder(&store, 7).await, None);
        assert_eq!(labelled(&store, &["new"], 9).await, []);

        let jane = "jane".parse().unwrap();
        assert_eq!(store.delete_user(&acme(), &jane, 2).await.unwrap(), Changed::Written);
        assert_eq!(holder(&store, 1).await, None);
        assert_eq!(labelled(&store, &["private"], 9).await, []);
    })
    .await;
}

#[tokio::test]
async fn why_an_identity_is_disabled_is_kept() {
    on_every_store(async |store| {
        populate(&store).await;
        let disable = |device: &mut Device| {
            device.identities[0].enabled = false;
            device.identities[0].status_reason = "lost \"for good\"".into();
        };
        change(&store, 1, disable).await;
        let read = store.device(&acme(), device_id(1)).await.unwrap().unwrap().value;
        assert!(!read.identities[0].enabled);
        assert_eq!(read.identities[0].status_reason, "lost \"for good\"");
    })
    .await;
}
