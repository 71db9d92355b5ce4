//! The registry's contract.

use countersign_core::device::{Device, DeviceStatus, PinDigest};
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::id::{SerialBase, TenantName, UserId, UserName};
use countersign_core::limits::ACTIVATIONS_LISTED_MAX;
use countersign_core::port::{Committed, Ledger as _, Page, Versioned};
use countersign_core::push::Push;
use countersign_core::secret::Key32;
use countersign_core::tenant::Client;
use countersign_core::time::Timestamp;
use countersign_core::user::{Lock, LockState};

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    activation, client, create_activation, create_client, device, device_id, enrolment, new_tenant,
    populate, push, tenant,
};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn jane() -> UserName {
    "jane".parse().unwrap()
}

#[tokio::test]
async fn a_tenant_is_created_once_and_read_back() {
    on_every_store(async |store| {
        assert!(store.read().tenant(&acme()).await.unwrap().is_none());
        for name in ["beta", "acme"] {
            let new = new_tenant(&store, name).await;
            let keys = new.tenant.token_keys;
            assert_eq!(store.create_tenant(new).await.unwrap(), Committed::Written);
            let name = name.parse().unwrap();
            assert_eq!(store.read().tenant(&name).await.unwrap().unwrap().token_keys, keys);
        }
        let again = new_tenant(&store, "acme").await;
        assert_eq!(store.create_tenant(again).await.unwrap(), Committed::Exists);
        let read = store.read().tenant(&acme()).await.unwrap().unwrap();
        assert_eq!(read.authority_certificate, tenant("acme").authority_certificate);
        assert_eq!((read.roots, read.created_at), (tenant("acme").roots, Timestamp(1)));
        let names = store.tenants(Page::first(9)).await.unwrap().rows;
        assert_eq!(names, [acme(), "beta".parse().unwrap()]);
    })
    .await;
}

