//! Scenarios of ends: which devices may end a transaction, and the answers to late ones.

use countersign_core::delivery::DeliveryKind;
use countersign_core::engine::Submission;
use countersign_core::port::Clock;
use countersign_core::refusal::{ActorRefusal, CancelRefusal, DeviceRefusal, Error};
use countersign_core::spec::Recipients;
use countersign_core::transaction::{Decline, End, Event, Outcome};
use countersign_core::user::Lock;
use countersign_sim::{Prng, RandomFaults, Scheduler, block_on};
use countersign_store::Store;

use crate::fixture::*;

const FINISHED: DeviceRefusal = DeviceRefusal::Ended(Outcome::Finished);

#[test]
fn a_repeated_take_changes_nothing() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let before = fixture.found(&started).await;
        fixture.time.pass(core::time::Duration::from_secs(5));
        let again = fixture.take(janes(0), &started).await.unwrap();
        assert_eq!(*again.transaction, before.value);
        assert_eq!(fixture.found(&started).await, before);
    });
}

#[test]
fn a_repeated_signature_gets_the_answer_of_the_first() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let signature = janes(0).sign(&started.spec);
        let submission = janes(0).submission(&signature);
        let first = fixture.hand_in(janes(0), &started, &submission).await.unwrap();
        // If it were verified again, this unknown identity would be refused.
        let unknown = Some(countersign_core::id::IdentityId(0));
        let submission = Submission::Cms { message: &signature, identity: unknown };
        fixture.time.pass(core::time::Duration::from_hours(1));
        let again = fixture.hand_in(janes(0), &started, &submission).await.unwrap();
        assert_eq!(again, first);
        let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Finished)];
        assert_eq!(fixture.events(&started), events);
    });
}

#[test]
fn a_different_signature_after_the_end_is_refused_as_ended() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let first = fixture.finish(janes(0), &started).await.unwrap();
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), FINISHED);
        assert_eq!(fixture.found(&started).await.value, *first);
    });
}

#[test]
fn of_two_devices_the_first_to_finish_wins_and_the_other_is_refused() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0), janes(1)]).await;
        let done = fixture.finish(janes(1), &started).await.unwrap();
        assert_eq!(done.end().unwrap().by(), Some(janes(1).id()));
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), FINISHED);
        assert_eq!(refusal(fixture.take(janes(0), &started).await), FINISHED);
        let declined = fixture.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), FINISHED);
        assert_eq!(fixture.found(&started).await.value, *done);
    });
}

#[test]
fn a_transaction_to_be_taken_once_belongs_to_the_first_device_that_takes_it() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.once = true;
        let started = fixture.start(request).await;
        fixture.take(janes(1), &started).await.unwrap();
        assert_eq!(refusal(fixture.take(janes(0), &started).await), DeviceRefusal::OtherDevice);
        let declined = fixture.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), DeviceRefusal::OtherDevice);
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), []);
        assert_eq!(fixture.offers(janes(1)).await.unwrap(), [started.spec.id]);
        fixture.finish(janes(1), &started).await.unwrap();
    });
}

#[test]
fn one_device_that_declines_ends_it_for_all() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0), janes(1)]).await;
        fixture.decline(janes(2), &started, Decline::User).await.unwrap();
        let ended = DeviceRefusal::Ended(Outcome::Declined);
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), ended);
        assert_eq!(refusal(fixture.take(janes(1), &started).await), ended);
        let cancelled = refusal(fixture.cancel(&started).await);
        assert_eq!(cancelled, CancelRefusal::Ended(Outcome::Declined));
        let state = fixture.found(&started).await.value;
        let (by, words) = (janes(2).id(), String::new());
        let end = End::Declined { by, reason: Decline::User, words };
        assert_eq!(state.end(), Some(&end));
    });
}

#[test]
fn declining_twice_gets_the_same_answer_and_one_event() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        let first = fixture.decline(janes(0), &started, Decline::User).await.unwrap();
        assert_eq!(fixture.decline(janes(0), &started, Decline::User).await.unwrap(), first);
        assert_eq!(fixture.events(&started), [Event::Started, Event::Ended(Outcome::Declined)]);
        let other = fixture.decline(janes(1), &started, Decline::User).await;
        assert_eq!(refusal(other), DeviceRefusal::Ended(Outcome::Declined));
    });
}

