//! Any order of commits, locks and claims, told to a plain model and to each kind of store: what
//! they answer, and what can be read afterwards, is the same.

use countersign_core::id::{RequestKey, TransactionId};
use countersign_core::port::{Awaited, Due, Handle, Ledger, Registry};
use countersign_core::time::Timestamp;
use countersign_core::transaction::End;
use countersign_store::Store;
use proptest::prelude::*;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::model::{Act, Deed, Model};
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

    /// Opens the file anew; memory has none.
    fn reopen(&mut self) {
        if let Some(directory) = &self.directory {
            self.store = None;
            self.store = Some(Store::sqlite(directory.path(), None).unwrap());
        }
    }

    fn does(&mut self, act: &Act) -> String {
        if matches!(act, Act::Reopen) {
            self.reopen();
        }
        let store = self.store.as_ref().unwrap();
        self.runtime.block_on(async {
            match act.clone() {
                Act::Commit(commit) => format!("{:?}", store.commit(*commit).await.unwrap()),
                Act::Lock(tenant, user, expected, standing) => {
                    let set = store.set_standing(&tenant, &user, expected, standing).await;
                    format!("{:?}", set.unwrap())
                }
                Act::Change(tenant, expected) => {
                    let device = device(tenant.as_str(), "jane", 1, 1);
                    format!("{:?}", store.change_device(device, expected).await.unwrap())
                }
                Act::Claim(claim) => format!("{:?}", store.claim(*claim).await.unwrap()),
                Act::Settle(settlement) => {
                    format!("{:?}", store.settle(settlement).await.unwrap())
                }
                Act::Replay(tenant, which, now) => {
                    format!("{:?}", store.replay(&tenant, which, now).await.unwrap())
                }
                Act::Reopen => String::new(),
            }
        })
    }

    /// Everything that can be read is as the model has it.
    async fn agrees(store: &Store, model: &Model) {
        for (tenant, user) in model.users.keys() {
            let theirs: Vec<_> =
                model.transactions.iter().filter(|t| t.value.terms.tenant == *tenant).collect();
            let users: Vec<_> =
                theirs.iter().filter(|t| t.value.terms.user == *user).copied().collect();
            let open = users.iter().filter(|t| t.value.end().is_none());
            let open: Vec<_> = open.copied().cloned().collect();
            assert_eq!(store.open(tenant, user).await.unwrap(), open);
            let newest: Vec<_> = users.iter().rev().take(3).copied().cloned().collect();
            assert_eq!(store.list(tenant, Some(user), 3).await.unwrap(), newest);
            let newest: Vec<_> = theirs.iter().rev().take(5).copied().cloned().collect();
            assert_eq!(store.list(tenant, None, 5).await.unwrap(), newest);
            for number in 0..8 {
                let key = RequestKey::drawn(number);
                let with_key = || theirs.iter().rev().filter(|t| t.value.terms.request_key == key);
                let held = with_key().find(|t| t.value.end().is_none());
                let held = held.or_else(|| with_key().next()).copied().cloned();
                assert_eq!(store.load(tenant, &Handle::Key(key)).await.unwrap(), held);
            }
            let read = store.user(tenant, user).await.unwrap().unwrap();
            let expected = model.users[&(tenant.clone(), user.clone())];
            assert_eq!((read.version, read.value.standing), expected);
            let device = store.device(tenant, device_id(1)).await.unwrap().unwrap();
            assert_eq!(device.version, model.devices[tenant]);
            for given_up in [false, true] {
                let unpaid = store.deliveries(tenant, given_up, 1_000).await.unwrap();
                assert_eq!(unpaid, model.unpaid(tenant, given_up));
            }
        }
        for row in &model.transactions {
            let terms = &row.value.terms;
            let by_id = store.load(&terms.tenant, &Handle::Id(terms.id)).await.unwrap();
            assert_eq!(by_id.as_ref(), Some(row));
            let awaited = store.awaited(&terms.tenant, terms.id).await.unwrap().unwrap();
            match (awaited, row.value.end()) {
                (Awaited::Open { surface, client }, None) => {
                    assert_eq!((surface, client), (terms.surface, terms.client.clone()));
                }
                (Awaited::Ended { transaction, signer }, Some(end)) => {
                    assert_eq!(transaction, row.value);
                    let finished = matches!(end, End::Finished { .. });
                    let expected = end.by().filter(|_| finished);
                    assert_eq!(signer.map(|device| device.id), expected);
                }
                (awaited, end) => panic!("{awaited:?}, but {end:?}"),
            }
            if let Some(reference) = &terms.reference {
                let handle = Handle::Reference(terms.client.clone(), reference.name.clone());
                let named = store.load(&terms.tenant, &handle).await.unwrap();
                assert_eq!(named.as_ref(), Some(row));
            }
        }
        for now in [99, 120, 150, 180, 10_000] {
            let due = store.due(Timestamp(now), 1_000).await.unwrap();
            assert_eq!(due, due_in(model, now));
        }
        let unknown = Handle::Id(TransactionId(u128::MAX));
        assert_eq!(store.load(&"acme".parse().unwrap(), &unknown).await.unwrap(), None);
        for tenant in ["acme", "beta"].map(|name| name.parse().unwrap()) {
            let others = model.transactions.iter().map(|t| &t.value.terms);
            for other in others.filter(|terms| terms.tenant != tenant) {
                let shared = model.transactions.iter().map(|t| &t.value.terms);
                let mut shared = shared.filter(|terms| terms.tenant == tenant);
                if !shared.any(|terms| terms.id == other.id) {
                    assert!(store.awaited(&tenant, other.id).await.unwrap().is_none());
                }
            }
        }
    }
}

fn due_in(model: &Model, now: u64) -> Due {
    let open = model.transactions.iter().map(|t| &t.value).filter(|t| t.end().is_none());
    let mut open: Vec<_> = open.map(|t| (t.deadline(), &t.terms)).collect();
    open.sort_by_key(|(deadline, _)| *deadline);
    let late = open.iter().filter(|(deadline, _)| deadline.0 <= now);
    Due {
        now: late.map(|(_, terms)| (terms.tenant.clone(), terms.id)).collect(),
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

    fn apply(tested: Tested, model: &Model, _: Deed) -> Tested {
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

    fn apply(tested: Tested, model: &Model, _: Deed) -> Tested {
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
