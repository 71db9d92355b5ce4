//! The ledger's contract on quotas: the bytes that stored transactions may occupy, and the rows of
//! users and devices.

use countersign_core::device::DeviceStatus;
use countersign_core::id::UserId;
use countersign_core::port::{
    Change, Commit, Committed, Ledger as _, StoredMax, TransactionChange,
};
use countersign_core::push::Push;
use countersign_core::spec::{Content, MediaType, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Timeout, Transaction};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{activation, commit, device, device_id, enrolment, populate, spec, waiting};

const CONTENT_BYTES: usize = 50_000;
/// Space for two transactions but not for a third. The quota is checked before one is added.
const TWO: u64 = 60_000;

fn large(id: u128, tenant: &str, client: &str) -> TransactionSpec {
    let content = Content { media_type: MediaType::Text, bytes: vec![b'a'; CONTENT_BYTES] };
    let (tenant, client) = (tenant.parse().unwrap(), client.parse().unwrap());
    TransactionSpec { content, tenant, client, ..spec(id) }
}

async fn start(store: &Store, spec: TransactionSpec, stored_max: StoredMax) -> Committed {
    store.step(TransactionChange { stored_max, ..commit(waiting(spec), None) }).await.unwrap()
}

/// Starts a transaction that ends at once, and so is never open.
async fn start_ended(store: &Store, spec: TransactionSpec, stored_max: StoredMax) -> Committed {
    let end = State::Ended { at: Timestamp(100), end: End::Expired(Timeout::GoOnline) };
    let ended = Transaction { state: end, ..waiting(spec) };
    store.step(TransactionChange { stored_max, ..commit(ended, None) }).await.unwrap()
}

#[tokio::test]
async fn a_client_stays_within_its_quota_even_if_its_transactions_end_at_once() {
    on_every_store(async |store| {
        let max = StoredMax { client: TWO, tenant: u64::MAX };
        for id in [1, 2] {
            let started = start_ended(&store, large(id, "acme", "bank"), max).await;
            assert_eq!(started, Committed::Written);
        }
        let third = start_ended(&store, large(3, "acme", "bank"), max).await;
        assert_eq!(third, Committed::ClientFull);
        assert_eq!(start(&store, large(4, "acme", "shop"), max).await, Committed::Written);
        assert_eq!(start(&store, large(5, "beta", "bank"), max).await, Committed::Written);
        // The quota applies to new transactions only. Existing ones continue.
        let goes_on =
            TransactionChange { stored_max: StoredMax { client: 0, tenant: 0 }, ..cancelled(4) };
        assert_eq!(store.step(goes_on).await.unwrap(), Committed::Written);
    })
    .await;
}

fn cancelled(id: u128) -> TransactionChange {
    let end = State::Ended { at: Timestamp(200), end: End::Cancelled };
    let ended = Transaction { state: end, ..waiting(large(id, "acme", "shop")) };
    commit(ended, Some(1))
}

