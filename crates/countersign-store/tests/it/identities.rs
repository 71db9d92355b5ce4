//! Identities are found by id and by labels, in every store, and also after changes of the device,
//! its user or the file.

use countersign_core::device::{Device, DeviceStatus, Identity, Usage};
use countersign_core::enrolment::{Addition, IdentityKey};
use countersign_core::id::{DeviceId, IdentityId, TenantName};
use countersign_core::port::{Committed, DeviceFilter, Ledger as _, Page, UserWithDevices};
use countersign_core::time::Timestamp;
use countersign_core::user::{Lock, LockState};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    activation, create_activation, device, device_id, enrolment, identity_key, populate,
};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn identity(id: u128, labels: &[&str]) -> Identity {
    Identity {
        id: IdentityId(id),
        usage: Usage::Content,
        certificate: vec![1],
        chain: Vec::new(),
        valid_until: Timestamp(1_000_000),
        imported: false,
        renewal: None,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        proposed_labels: vec!["proposed".to_owned()],
        enabled: true,
        status_reason: String::new(),
    }
}

/// Enrols a device of joe at acme with these identities; `nth` is the device's sequence number.
async fn enrol(store: &Store, number: u64, nth: u32, identities: Vec<Identity>) {
    let code = activation("acme", "joe", u128::from(number) + 100);
    create_activation(store, code.clone()).await;
    let device = Device { identities, ..device("acme", "joe", number, nth) };
    assert_eq!(store.enrol(enrolment(code, device, nth)).await.unwrap(), Committed::Written);
}

async fn labelled(store: &Store, labels: &[&str], limit: u16) -> Vec<DeviceId> {
    let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
    let found = store
        .devices(&acme(), DeviceFilter::Labels(&labels), Page::first(limit))
        .await
        .unwrap()
        .rows;
    found.into_iter().map(|found| found.value.id).collect()
}

async fn holder(store: &Store, id: u128) -> Option<DeviceId> {
    let found = store.read().device_by_identity(&acme(), IdentityId(id)).await.unwrap();
    let found = found.map(|found| found.value.id);
    // The holder is found with the device.
    let holder = store.read().holder(&acme(), IdentityId(id)).await.unwrap();
    let held = holder.as_ref().and_then(|holder| holder.identity(IdentityId(id)));
    assert_eq!(held.map(|(device, _)| device.id), found);
    if let Some(UserWithDevices { user, devices }) = holder {
        assert_eq!(store.read().user(&acme(), &user.value.name).await.unwrap(), Some(user));
        let device = store.read().device(&acme(), found.unwrap()).await.unwrap();
        assert_eq!(devices, [device.unwrap()]);
    }
    found
}

async fn change(store: &Store, number: u64, change: impl FnOnce(&mut Device)) {
    let found = store.read().device(&acme(), device_id(number)).await.unwrap().unwrap();
    let mut device = found.value;
    change(&mut device);
    let changed = store.change_device(device, found.version).await.unwrap();
    assert_eq!(changed, Committed::Written);
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
        assert_eq!(store.read().device_by_identity(&beta, IdentityId(8)).await.unwrap(), None);
        assert!(store.read().holder(&beta, IdentityId(8)).await.unwrap().is_none());

        let (one, two) = (device_id(21), device_id(22));
        assert_eq!(labelled(&store, &["größer"], 9).await, [device_id(1)]);
        assert_eq!(labelled(&store, &["work"], 9).await, [one, two], "a device comes once");
        assert_eq!(labelled(&store, &["work"], 1).await, [one]);
        assert_eq!(labelled(&store, &["home", "work"], 9).await, [two], "one identity has all");
        assert_eq!(labelled(&store, &["work", "work"], 9).await, [one, two]);
        assert_eq!(labelled(&store, &["sign", "home"], 9).await, []);
        assert_eq!(labelled(&store, &["wor"], 9).await, []);
        assert_eq!(labelled(&store, &[], 9).await, []);
        let found = store
            .devices(&beta, DeviceFilter::Labels(&["work".into()]), Page::first(9))
            .await
            .unwrap()
            .rows;
        assert_eq!(found, []);
    })
    .await;
}

#[tokio::test]
async fn an_identity_that_was_removed_from_its_device_is_not_found() {
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
        assert_eq!(store.delete_user(&acme(), &jane, 2).await.unwrap(), Committed::Written);
        assert_eq!(holder(&store, 1).await, None);
        assert_eq!(labelled(&store, &["private"], 9).await, []);
    })
    .await;
}

#[tokio::test]
async fn the_reason_for_disabling_an_identity_is_stored() {
    on_every_store(async |store| {
        populate(&store).await;
        let disable = |device: &mut Device| {
            device.identities[0].enabled = false;
            device.identities[0].status_reason = "lost \"for good\"".into();
        };
        change(&store, 1, disable).await;
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap().value;
        assert!(!read.identities[0].enabled);
        assert_eq!(read.identities[0].status_reason, "lost \"for good\"");
    })
    .await;
}

/// Adds the identity of that id, with its key, to a device that was just read.
async fn add(store: &Store, number: u64, id: u128, key: u128) -> Committed {
    let found = store.read().device(&acme(), device_id(number)).await.unwrap().unwrap();
    let user = store.read().user(&acme(), &found.value.user).await.unwrap();
    let user_expected = user.map_or(0, |user| user.version);
    let addition = addition(found.value, found.version, user_expected, id, key);
    store.add_identity(addition).await.unwrap()
}

