//! Scenarios of retention: what is kept, for how long, and what can still be read and done
//! afterwards.

use core::time::Duration;
use countersign_core::engine::Keep;
use countersign_sim::changes::Changes as _;

use countersign_core::delivery::capacity::Capacity;
use countersign_core::delivery::{Settlement, Verdict};
use countersign_core::engine::SignatureRequest;
use countersign_core::port::{Claim, Handle, Ledger, Settle};
use countersign_core::refusal::{CancelRefusal, DeviceRefusal, StartRefusal};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Outcome;

use crate::fixture::*;

const KEEP: Duration = Duration::from_hours(90 * 24);

fn named(fixture: &Fixture, name: &str, request: u8) -> SignatureRequest {
    SignatureRequest { reference: Some(reference(name, request)), ..fixture.request() }
}

async fn purge(fixture: &Fixture, keep: Option<Duration>) {
    let keep = Keep { ended_transactions: keep, events: None };
    while fixture.engine.purge(keep).await.unwrap() {}
}

#[test]
fn a_signed_transaction_answers_a_repeated_start_with_the_same_signature_for_ever() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(named(&fixture, "order 7", 1)).await;
        fixture.take(janes(0), &started).await.unwrap();
        let done = fixture.finish(janes(0), &started).await.unwrap();
        fixture.time.pass(KEEP.saturating_sub(Duration::from_millis(1)));
        purge(&fixture, Some(KEEP)).await;
        assert_eq!(fixture.found(&started).await.value, *done, "it is kept whole until then");

        fixture.time.pass(Duration::from_millis(1));
        purge(&fixture, Some(KEEP)).await;
        let kept = fixture.found(&started).await.value;
        assert!(kept.spec.content.bytes.is_empty());
        assert_eq!(proof(&kept), proof(&done));
        let again = fixture.start(named(&fixture, "order 7", 1)).await;
        assert_eq!(*again, kept);
        let other = fixture.engine.start(named(&fixture, "order 7", 2), None).await;
        assert_eq!(refusal(other), StartRefusal::OtherOrder);
        assert_eq!(
            refusal(fixture.cancel(&started).await),
            CancelRefusal::Ended(Outcome::Finished)
        );
        let repeated = fixture.finish(janes(0), &started).await;
        assert_eq!(refusal(repeated), DeviceRefusal::Ended(Outcome::Finished));
    });
}

#[test]
fn a_signed_transaction_can_be_deleted_by_its_caller_after_retention() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(named(&fixture, "order 7", 1)).await;
        fixture.take(janes(0), &started).await.unwrap();
        let done = fixture.finish(janes(0), &started).await.unwrap();
        fixture.time.pass(KEEP);
        purge(&fixture, Some(KEEP)).await;
        let (tenant, client, id) = (&done.spec.tenant, &done.spec.client, done.spec.id);
        let deleted = fixture.engine.discard(tenant, client, id, |_| true).await.unwrap();
        assert!(deleted.discarded);
        let kept = fixture.found(&started).await.value;
        assert!(kept.discarded);
        assert_eq!(proof(&kept), proof(&done), "the evidence stays");
        let again = fixture.engine.discard(tenant, client, id, |_| true).await;
        assert_eq!(refusal(again), CancelRefusal::Unknown);
    });
}

#[test]
fn an_unsigned_transaction_is_removed_and_a_repeated_start_creates_a_new_one() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(named(&fixture, "order 7", 1)).await;
        fixture.cancel(&started).await.unwrap();
        fixture.time.pass(KEEP);
        purge(&fixture, None).await;
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Cancelled), "kept for ever");
        purge(&fixture, Some(KEEP)).await;
        let handle = Handle::Id(started.spec.id);
        let found = fixture.store.read().transaction(&started.spec.tenant, &handle).await.unwrap();
        assert_eq!(found, None);
        assert_eq!(refusal(fixture.cancel(&started).await), CancelRefusal::Unknown);
        let anew = fixture.start(named(&fixture, "order 7", 2)).await;
        assert_ne!(anew.spec.id, started.spec.id);
        assert!(!anew.state.is_ended());
    });
}

#[test]
fn a_transaction_stays_until_its_callback_is_delivered() {
    everywhere(async |fixture: Fixture| {
        let request = SignatureRequest { callback: Some(callback()), ..fixture.request() };
        let started = fixture.start(request).await;
        fixture.cancel(&started).await.unwrap();
        let claim = async |now: Timestamp| {
            let capacity = Capacity::new(9, 9);
            let lease_end = now + Duration::from_secs(1);
            let claim = Claim { now, lease_end, capacity, after: None };
            fixture.store.claim(claim).await.unwrap().deliveries
        };
        let settle = async |verdict| {
            let now = fixture.now();
            let callbacks = claim(now).await.into_iter();
            for delivery in callbacks.filter(|delivery| delivery.transaction == started.spec.id) {
                let settlement = Settlement {
                    tenant: delivery.destination.tenant().clone(),
                    id: delivery.id,
                    lease: delivery.lease,
                    verdict,
                    outcome: "tried".into(),
                    at: fixture.now(),
                };
                fixture.store.settle(Settle::Claimed(settlement)).await.unwrap();
            }
        };
        fixture.time.pass(KEEP);
        purge(&fixture, Some(KEEP)).await;
        assert!(fixture.outcome(&started).await.is_some());
        settle(Verdict::GiveUp).await;
        purge(&fixture, Some(KEEP)).await;
        assert!(fixture.outcome(&started).await.is_some());
        fixture.store.replay(&started.spec.tenant, None, fixture.now()).await.unwrap();
        settle(Verdict::Done).await;
        purge(&fixture, Some(KEEP)).await;
        let handle = Handle::Id(started.spec.id);
        let found = fixture.store.read().transaction(&started.spec.tenant, &handle).await.unwrap();
        assert_eq!(found, None);
    });
}

#[test]
fn expired_activations_are_removed_even_if_the_rest_is_kept() {
    everywhere(async |fixture: Fixture| {
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let codes =
            async || fixture.store.read().activations(tenant, jane, Timestamp(0)).await.unwrap();
        assert_eq!(codes().await.len(), 3, "used, and not yet expired");
        purge(&fixture, None).await;
        assert_eq!(codes().await.len(), 3);
        let last = codes().await.into_iter().map(|code| code.value.not_after).max().unwrap();
        fixture.time.jump(last);
        purge(&fixture, None).await;
        assert_eq!(codes().await.len(), 0);
    });
}
