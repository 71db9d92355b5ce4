//! Stories of time: two clocks, a sweeper that may be late, and a clock that should not but does.

use core::time::Duration;

use countersign_core::Refusal;
use countersign_core::delivery::Debt;
use countersign_core::terms::Clocks;
use countersign_core::transaction::{Clock, Decline, End, Event, Outcome, State};
use countersign_sim::START;

use crate::play::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_signature_at_the_deadline_is_late_whatever_the_sweeper_is_doing() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        let deadline = play.found(&started).await.value.deadline();
        play.time.jump(deadline);
        let before = play.found(&started).await;
        assert_eq!(refusal(play.finish(janes(0), &started).await), Refusal::Late);
        assert_eq!(refusal(play.take(janes(1), &started).await), Refusal::Late);
        let declined = play.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), Refusal::Late);
        assert_eq!(refusal(play.cancel(&started).await), Refusal::Late);
        assert_eq!(play.found(&started).await, before);
    });
}

#[test]
fn a_signature_just_before_the_deadline_is_in_time() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        let deadline = play.found(&started).await.value.deadline();
        play.time.jump(countersign_core::time::Timestamp(deadline.0 - 1));
        play.finish(janes(0), &started).await.unwrap();
    });
}

#[test]
fn the_sweeper_ends_what_has_run_out_once_and_says_when_to_come_back() {
    everywhere(async |play: Play| {
        let mut order = play.order();
        order.callback = Some(callback());
        let short = play.start(order).await;
        let mut order = play.order();
        order.clocks = Clocks::One(Duration::from_mins(5));
        let long = play.start(order).await;

        let due = play.engine.sweep().await.unwrap();
        assert_eq!((due.now, due.next), (Vec::new(), Some(START + 30 * SECOND)));
        play.time.pass(30 * SECOND);
        let due = play.engine.sweep().await.unwrap();
        assert_eq!(due.now, [(short.terms.tenant.clone(), short.terms.id)]);
        assert_eq!(due.next, Some(START + Duration::from_mins(5)));
        assert_eq!(play.engine.sweep().await.unwrap().now, []);

        let end = play.found(&short).await.value;
        assert_eq!(end.end(), Some(&End::Expired(Clock::GoOnline)));
        assert_eq!(play.events(&short), [Event::Started, Event::Ended(Outcome::Expired)]);
        let callbacks = play.debts().await.into_iter().filter(|(_, d)| *d == Debt::Callback);
        assert_eq!(callbacks.collect::<Vec<_>>(), [(short.terms.id, Debt::Callback)]);
        assert_eq!(play.outcome(&long).await, None);
    });
}

#[test]
fn a_device_that_asks_for_its_offers_stops_the_clock_go_online() {
    everywhere(async |play: Play| {
        let started = play.start(play.order()).await;
        assert_eq!(started.state, State::Waiting { reached: false });
        play.time.pass(29 * SECOND);
        assert_eq!(play.offers(janes(0)).await.unwrap(), [started.terms.id]);
        assert_eq!(play.offers(janes(1)).await.unwrap(), [started.terms.id]);
        assert_eq!(play.events(&started), [Event::Started, Event::Reached]);
        play.time.pass(60 * SECOND);
        assert_eq!(play.engine.sweep().await.unwrap().now, []);
        play.take(janes(0), &started).await.unwrap();
        play.time.pass(SECOND);
        play.engine.sweep().await.unwrap();
        let end = play.found(&started).await.value;
        assert_eq!(end.end(), Some(&End::Expired(Clock::Sign)));
    });
}

#[test]
fn a_device_that_comes_at_the_deadline_is_offered_nothing() {
    everywhere(async |play: Play| {
        let started = play.start(play.order()).await;
        play.time.pass(30 * SECOND);
        assert_eq!(play.offers(janes(0)).await.unwrap(), []);
        assert_eq!(play.outcome(&started).await, None);
    });
}

#[test]
fn later_takes_do_not_move_the_deadline() {
    everywhere(async |play: Play| {
        let started = play.start(play.order()).await;
        play.time.pass(10 * SECOND);
        let first = play.take(janes(0), &started).await.unwrap().transaction;
        assert_eq!(first.deadline(), START + 70 * SECOND);
        play.time.pass(10 * SECOND);
        let second = play.take(janes(1), &started).await.unwrap().transaction;
        assert_eq!(second.deadline(), first.deadline());
        assert_eq!(second.takes.len(), 2);
    });
}

#[test]
fn a_clock_that_jumps_back_brings_nothing_back_to_life() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        play.time.pass(Duration::from_hours(1));
        play.engine.sweep().await.unwrap();
        let ended = play.found(&started).await;
        play.time.jump(START);
        let expired = Refusal::Ended(Outcome::Expired);
        assert_eq!(refusal(play.finish(janes(0), &started).await), expired);
        assert_eq!(refusal(play.take(janes(1), &started).await), expired);
        assert_eq!(play.engine.sweep().await.unwrap().now, []);
        assert_eq!(play.found(&started).await, ended);
    });
}