#[test]
fn a_device_that_failed_cannot_decline_afterwards() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        let (tenant, device, id) = (janes(0).tenant(), janes(0).id(), started.spec.id);
        let fail = || fixture.engine.fail(tenant, device, id, "no screen".into());
        let first = fail().await.unwrap();
        assert_eq!(fail().await.unwrap(), first);
        let declined = fixture.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), DeviceRefusal::Ended(Outcome::Failed));
        let end = End::Failed { by: device, reason: "no screen".into() };
        assert_eq!(fixture.found(&started).await.value.end(), Some(&end));
    });
}

#[test]
fn of_a_cancel_and_a_finish_at_the_same_moment_the_first_commit_wins() {
    let mut wins = [0, 0];
    for seed in 0..40 {
        let mut prng = Prng::seeded(seed);
        let fixture = block_on(Fixture::on(Store::memory(), RandomFaults::new(prng.fork(), 0)));
        let mut request = fixture.request();
        request.callback = Some(callback());
        let mut scheduler = Scheduler::default();
        scheduler.join(fixture.engine.start(request, None));
        let started = scheduler.finish(&mut prng).remove(0).unwrap();
        let mut scheduler = Scheduler::default();
        scheduler
            .join(async { fixture.take(janes(0), &started).await.map(|taken| taken.transaction) });
        scheduler.finish(&mut prng).remove(0).unwrap();

        let mut scheduler = Scheduler::default();
        scheduler.join(fixture.finish(janes(0), &started));
        let cancelled = async {
            fixture.cancel(&started).await.map_err(|error| match error {
                Error::Refused(refusal) => Error::Refused(DeviceRefusal::from(refusal)),
                Error::Failed(fault) => fault.into(),
            })
        };
        scheduler.join(cancelled);
        let mut answers = scheduler.finish(&mut prng);
        let (cancelled, finished) = (answers.remove(1), answers.remove(0));
        let outcome = block_on(fixture.outcome(&started)).unwrap();
        if finished.is_ok() {
            assert_eq!(outcome, Outcome::Finished, "seed {seed}");
            assert_eq!(refusal(cancelled), FINISHED, "seed {seed}");
            wins[0] += 1;
        } else {
            assert_eq!(outcome, Outcome::Cancelled, "seed {seed}");
            assert_eq!(refusal(finished), DeviceRefusal::Ended(Outcome::Cancelled), "seed {seed}");
            cancelled.unwrap();
            wins[1] += 1;
        }
        let callbacks = block_on(fixture.deliveries())
            .into_iter()
            .filter(|(_, d)| *d == DeliveryKind::Callback);
        assert_eq!(callbacks.count(), 1, "seed {seed}");
    }
    assert!(wins[0] > 5 && wins[1] > 5, "each wins at times: {wins:?}");
}

#[test]
fn a_device_that_did_not_take_a_transaction_cannot_finish_it() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), DeviceRefusal::NotTaken);
        fixture.take(janes(1), &started).await.unwrap();
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), DeviceRefusal::NotTaken);
        assert_eq!(fixture.outcome(&started).await, None);
    });
}

#[test]
fn a_device_that_is_not_addressed_finds_no_such_transaction() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.recipients = Recipients::Device(janes(0).id());
        let started = fixture.start(request).await;
        fixture.take(janes(0), &started).await.unwrap();
        let before = fixture.found(&started).await;
        for stranger in [janes(1), joes(), betas()] {
            assert_eq!(fixture.offers(stranger).await.unwrap(), []);
            assert_eq!(refusal(fixture.take(stranger, &started).await), DeviceRefusal::Unknown);
            assert_eq!(refusal(fixture.finish(stranger, &started).await), DeviceRefusal::Unknown);
            let declined = fixture.decline(stranger, &started, Decline::NotMe).await;
            assert_eq!(refusal(declined), DeviceRefusal::Unknown);
            let (tenant, device) = (stranger.tenant(), stranger.id());
            let failed = fixture.engine.fail(tenant, device, started.spec.id, "x".into()).await;
            assert_eq!(refusal(failed), DeviceRefusal::Unknown);
            assert_eq!(fixture.lock_state(stranger).await.lock, Lock::Open);
        }
        assert_eq!(fixture.found(&started).await, before);
    });
}

#[test]
fn a_device_is_known_in_its_own_tenant_only() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        let taken =
            fixture.engine.take(&started.spec.tenant, betas().id(), started.spec.id, None).await;
        assert_eq!(refusal(taken), DeviceRefusal::UnknownDevice);
        let offers = fixture.engine.offers(betas().tenant(), janes(0).id(), None).await;
        assert_eq!(refusal(offers), ActorRefusal::UnknownDevice);
        assert!(fixture.time.now() < started.deadline());
    });
}
