//! A crowd of transactions whose time is over in the same second, in a ledger on disk.

use std::collections::BTreeSet;

use countersign_core::delivery::DeliveryKind;
use countersign_core::engine::{Engine, Policy};
use countersign_core::id::TransactionId;
use countersign_core::limits::{COMMITS_PER_SYNC_MAX, SWEEP_MAX};
use countersign_core::port::{Entropy as _, Handle, Ledger as _, all_pages};
use countersign_core::transaction::{End, Timeout};
use countersign_sim::{FakeNotifier, Timeline, at_once, block_on};
use countersign_store::Store;

use crate::fixture::*;

const CROWD: usize = 10_000;
/// The syncs for all of them. How many commits share one depends on how fast the disk is.
const SYNCS_MAX: u64 = 1_000;

#[test]
fn ten_thousand_transactions_that_expire_in_one_second_share_syncs_and_owe_a_callback_each() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::sqlite(directory.path(), None).unwrap();
    block_on(async {
        POPULATION.settle(&store).await;
        let (time, policy) = (Timeline::new(1), Policy { open_per_user_max: u16::MAX, ..POLICY });
        let engine = Engine::new(store.clone(), FakeNotifier::default(), time.clone(), policy);
        let start = || {
            let mut request = acme().request(TransactionId(time.random_u128()), &acme().users[0]);
            request.callback = Some(callback());
            engine.start(request, None)
        };
        let mut started = BTreeSet::new();
        while started.len() < CROWD {
            let count = COMMITS_PER_SYNC_MAX.min(CROWD - started.len());
            for one in at_once((0..count).map(|_| start())).await {
                started.insert(one.unwrap().spec.id);
            }
        }
        time.pass(core::time::Duration::from_secs(30));

        let (before, mut sweeps) = (store.stats(), 0);
        while !engine.sweep().await.unwrap().now.is_empty() {
            sweeps += 1;
        }
        assert_eq!(sweeps, CROWD.div_ceil(SWEEP_MAX.into()) as u64);
        let after = store.stats();
        assert_eq!(after.commits - before.commits, CROWD as u64);
        let syncs = after.syncs - before.syncs;
        assert!(syncs <= SYNCS_MAX, "{syncs} syncs");

        for id in &started {
            let found = store.read().transaction(&acme().tenant, &Handle::Id(*id)).await;
            let found = found.unwrap().unwrap().value;
            assert_eq!(found.end(), Some(&End::Expired(Timeout::GoOnline)));
        }
        let tenant = &acme().tenant;
        let owed = all_pages(async |page| store.deliveries(tenant, false, page).await).await;
        let owed = owed.unwrap().into_iter().map(|outbox| outbox.delivery);
        let owed: Vec<_> = owed.filter(|owed| owed.kind == DeliveryKind::Callback).collect();
        assert_eq!(owed.len(), CROWD);
        assert_eq!(owed.iter().map(|owed| owed.transaction).collect::<BTreeSet<_>>(), started);
        assert_eq!(engine.sweep().await.unwrap().now, []);
    });
}
