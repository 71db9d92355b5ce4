//! Snapshots: each query finds its subject and the parts that were asked for, all at one moment.

use countersign_core::device::PinDigest;
use countersign_core::id::{IdentityId, TransactionId, UserName};
use countersign_core::port::{
    Change, Committed, Handle, Ledger as _, Part, Query, QuerySubject, Snapshot,
};
use countersign_core::secret::Key32;
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{commit, device_id, populate, spec, waiting};

async fn read(store: &Store, subject: QuerySubject<'_>, parts: &[Part<'_>]) -> Snapshot {
    store.snapshot(&"acme".parse().unwrap(), Query { subject, parts }).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_has_the_parts_that_were_asked_for_and_no_others() {
    on_every_store(async |store| {
        populate(&store).await;
        store.step(commit(waiting(spec(1)), None)).await.unwrap();
        let acme = "acme".parse().unwrap();
        let reached = vec![TransactionId(1)];
        store.note_reached(&acme, device_id(1), reached, Timestamp(5)).await.unwrap();
        let jane: UserName = "jane".parse().unwrap();
        let (known, unknown) = (Handle::Id(TransactionId(1)), Handle::Id(TransactionId(2)));
        let parts = [
            Part::Tenant,
            Part::User,
            Part::Devices,
            Part::Open,
            Part::Activations(Timestamp(0)),
            Part::Transaction(&known),
            Part::Contacts,
        ];
        let serial = read(&store, QuerySubject::Device(device_id(1)), &[]).await;
        let serial = serial.device.unwrap().value.serial_number;
        for subject in [
            QuerySubject::User(&jane),
            QuerySubject::Device(device_id(1)),
            QuerySubject::Serial(serial),
            QuerySubject::Identity(IdentityId(1)),
            QuerySubject::Transaction(&known),
        ] {
            let found = read(&store, subject, &parts).await;
            assert_eq!(found.tenant.unwrap().name, acme, "{subject:?}");
            assert_eq!(found.user.unwrap().value.name, jane, "{subject:?}");
            let counts = (
                found.devices.len(),
                found.open.len(),
                found.activations.len(),
                found.contacts.len(),
            );
            assert_eq!(counts, (1, 1, 1, 1), "{subject:?}");
            assert_eq!(found.transaction.unwrap().value.spec.id, TransactionId(1), "{subject:?}");

            let alone = read(&store, subject, &[]).await;
            assert!(alone.tenant.is_none() && alone.devices.is_empty() && alone.open.is_empty());
            assert!(alone.activations.is_empty() && alone.contacts.is_empty());
        }
        let nobody: UserName = "nobody".parse().unwrap();
        for subject in [QuerySubject::User(&nobody), QuerySubject::Transaction(&unknown)] {
            let found = read(&store, subject, &parts).await;
            assert!(found.user.is_none() || found.transaction.is_some(), "{subject:?}");
            assert!(found.tenant.is_some(), "a part that depends on no row is read: {subject:?}");
        }
        let found = read(&store, QuerySubject::Device(device_id(9)), &[Part::User]).await;
        assert!(found.device.is_none() && found.user.is_none());
    })
    .await;
}

/// Each commit of the test changes the user and the device together, so both have the same number
/// of versions at every moment.
#[tokio::test]
async fn the_rows_of_a_snapshot_are_from_one_moment() {
    on_every_store(async |store| {
        populate(&store).await;
        let (acme, jane): (_, UserName) = ("acme".parse().unwrap(), "jane".parse().unwrap());
        let first = read(&store, QuerySubject::Device(device_id(1)), &[Part::User]).await;
        let (device, user) = (first.device.unwrap(), first.user.unwrap());
        let ahead = user.version - device.version;
        let writer = tokio::spawn({
            let store = store.clone();
            async move {
                for round in 0..200 {
                    let mut changed = device.value.clone();
                    changed.pin =
                        Some(PinDigest { digest: Key32::copied(&[9; 32]), version: round + 1 });
                    let change = Change::ChangePin {
                        device: Box::new(changed),
                        expected: device.version + round,
                        user_expected: user.version + round,
                        lock_state: Some(LockState {
                            wrong_pins: round.try_into().unwrap(),
                            ..LockState::default()
                        }),
                    };
                    assert_eq!(store.change(&acme, change).await.unwrap(), Committed::Written);
                }
            }
        });
        let mut snapshots = 0;
        while !writer.is_finished() {
            for (subject, parts) in [
                (QuerySubject::Device(device_id(1)), &[Part::User] as &[_]),
                (QuerySubject::Identity(IdentityId(1)), &[Part::User]),
                (QuerySubject::User(&jane), &[Part::Devices]),
                (QuerySubject::User(&jane), &[Part::Open, Part::Devices]),
            ] {
                let found = read(&store, subject, parts).await;
                let device = found.device.as_ref().or(found.devices.first()).unwrap();
                let versions = (found.user.unwrap().version, device.version);
                assert_eq!(versions.0, versions.1 + ahead, "{subject:?} {parts:?}");
                snapshots += 1;
            }
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
        assert!(snapshots > 0);
    })
    .await;
}
