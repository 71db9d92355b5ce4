//! Scenarios of time: the two clocks, a late sweeper, and a clock that jumps back although it must
//! not.

use core::time::Duration;

use countersign_core::delivery::DeliveryKind;
use countersign_core::refusal::{CancelRefusal, DeviceRefusal};
use countersign_core::spec::Clocks;
use countersign_core::transaction::{Decline, End, Event, Outcome, State, Timeout};
use countersign_sim::START;

use crate::fixture::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_signature_at_the_deadline_is_late_even_before_the_sweep() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let deadline = fixture.found(&started).await.value.deadline();
        fixture.time.jump(deadline);
        let before = fixture.found(&started).await;
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), DeviceRefusal::Late);
        assert_eq!(refusal(fixture.take(janes(1), &started).await), DeviceRefusal::Late);
        let declined = fixture.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), DeviceRefusal::Late);
        assert_eq!(refusal(fixture.cancel(&started).await), CancelRefusal::Late);
        assert_eq!(fixture.found(&started).await, before);
    });
}

#[test]
fn a_signature_just_before_the_deadline_is_in_time() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let deadline = fixture.found(&started).await.value.deadline();
        fixture.time.jump(countersign_core::time::Timestamp(deadline.0 - 1));
        fixture.finish(janes(0), &started).await.unwrap();
    });
}

#[test]
fn the_sweeper_ends_expired_transactions_once_and_answers_the_next_deadline() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.callback = Some(callback());
        let short = fixture.start(request).await;
        let mut request = fixture.request();
        request.clocks = Clocks::One(Duration::from_mins(5));
        let long = fixture.start(request).await;

        let due = fixture.engine.sweep().await.unwrap();
        assert_eq!((due.now, due.next), (Vec::new(), Some(START + 30 * SECOND)));
        fixture.time.pass(30 * SECOND);
        let due = fixture.engine.sweep().await.unwrap();
        assert_eq!(due.now, [(short.spec.tenant.clone(), short.spec.id)]);
        assert_eq!(due.next, Some(START + Duration::from_mins(5)));
        assert_eq!(fixture.engine.sweep().await.unwrap().now, []);

        let end = fixture.found(&short).await.value;
        assert_eq!(end.end(), Some(&End::Expired(Timeout::GoOnline)));
        assert_eq!(fixture.events(&short), [Event::Started, Event::Ended(Outcome::Expired)]);
        let callbacks =
            fixture.deliveries().await.into_iter().filter(|(_, d)| *d == DeliveryKind::Callback);
        assert_eq!(callbacks.collect::<Vec<_>>(), [(short.spec.id, DeliveryKind::Callback)]);
        assert_eq!(fixture.outcome(&long).await, None);
    });
}

#[test]
fn a_device_that_asks_for_its_offers_stops_the_clock_go_online() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        assert_eq!(started.state, State::Waiting { reached: false });
        fixture.time.pass(29 * SECOND);
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), [started.spec.id]);
        assert_eq!(fixture.offers(janes(1)).await.unwrap(), [started.spec.id]);
        assert_eq!(fixture.events(&started), [Event::Started, Event::Reached]);
        fixture.time.pass(60 * SECOND);
        assert_eq!(fixture.engine.sweep().await.unwrap().now, []);
        fixture.take(janes(0), &started).await.unwrap();
        fixture.time.pass(SECOND);
        fixture.engine.sweep().await.unwrap();
        let end = fixture.found(&started).await.value;
        assert_eq!(end.end(), Some(&End::Expired(Timeout::Sign)));
    });
}

#[test]
fn a_device_that_comes_at_the_deadline_is_offered_nothing() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        fixture.time.pass(30 * SECOND);
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), []);
        assert_eq!(fixture.outcome(&started).await, None);
    });
}

#[test]
fn later_takes_do_not_move_the_deadline() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        fixture.time.pass(10 * SECOND);
        let first = fixture.take(janes(0), &started).await.unwrap().transaction;
        assert_eq!(first.deadline(), START + 70 * SECOND);
        fixture.time.pass(10 * SECOND);
        let second = fixture.take(janes(1), &started).await.unwrap().transaction;
        assert_eq!(second.deadline(), first.deadline());
        assert_eq!(second.takes.len(), 2);
    });
}

#[test]
fn a_clock_that_jumps_back_reopens_no_transaction() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        fixture.time.pass(Duration::from_hours(1));
        fixture.engine.sweep().await.unwrap();
        let ended = fixture.found(&started).await;
        fixture.time.jump(START);
        let expired = DeviceRefusal::Ended(Outcome::Expired);
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), expired);
        assert_eq!(refusal(fixture.take(janes(1), &started).await), expired);
        assert_eq!(fixture.engine.sweep().await.unwrap().now, []);
        assert_eq!(fixture.found(&started).await, ended);
    });
}