fn addition(
    mut device: Device,
    expected: u32,
    user_expected: u32,
    id: u128,
    key: u128,
) -> Addition {
    device.identities.push(identity(id, &[]));
    let key = IdentityKey { identity: IdentityId(id), ..identity_key(key) };
    Addition { device, expected, user_expected, key }
}

#[tokio::test]
async fn an_identity_is_added_only_if_its_device_and_its_user_are_unchanged() {
    on_every_store(async |store| {
        populate(&store).await;
        let jane = "jane".parse().unwrap();
        let phone = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        let user = store.read().user(&acme(), &jane).await.unwrap().unwrap();
        // The user is locked after both were read, and the lock is acknowledged.
        let lock_state = LockState { lock: Lock::Administrator, ..LockState::default() };
        let locked = store.set_lock_state(&acme(), &jane, user.version, lock_state).await.unwrap();
        assert_eq!(locked, Committed::Written);
        let late = addition(phone.value.clone(), phone.version, user.version, 7, 7);
        assert_eq!(store.add_identity(late).await.unwrap(), Committed::Stale);
        assert_eq!(holder(&store, 7).await, None);

        let stale = addition(phone.value.clone(), phone.version + 1, user.version + 1, 7, 7);
        assert_eq!(store.add_identity(stale).await.unwrap(), Committed::Stale);
        let fit = addition(phone.value.clone(), phone.version, user.version + 1, 7, 7);
        assert_eq!(store.add_identity(fit).await.unwrap(), Committed::Written);
        assert_eq!(holder(&store, 7).await, Some(device_id(1)));
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        assert_eq!((read.version, read.value.identities.len()), (phone.version + 1, 2));

        let mut unfit = addition(read.value, read.version, user.version + 1, 8, 8);
        unfit.key.identity = IdentityId(9);
        assert!(store.add_identity(unfit).await.is_err(), "the key is another identity's");
    })
    .await;
}

#[tokio::test]
async fn a_key_belongs_to_one_identity_even_after_the_identity_is_removed() {
    on_every_store(async |store| {
        populate(&store).await; // Jane's device 1 holds identity 1 with key 1.
        enrol(&store, 21, 1, vec![identity(7, &[]), identity(8, &[])]).await;
        assert_eq!(add(&store, 21, 9, 1).await, Committed::KeyUsed, "jane's");
        assert_eq!(add(&store, 21, 9, 7).await, Committed::KeyUsed, "the device's own");

        change(&store, 21, |device| drop(device.identities.remove(0))).await;
        assert_eq!(add(&store, 21, 9, 7).await, Committed::KeyUsed, "a deleted identity's");
        change(&store, 1, |device| device.status = DeviceStatus::Retired).await;
        assert_eq!(add(&store, 21, 9, 1).await, Committed::KeyUsed, "a retired device's");
        let jane = "jane".parse().unwrap();
        let deleted = store.delete_user(&acme(), &jane, 2).await.unwrap();
        assert_eq!(deleted, Committed::Written);
        assert_eq!(add(&store, 21, 9, 1).await, Committed::KeyUsed, "a deleted user's");
        assert_eq!(add(&store, 21, 9, 9).await, Committed::Written);

        // Another tenant may have an identity with the same key.
        let read =
            store.read().device(&"beta".parse().unwrap(), device_id(1)).await.unwrap().unwrap();
        let others = addition(read.value, 1, 2, 7, 7);
        assert_eq!(store.add_identity(others).await.unwrap(), Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn an_enrolment_with_a_used_key_or_serial_number_writes_nothing() {
    on_every_store(async |store| {
        populate(&store).await;
        let code = activation("acme", "joe", 121);
        create_activation(&store, code.clone()).await;
        let identities = vec![identity(7, &[]), identity(8, &[])];
        let phone = Device { identities, ..device("acme", "joe", 21, 1) };
        let with = |key: usize, change: fn(&mut IdentityKey)| {
            let mut enrolment = enrolment(code.clone(), phone.clone(), 1);
            change(&mut enrolment.keys[key]);
            enrolment
        };
        let of_jane = identity_key(1);
        assert_eq!(of_jane.certificate_serial, Some(1));
        for (enrolment, answer) in [
            (with(1, |key| key.key_digest = identity_key(1).key_digest), Committed::KeyUsed),
            (with(1, |key| key.key_digest = identity_key(7).key_digest), Committed::KeyUsed),
            (with(0, |key| key.certificate_serial = Some(1)), Committed::SerialUsed),
            (with(1, |key| key.certificate_serial = Some(7)), Committed::SerialUsed),
        ] {
            assert_eq!(store.enrol(enrolment).await.unwrap(), answer);
            assert!(store.read().device(&acme(), device_id(21)).await.unwrap().is_none());
        }
        let mut unfit = with(0, |_| {});
        unfit.keys.pop();
        assert!(store.enrol(unfit).await.is_err(), "an identity without its key");
        assert_eq!(store.enrol(with(0, |_| {})).await.unwrap(), Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn a_proposed_label_finds_no_identity() {
    on_every_store(async |store| {
        populate(&store).await;
        enrol(&store, 21, 1, vec![identity(7, &["work"])]).await;
        let read = store.read().device(&acme(), device_id(21)).await.unwrap().unwrap();
        assert_eq!(read.value.identities[0].proposed_labels, ["proposed"]);
        assert_eq!(labelled(&store, &["proposed"], 9).await, []);
        assert_eq!(labelled(&store, &["work"], 9).await, [device_id(21)]);
    })
    .await;
}