#[tokio::test]
async fn each_root_is_added_to_a_tenant_once() {
    on_every_store(async |store| {
        assert!(store.trust(&acme(), b"a root").await.is_err(), "there is no such tenant");
        populate(&store).await;
        assert_eq!(store.trust(&acme(), b"a root").await.unwrap(), Committed::Written);
        assert_eq!(store.trust(&acme(), b"a root").await.unwrap(), Committed::Exists);
        assert_eq!(store.trust(&acme(), b"another").await.unwrap(), Committed::Written);
        let mut roots = tenant("acme").roots;
        roots.extend([b"a root".to_vec(), b"another".to_vec()]);
        assert_eq!(store.read().tenant(&acme()).await.unwrap().unwrap().roots, roots);
        let beta = store.read().tenant(&"beta".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(beta.roots, tenant("beta").roots);
    })
    .await;
}

#[tokio::test]
async fn a_clients_id_and_name_are_each_unique_in_its_tenant() {
    on_every_store(async |store| {
        populate(&store).await;
        let make = async |c| create_client(&store, c).await.0.unwrap();
        assert_eq!(make(client("acme", "id1", "Bank")).await, Committed::Written);
        assert_eq!(make(client("acme", "id1", "Shop")).await, Committed::Exists);
        assert_eq!(make(client("acme", "id2", "Bank")).await, Committed::Exists);
        assert_eq!(make(client("acme", "id2", "Shop")).await, Committed::Written);
        assert_eq!(make(client("beta", "id1", "Bank")).await, Committed::Written);
        let read = store.read().client(&acme(), &"id1".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((read.version, read.value.name.as_str()), (1, "Bank"));
        assert_eq!(read.value.secret.digest, [3; 32]);
        assert!(store.read().client(&acme(), &"id3".parse().unwrap()).await.unwrap().is_none());
        assert_eq!(make(client("beta", "id4", "Mill")).await, Committed::Written);
        for (id, tenant) in [("id2", Some("acme")), ("id4", Some("beta")), ("id3", None)] {
            let found = store.read().client_by_id(&id.parse().unwrap()).await.unwrap();
            assert_eq!(found.as_ref().map(|found| found.tenant.as_str()), tenant, "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_clients_scopes_are_some_or_none_or_all() {
    on_every_store(async |store| {
        populate(&store).await;
        for (id, scopes) in [
            ("a", None),
            ("b", Some(vec![])),
            ("c", Some(vec!["read".to_owned(), "é\"".to_owned()])),
        ] {
            let made = Client { scopes: scopes.clone(), ..client("acme", id, id) };
            let made = create_client(&store, made).await.0;
            assert_eq!(made.unwrap(), Committed::Written);
            let read = store.read().client(&acme(), &id.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(read.value.scopes, scopes);
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_tenant_gets_no_clients_users_or_activations() {
    on_every_store(async |store| {
        assert!(create_client(&store, client("acme", "id1", "Bank")).await.0.is_err());
        assert!(store.create_user(&acme(), &jane(), None, Timestamp(1)).await.is_err());
        assert!(store.create_activation(activation("acme", "jane", 1), 0).await.is_err());
        assert!(store.read().user(&acme(), &jane()).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn each_user_has_their_own_serial_base_and_begins_unlocked() {
    on_every_store(async |store| {
        populate(&store).await;
        let again = store.create_user(&acme(), &jane(), None, Timestamp(10)).await.unwrap();
        assert_eq!(again, Committed::Exists);
        let joe = store.read().user(&acme(), &"joe".parse().unwrap()).await.unwrap().unwrap();
        let jane = store.read().user(&acme(), &jane()).await.unwrap().unwrap();
        assert_eq!((jane.value.serial_base, joe.value.serial_base), (SerialBase(1), SerialBase(2)));
        assert_eq!((joe.version, joe.value.devices_made), (1, 0));
        assert_eq!(jane.value.id, UserId::drawn(9), "the second call changed nothing");
        assert_eq!(
            (joe.value.lock_state, joe.value.created_at),
            (LockState::default(), Timestamp(9))
        );
    })
    .await;
}

#[tokio::test]
async fn a_lock_state_is_changed_only_at_the_version_that_was_read() {
    on_every_store(async |store| {
        populate(&store).await;
        let locks =
            [Lock::Until(Timestamp(77)), Lock::ReportedByUser, Lock::Administrator, Lock::Open];
        for (version, lock) in (2..).zip(locks) {
            let lock_state = LockState {
                wrong_pins: 1,
                wrong_codes: 2,
                pin_locks_in_a_row: u16::MAX,
                code_locks_in_a_row: 3,
                lock,
            };
            let set = async |expected| {
                store.set_lock_state(&acme(), &jane(), expected, lock_state).await.unwrap()
            };
            assert_eq!(set(version - 1).await, Committed::Stale);
            assert_eq!(set(version).await, Committed::Written);
            let read = store.read().user(&acme(), &jane()).await.unwrap().unwrap();
            assert_eq!((read.version, read.value.lock_state), (version + 1, lock_state));
        }
        let nobody = "nobody".parse().unwrap();
        let set = store.set_lock_state(&acme(), &nobody, 1, LockState::default()).await.unwrap();
        assert_eq!(set, Committed::Stale);
    })
    .await;
}

#[tokio::test]
async fn an_activation_enrols_one_device_if_both_versions_are_unchanged() {
    on_every_store(async |store| {
        populate(&store).await;
        let code = activation("acme", "joe", 2);
        create_activation(&store, code.clone()).await;
        let phone = device("acme", "joe", 2, 1);
        let enrol = async |expected, user| {
            let enrolment = enrolment(code.clone(), phone.clone(), user);
            let enrolment = countersign_core::enrolment::Enrolment { expected, ..enrolment };
            store.enrol(enrolment).await.unwrap()
        };
        assert_eq!(enrol(2, 1).await, Committed::Stale);
        assert_eq!(enrol(1, 2).await, Committed::Stale);
        assert!(store.read().device(&acme(), device_id(2)).await.unwrap().is_none());
        assert_eq!(enrol(1, 1).await, Committed::Written);
        assert_eq!(enrol(1, 1).await, Committed::Stale);
        assert_eq!(enrol(2, 2).await, Committed::Stale, "a device with that id exists");

        let read = store.read().device(&acme(), device_id(2)).await.unwrap().unwrap();
        assert_eq!(read, Versioned { value: phone.clone(), version: 1 });
        let joe = "joe".parse().unwrap();
        let user = store.read().user(&acme(), &joe).await.unwrap().unwrap();
        assert_eq!((user.version, user.value.devices_made), (2, 1));
        let found = store.read().activations(&acme(), &joe, Timestamp(0)).await.unwrap().remove(0);
        let state = ActivationState::Used { request: [1; 32], answer: b"welcome".to_vec() };
        assert_eq!(found, Versioned { value: Activation { state, ..code.clone() }, version: 2 });
    })
    .await;
}

#[tokio::test]
async fn of_simultaneous_activations_decided_on_one_count_one_is_written() {
    on_every_store(async |store| {
        populate(&store).await;
        let joe: UserName = "joe".parse().unwrap();
        let before = store.read().user(&acme(), &joe).await.unwrap().unwrap();
        assert_eq!(before.value.activations_made, 0);
        let made: Vec<_> = (10..30)
            .map(|id| {
                let store = store.clone();
                tokio::spawn(async move {
                    store.create_activation(activation("acme", "joe", id), 0).await.unwrap()
                })
            })
            .collect();
        let mut written = 0;
        for made in made {
            written += usize::from(made.await.unwrap() == Committed::Written);
        }
        assert_eq!(written, 1);
        let listed = store.read().activations(&acme(), &joe, Timestamp(0)).await.unwrap();
        assert_eq!(listed.len(), 1);

        // An id that exists, a count that is not the user's, and an unknown user.
        let create = async |user, id, expected| {
            store.create_activation(activation("acme", user, id), expected).await.unwrap()
        };
        assert_eq!(create("joe", listed[0].value.id, 1).await, Committed::Stale);
        assert_eq!(create("joe", 30, 2).await, Committed::Stale);
        assert_eq!(create("nobody", 30, 0).await, Committed::Stale);
        assert_eq!(create("joe", 30, 1).await, Committed::Written);
        let after = store.read().user(&acme(), &joe).await.unwrap().unwrap();
        assert_eq!((after.version, after.value.activations_made), (before.version, 2));
    })
    .await;
}

#[tokio::test]
async fn a_device_out_of_sequence_is_a_fault_and_leaves_its_code_unused() {
    on_every_store(async |store| {
        populate(&store).await;
        let code = activation("acme", "joe", 2);
        create_activation(&store, code.clone()).await;
        assert!(store.enrol(enrolment(code, device("acme", "joe", 2, 7), 1)).await.is_err());
        let joe = "joe".parse().unwrap();
        let codes = store.read().activations(&acme(), &joe, Timestamp(0)).await.unwrap();
        assert_eq!((codes[0].version, &codes[0].value.state), (1, &ActivationState::Open));
        assert!(store.read().device(&acme(), device_id(2)).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn activations_are_listed_newest_first_without_expired_ones_and_up_to_a_maximum() {
    on_every_store(async |store| {
        populate(&store).await;
        let joe: UserName = "joe".parse().unwrap();
        for id in 10..50 {
            let not_after = Timestamp(if id == 49 { 500 } else { 1_000 });
            let code = Activation { not_after, secret: id == 48, ..activation("acme", "joe", id) };
            create_activation(&store, code).await;
        }
        let ids = async |now| {
            let found = store.read().activations(&acme(), &joe, Timestamp(now)).await.unwrap();
            found.into_iter().map(|a| a.value.id).collect::<Vec<_>>()
        };
        let bound = ACTIVATIONS_LISTED_MAX;
        assert_eq!(ids(499).await, (10..50).rev().take(bound).collect::<Vec<_>>());
        assert_eq!(ids(500).await, (10..49).rev().take(bound).collect::<Vec<_>>());
        assert_eq!(ids(1_000).await, []);
        let found = store.read().activations(&acme(), &joe, Timestamp(500)).await.unwrap();
        assert_eq!(found.iter().map(|a| a.value.secret).collect::<Vec<_>>()[..2], [true, false]);
    })
    .await;
}

#[tokio::test]
async fn a_pin_changes_together_with_its_users_lock_state_or_not_at_all() {
    on_every_store(async |store| {
        populate(&store).await;
        let jane: UserName = "jane".parse().unwrap();
        let digest = Key32::copied(&[42; 32]);
        let pin = Some(PinDigest { digest, version: 2 });
        let changed = Device { pin: pin.clone(), ..device("acme", "jane", 1, 1) };
        let wrong = LockState { wrong_pins: 3, ..LockState::default() };
        let before = store.read().user(&acme(), &jane).await.unwrap();
        for (expected, user_expected) in [(2, 2), (1, 1), (1, 3)] {
            let answer =
                store.change_pin(changed.clone(), expected, user_expected, Some(wrong)).await;
            assert_eq!(answer.unwrap(), Committed::Stale);
        }
        assert_eq!(store.read().user(&acme(), &jane).await.unwrap(), before);
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        assert_eq!(read.version, 1);

        let answer = store.change_pin(changed.clone(), 1, 2, Some(wrong)).await;
        assert_eq!(answer.unwrap(), Committed::Written);
        let answer = store.change_pin(changed, 2, 3, None).await;
        assert_eq!(answer.unwrap(), Committed::Written);
        let user = store.read().user(&acme(), &jane).await.unwrap().unwrap();
        assert_eq!((user.version, user.value.lock_state), (3, wrong));
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        assert_eq!((read.version, read.value.pin), (3, pin));
    })
    .await;
}

#[tokio::test]
async fn only_the_mutable_fields_of_a_device_change_and_only_at_the_version_that_was_read() {
    on_every_store(async |store| {
        populate(&store).await;
        let mut changed = device("acme", "jane", 1, 1);
        changed.status = DeviceStatus::Locked;
        changed.pin = Some(PinDigest { digest: Key32::copied(&[42; 32]), version: 2 });
        changed.push = push("https://push.example/other");
        changed.identities[0].enabled = false;
        assert_eq!(store.change_device(changed.clone(), 2).await.unwrap(), Committed::Stale);
        assert_eq!(store.change_device(changed.clone(), 1).await.unwrap(), Committed::Written);
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
        assert_eq!(read, Versioned { value: changed.clone(), version: 2 });

        (changed.pin, changed.push, changed.identities) = (None, Push::None, Vec::new());
        changed.about.name = "not among what may change".into();
        assert_eq!(store.change_device(changed, 2).await.unwrap(), Committed::Written);
        let read = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap().value;
        assert_eq!((read.pin, read.push, read.identities), (None, Push::None, Vec::new()));
        assert_eq!(read.about.name, "Jane's");
        let unknown = device("acme", "jane", 404, 1);
        assert_eq!(store.change_device(unknown, 1).await.unwrap(), Committed::Stale);
    })
    .await;
}

#[tokio::test]
async fn devices_are_listed_by_user_and_sequence_without_the_retired() {
    on_every_store(async |store| {
        populate(&store).await;
        let enrolled = [("joe", 9, 1, 1), ("jane", 4, 2, 2), ("jane", 3, 3, 3)];
        for (user, number, sequence, version) in enrolled {
            let code = activation("acme", user, u128::from(number));
            create_activation(&store, code.clone()).await;
            let enrolment = enrolment(code, device("acme", user, number, sequence), version);
            assert_eq!(store.enrol(enrolment).await.unwrap(), Committed::Written);
        }
        let mut retired = device("acme", "jane", 4, 2);
        retired.status = DeviceStatus::Retired;
        store.change_device(retired, 1).await.unwrap();

        let ids = async |user: Option<&UserName>| {
            let found = store.devices(&acme(), user.into(), Page::first(99)).await.unwrap().rows;
            found.into_iter().map(|d| d.value.id.number()).collect::<Vec<_>>()
        };
        assert_eq!(ids(None).await, [1, 3, 9]);
        assert_eq!(ids(Some(&jane())).await, [1, 3]);
        let read = store.read().device(&acme(), device_id(4)).await.unwrap().unwrap();
        assert_eq!(read.value.status, DeviceStatus::Retired);
    })
    .await;
}
