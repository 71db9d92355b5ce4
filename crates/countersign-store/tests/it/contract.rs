//! Property test: any order of commits, locks and claims, applied to a simple model and to each
//! store, gives the same answers and the same contents.

use countersign_core::id::{RequestKey, TransactionId};
use countersign_core::port::{Due, EndSnapshot, Handle, Ledger, Page, Settle};
use countersign_core::time::Timestamp;
use countersign_core::transaction::End;
use countersign_store::Store;
use proptest::prelude::*;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::model::{Model, Operation, StoreCall};
use crate::world::Changes as _;
use crate::world::{device, device_id, populate};

/// A store under test.
struct Tested {
    store: Option<Store>,
    directory: Option<TempDir>,
    runtime: Runtime,
}

impl Tested {
    fn new(directory: Option<TempDir>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut tested = Self { store: Some(Store::memory()), directory, runtime };
        tested.reopen();
        tested.runtime.block_on(populate(tested.store.as_ref().unwrap()));
        tested
    }

    /// Reopens the file. A store in memory has no file.
    fn reopen(&mut self) {
        if let Some(directory) = &self.directory {
            self.store = None;
            self.store = Some(Store::sqlite(directory.path(), None).unwrap());
        }
    }

    fn does(&mut self, act: &StoreCall) -> String {
        if matches!(act, StoreCall::Reopen) {
            self.reopen();
        }
        let store = self.store.as_ref().unwrap();
        self.runtime.block_on(async {
            match act.clone() {
                StoreCall::Commit(commit) => format!("{:?}", store.step(*commit).await.unwrap()),
                StoreCall::Lock(tenant, user, expected, lock_state) => {
                    let set = store.set_lock_state(&tenant, &user, expected, lock_state).await;
                    format!("{:?}", set.unwrap())
                }
                StoreCall::Change(tenant, expected) => {
                    let device = device(tenant.as_str(), "jane", 1, 1);
                    format!("{:?}", store.change_device(device, expected).await.unwrap())
                }
                StoreCall::Claim(claim) => format!("{:?}", store.claim(*claim).await.unwrap()),
                StoreCall::Settle(settlement) => {
                    format!(
                        "{:?}",
                        store.settle(Settle::Claimed(settlement)).await.map(drop).unwrap()
                    )
                }
                StoreCall::Replay(tenant, which, now) => {
                    format!("{:?}", store.replay(&tenant, which, now).await.unwrap())
                }
                StoreCall::Reopen => String::new(),
            }
        })
    }