#[tokio::test]
async fn all_clients_of_a_tenant_together_stay_within_the_tenants_quota() {
    on_every_store(async |store| {
        let max = StoredMax { client: u64::MAX, tenant: TWO };
        for (id, client) in [(1, "bank"), (2, "shop")] {
            assert_eq!(start(&store, large(id, "acme", client), max).await, Committed::Written);
        }
        assert_eq!(start(&store, large(3, "acme", "till"), max).await, Committed::TenantFull);
        assert_eq!(start(&store, large(4, "beta", "till"), max).await, Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn retention_frees_the_quota_of_removed_transactions() {
    on_every_store(async |store| {
        let max = StoredMax { client: TWO, tenant: TWO };
        let bare = |id| TransactionSpec { callback: None, ..large(id, "acme", "bank") };
        for id in [1, 2] {
            assert_eq!(start_ended(&store, bare(id), max).await, Committed::Written);
        }
        assert_eq!(start(&store, bare(3), max).await, Committed::ClientFull);
        assert_eq!(store.purge_ended(Timestamp(100), 1).await.unwrap(), 1);
        assert_eq!(start(&store, bare(4), max).await, Committed::Written);
        assert_eq!(start(&store, bare(5), max).await, Committed::ClientFull);
        assert_eq!(store.purge_ended(Timestamp(100), 9).await.unwrap(), 1);
        assert_eq!(start(&store, bare(6), max).await, Committed::Written);
    })
    .await;
}

async fn change(store: &Store, change: Change) -> Committed {
    store.commit(Commit { change, events: Vec::new() }).await.unwrap()
}

async fn create_user(store: &Store, tenant: &str, user: &str, users_max: u64) -> Committed {
    let name = format!("{tenant}/{user}");
    let id = UserId::drawn(name.bytes().fold(0, |number, byte| number << 8 | u128::from(byte)));
    let (tenant, user) = (tenant.parse().unwrap(), user.parse().unwrap());
    let (profile, at) = (None, Timestamp(9));
    change(store, Change::CreateUser { tenant, user, id, profile, at, users_max }).await
}

#[tokio::test]
async fn a_tenant_has_no_more_users_than_it_may_and_a_deleted_one_frees_a_place() {
    on_every_store(async |store| {
        populate(&store).await;
        assert_eq!(create_user(&store, "acme", "ann", 2).await, Committed::TenantFull);
        assert_eq!(create_user(&store, "acme", "jane", 2).await, Committed::Exists);
        assert_eq!(create_user(&store, "acme", "ann", 3).await, Committed::Written);
        assert_eq!(create_user(&store, "beta", "ann", 3).await, Committed::Written);
        assert_eq!(create_user(&store, "acme", "bob", 3).await, Committed::TenantFull);
        let (acme, joe) = ("acme".parse().unwrap(), "joe".parse().unwrap());
        assert_eq!(store.delete_user(&acme, &joe, 1).await.unwrap(), Committed::Written);
        assert_eq!(create_user(&store, "acme", "bob", 3).await, Committed::Written);
        assert_eq!(create_user(&store, "acme", "joe", 3).await, Committed::TenantFull);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_has_no_more_devices_than_it_may_and_retired_ones_count() {
    on_every_store(async |store| {
        populate(&store).await;
        let create = async |id, expected, devices_max| {
            let activation = Box::new(activation("acme", "jane", id));
            change(&store, Change::CreateActivation { activation, expected, devices_max }).await
        };
        let (acme, joe) = ("acme".parse().unwrap(), "joe".parse().unwrap());
        let mut retired = device("acme", "jane", 1, 1);
        (retired.status, retired.push) = (DeviceStatus::Retired, Push::None);
        assert_eq!(store.change_device(retired, 1).await.unwrap(), Committed::Written);
        assert_eq!(create(2, 1, 1).await, Committed::TenantFull);
        assert_eq!(create(2, 1, 2).await, Committed::Written);
        let enrol = async |devices_max| {
            let device = device("acme", "jane", 2, 2);
            let enrolment = Box::new(enrolment(activation("acme", "jane", 2), device, 2));
            change(&store, Change::Enrol { enrolment, devices_max }).await
        };
        assert_eq!(enrol(1).await, Committed::TenantFull);
        let none = store.read().device(&acme, device_id(2)).await.unwrap();
        assert!(none.is_none(), "nothing was written");
        assert_eq!(enrol(2).await, Committed::Written);
        // The devices of a deleted user stay, and count.
        assert_eq!(store.delete_user(&acme, &joe, 1).await.unwrap(), Committed::Written);
        let jane = store.read().user(&acme, &"jane".parse().unwrap()).await.unwrap().unwrap();
        let gone = store.delete_user(&acme, &"jane".parse().unwrap(), jane.version).await;
        assert_eq!(gone.unwrap(), Committed::Written);
        assert_eq!(create_user(&store, "acme", "jane", 9).await, Committed::Written);
        assert_eq!(create(3, 0, 2).await, Committed::TenantFull);
        assert_eq!(create(3, 0, 3).await, Committed::Written);
    })
    .await;
}
