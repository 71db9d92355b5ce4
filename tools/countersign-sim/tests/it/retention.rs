//! Stories of retention: what is kept, how long, and what can still be said of it afterwards.

use core::time::Duration;

use countersign_core::Refusal;
use countersign_core::delivery::{Room, Settlement, Verdict};
use countersign_core::engine::Order;
use countersign_core::port::{Claim, Handle, Ledger, Registry};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Outcome;

use crate::play::*;

const KEEP: Duration = Duration::from_hours(90 * 24);

fn named(play: &Play, name: &str, request: u8) -> Order {
    Order { reference: Some(reference(name, request)), ..play.order() }
}

async fn forget(play: &Play, keep: Option<Duration>) {
    while play.engine.forget(keep).await.unwrap() {}
}

#[test]
fn a_signed_one_answers_the_same_call_for_ever_with_the_same_signature() {
    everywhere(async |play: Play| {
        let started = play.start(named(&play, "order 7", 1)).await;
        play.take(janes(0), &started).await.unwrap();
        let done = play.finish(janes(0), &started).await.unwrap();
        play.time.pass(KEEP.saturating_sub(Duration::from_millis(1)));
        forget(&play, Some(KEEP)).await;
        assert_eq!(play.found(&started).await.value, *done, "it is kept whole until then");

        play.time.pass(Duration::from_millis(1));
        forget(&play, Some(KEEP)).await;
        let kept = play.found(&started).await.value;
        assert!(kept.terms.content.bytes.is_empty());
        assert_eq!(proof(&kept), proof(&done));
        let again = play.start(named(&play, "order 7", 1)).await;
        assert_eq!(*again, kept);
        let other = play.engine.start(named(&play, "order 7", 2)).await;
        assert_eq!(refusal(other), Refusal::OtherOrder);
        assert_eq!(refusal(play.cancel(&started).await), Refusal::Ended(Outcome::Finished));
        let repeated = play.finish(janes(0), &started).await;
        assert_eq!(refusal(repeated), Refusal::Ended(Outcome::Finished));
    });
}

#[test]
fn a_signed_one_can_be_deleted_by_its_caller_however_long_ago_it_was() {
    everywhere(async |play: Play| {
        let started = play.start(named(&play, "order 7", 1)).await;
        play.take(janes(0), &started).await.unwrap();
        let done = play.finish(janes(0), &started).await.unwrap();
        play.time.pass(KEEP);
        forget(&play, Some(KEEP)).await;
        let (tenant, client, id) = (&done.terms.tenant, &done.terms.client, done.terms.id);
        let deleted = play.engine.discard(tenant, client, id).await.unwrap();
        assert!(deleted.discarded);
        let kept = play.found(&started).await.value;
        assert!(kept.discarded);
        assert_eq!(proof(&kept), proof(&done), "the evidence stays");
        let again = play.engine.discard(tenant, client, id).await;
        assert_eq!(refusal(again), Refusal::Unknown);
    });
}

#[test]
fn one_that_nobody_signed_is_gone_and_the_same_call_asks_anew() {
    everywhere(async |play: Play| {
        let started = play.start(named(&play, "order 7", 1)).await;
        play.cancel(&started).await.unwrap();
        play.time.pass(KEEP);
        forget(&play, None).await;
        assert_eq!(play.outcome(&started).await, Some(Outcome::Cancelled), "kept for ever");
        forget(&play, Some(KEEP)).await;
        let handle = Handle::Id(started.terms.id);
        let found = play.store.load(&started.terms.tenant, &handle).await.unwrap();
        assert_eq!(found, None);
        assert_eq!(refusal(play.cancel(&started).await), Refusal::Unknown);
        let anew = play.start(named(&play, "order 7", 2)).await;
        assert_ne!(anew.terms.id, started.terms.id);
        assert!(!anew.state.is_ended());
    });
}

#[test]
fn one_whose_callback_is_owed_or_was_given_up_stays_until_that_is_paid() {
    everywhere(async |play: Play| {
        let order = Order { callback: Some(callback()), ..play.order() };
        let started = play.start(order).await;
        play.cancel(&started).await.unwrap();
        let claim = async |now: Timestamp| {
            let room = Room::new(9, 9);
            let lease_end = now + Duration::from_secs(1);
            let claim = Claim { now, lease_end, room, after: None };
            play.store.claim(claim).await.unwrap().deliveries
        };
        let settle = async |verdict| {
            let now = play.now();
            let callbacks = claim(now).await.into_iter();
            for owed in callbacks.filter(|owed| owed.transaction == started.terms.id) {
                let settlement = Settlement {
                    tenant: owed.lane.tenant.clone(),
                    id: owed.id,
                    lease: owed.lease,
                    verdict,
                    outcome: "tried".into(),
                    at: play.now(),
                };
                play.store.settle(settlement).await.unwrap();
            }
        };
        play.time.pass(KEEP);
        forget(&play, Some(KEEP)).await;
        assert!(play.outcome(&started).await.is_some());
        settle(Verdict::GiveUp).await;
        forget(&play, Some(KEEP)).await;
        assert!(play.outcome(&started).await.is_some());
        play.store.replay(&started.terms.tenant, None, play.now()).await.unwrap();
        settle(Verdict::Done).await;
        forget(&play, Some(KEEP)).await;
        let handle = Handle::Id(started.terms.id);
        let found = play.store.load(&started.terms.tenant, &handle).await.unwrap();
        assert_eq!(found, None);
    });
}

#[test]
fn activations_go_when_they_have_expired_whatever_else_is_kept() {
    everywhere(async |play: Play| {
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let codes = async || play.store.activations(tenant, jane, Timestamp(0)).await.unwrap();
        assert_eq!(codes().await.len(), 3, "used, and not yet expired");
        forget(&play, None).await;
        assert_eq!(codes().await.len(), 3);
        let last = codes().await.into_iter().map(|code| code.value.not_after).max().unwrap();
        play.time.jump(last);
        forget(&play, None).await;
        assert_eq!(codes().await.len(), 0);
    });
}