    /// Compares everything that can be read with the model.
    async fn agrees(store: &Store, model: &Model) {
        for (tenant, user) in model.users.keys() {
            let theirs: Vec<_> =
                model.transactions.iter().filter(|t| t.value.spec.tenant == *tenant).collect();
            let users: Vec<_> =
                theirs.iter().filter(|t| t.value.spec.user == *user).copied().collect();
            let open = users.iter().filter(|t| t.value.end().is_none());
            let open: Vec<_> = open.copied().cloned().collect();
            assert_eq!(store.read().open(tenant, user).await.unwrap(), open);
            let newest: Vec<_> = users.iter().rev().take(3).copied().cloned().collect();
            assert_eq!(
                store.transactions(tenant, Some(user), Page::first(3)).await.unwrap().rows,
                newest
            );
            let newest: Vec<_> = theirs.iter().rev().take(5).copied().cloned().collect();
            assert_eq!(
                store.transactions(tenant, None, Page::first(5)).await.unwrap().rows,
                newest
            );
            for number in 0..8 {
                let key = RequestKey::drawn(number);
                let with_key = || theirs.iter().rev().filter(|t| t.value.spec.request_key == key);
                let held = with_key().find(|t| t.value.end().is_none());
                let held = held.or_else(|| with_key().next()).copied().cloned();
                assert_eq!(
                    store.read().transaction(tenant, &Handle::Key(key)).await.unwrap(),
                    held
                );
            }
            let read = store.read().user(tenant, user).await.unwrap().unwrap();
            let expected = model.users[&(tenant.clone(), user.clone())];
            assert_eq!((read.version, read.value.lock_state), expected);
            let device = store.read().device(tenant, device_id(1)).await.unwrap().unwrap();
            assert_eq!(device.version, model.devices[tenant]);
            for dead_letters in [false, true] {
                let outbox =
                    store.deliveries(tenant, dead_letters, Page::first(1_000)).await.unwrap().rows;
                assert_eq!(outbox, model.outbox(tenant, dead_letters));
            }
        }
        for row in &model.transactions {
            let spec = &row.value.spec;
            let by_id = store.read().transaction(&spec.tenant, &Handle::Id(spec.id)).await.unwrap();
            assert_eq!(by_id.as_ref(), Some(row));
            let end_snapshot =
                store.read().end_snapshot(&spec.tenant, spec.id).await.unwrap().unwrap();
            match (end_snapshot, row.value.end()) {
                (EndSnapshot::Open { dialect, client }, None) => {
                    assert_eq!((dialect, client), (spec.dialect, spec.client.clone()));
                }
                (EndSnapshot::Ended { transaction, signer }, Some(end)) => {
                    assert_eq!(transaction, row.value);
                    let finished = matches!(end, End::Finished { .. });
                    let expected = end.by().filter(|_| finished);
                    assert_eq!(signer.map(|device| device.id), expected);
                }
                (end_snapshot, end) => panic!("{end_snapshot:?}, but {end:?}"),
            }
            if let Some(reference) = &spec.reference {
                let handle = Handle::Reference(spec.client.clone(), reference.name.clone());
                let named = store.read().transaction(&spec.tenant, &handle).await.unwrap();
                assert_eq!(named.as_ref(), Some(row));
            }
        }
        for now in [99, 120, 150, 180, 10_000] {
            let due = store.due(Timestamp(now), 1_000).await.unwrap();
            assert_eq!(due, due_in(model, now));
        }
        let unknown = Handle::Id(TransactionId(u128::MAX));
        assert_eq!(
            store.read().transaction(&"acme".parse().unwrap(), &unknown).await.unwrap(),
            None
        );
        for tenant in ["acme", "beta"].map(|name| name.parse().unwrap()) {
            let others = model.transactions.iter().map(|t| &t.value.spec);
            for other in others.filter(|spec| spec.tenant != tenant) {
                let shared = model.transactions.iter().map(|t| &t.value.spec);
                let mut shared = shared.filter(|spec| spec.tenant == tenant);
                if !shared.any(|spec| spec.id == other.id) {
                    assert!(store.read().end_snapshot(&tenant, other.id).await.unwrap().is_none());
                }
            }
        }
    }
}

fn due_in(model: &Model, now: u64) -> Due {
    let open = model.transactions.iter().map(|t| &t.value).filter(|t| t.end().is_none());
    let mut open: Vec<_> = open.map(|t| (t.deadline(), &t.spec)).collect();
    open.sort_by_key(|(deadline, _)| *deadline);
    let late = open.iter().filter(|(deadline, _)| deadline.0 <= now);
    Due {
        now: late.map(|(_, spec)| (spec.tenant.clone(), spec.id)).collect(),
        next: open.iter().map(|(deadline, _)| *deadline).find(|deadline| deadline.0 > now),
    }
}

fn check(mut tested: Tested, model: &Model) -> Tested {
    let (act, answer) = model.last.as_ref().unwrap();
    assert_eq!(tested.does(act), *answer, "{act:?}");
    tested.runtime.block_on(Tested::agrees(tested.store.as_ref().unwrap(), model));
    tested
}

struct InMemory;

impl StateMachineTest for InMemory {
    type SystemUnderTest = Tested;
    type Reference = Model;

    fn init_test(_: &Model) -> Tested {
        Tested::new(None)
    }

    fn apply(tested: Tested, model: &Model, _: Operation) -> Tested {
        check(tested, model)
    }
}

struct OnDisk;

impl StateMachineTest for OnDisk {
    type SystemUnderTest = Tested;
    type Reference = Model;

    fn init_test(_: &Model) -> Tested {
        Tested::new(Some(tempfile::tempdir().unwrap()))
    }

    fn apply(tested: Tested, model: &Model, _: Operation) -> Tested {
        check(tested, model)
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn memory_does_what_the_model_does(sequential 1..40 => InMemory);

    #[test]
    fn sqlite_does_what_the_model_does(sequential 1..40 => OnDisk);
}
