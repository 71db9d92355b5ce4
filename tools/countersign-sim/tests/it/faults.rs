//! A fault at every call: each use case runs once for each of its calls to the store, and each time
//! another call fails, before or after its work. The callers repeat their calls until they are
//! answered, and the final state shows no trace of the fault.

use core::fmt::Debug;
use core::time::Duration;
use std::ops::AsyncFn;
use std::sync::Arc;

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::{Device, PinDigest};
use countersign_core::engine::{Request, SignatureRequest};
use countersign_core::event::Actor;
use countersign_core::id::{DeviceId, TransactionId};
use countersign_core::port::{Handle, Ledger as _};
use countersign_core::refusal::{CancelRefusal, Error};
use countersign_core::spec::Operation;
use countersign_core::transaction::{Decline, End, Event, Outcome, Take, Transaction};
use countersign_core::user::{Lock, LockState};
use countersign_sim::changes::Changes as _;
use countersign_sim::{FailsOnce, TestTenant, When, block_on, is_injected, pin_digest};
use countersign_store::Store;

use crate::fixture::*;

/// The maximum of attempts of a caller. Only one call fails, so fewer are needed.
const TRIES: usize = 3;

/// The final state, as far as it can be read.
#[derive(Debug, PartialEq)]
struct Account {
    outcome: Option<Outcome>,
    by: Option<DeviceId>,
    takes: Vec<Take>,
    /// The events, without repeated proofs of a PIN.
    events: Vec<Event>,
    deliveries: Vec<DeliveryKind>,
    lock_state: LockState,
    pin: Option<PinDigest>,
}

impl Account {
    async fn of(fixture: &Fixture<FailsOnce>, transaction: &Transaction) -> Self {
        let found = fixture.found(transaction).await;
        let mut events = fixture.events(transaction);
        assert_eq!(found.version as usize, events.len(), "versions grow by one per event");
        events.retain(|event| *event != Event::PinProved);
        let mut deliveries = fixture.deliveries().await;
        assert!(deliveries.iter().all(|(id, _)| *id == transaction.spec.id));
        deliveries.sort_by_key(|(_, kind)| format!("{kind:?}"));
        let device = fixture.store.read().device(janes(0).tenant(), janes(0).id()).await.unwrap();
        Self {
            outcome: found.value.end().map(End::outcome),
            by: found.value.end().and_then(End::by),
            takes: found.value.takes,
            events,
            deliveries: deliveries.into_iter().map(|(_, kind)| kind).collect(),
            lock_state: fixture.lock_state(janes(0)).await,
            pin: device.unwrap().value.pin,
        }
    }
}

/// Repeats a call until it is answered, which must be a success.
async fn until_answered<T: Debug, R: Debug>(call: impl AsyncFn() -> Result<T, Error<R>>) -> T {
    for _ in 0..TRIES {
        match call().await {
            Ok(answer) => return answer,
            Err(Error::Failed(fault)) if is_injected(&fault) => {}
            Err(error) => panic!("it was answered with {error:?}"),
        }
    }
    panic!("it was not answered");
}

/// Runs the scenario once for each call, with a fault before and after it, on every store.
fn every_call_fails_once(
    expected: &[Event],
    deliveries: usize,
    live: &impl AsyncFn(&Fixture<FailsOnce>) -> Arc<Transaction>,
) {
    block_on(async {
        let fixture = Fixture::on(Store::memory(), FailsOnce::at(0, When::Before)).await;
        let lived = live(&fixture).await;
        let account = Account::of(&fixture, &lived).await;
        assert_eq!((account.events.as_slice(), account.deliveries.len()), (expected, deliveries));
        for nth in 1..=fixture.faulty.interference.calls() {
            for when in [When::Before, When::After] {
                again(nth, when, live, &account).await;
            }
        }
    });
}

async fn again(
    nth: u64,
    when: When,
    live: &impl AsyncFn(&Fixture<FailsOnce>) -> Arc<Transaction>,
    expected: &Account,
) {
    let directory = tempfile::tempdir().unwrap();
    let stores = [Store::memory(), Store::sqlite(directory.path(), None).unwrap()];
    for store in stores {
        let fixture = Fixture::on(store, FailsOnce::at(nth, when)).await;
        let told = live(&fixture).await;
        assert!(fixture.faulty.interference.calls() >= nth);
        assert_eq!(Account::of(&fixture, &told).await, *expected, "call {nth}, {when:?}");
        assert_eq!(fixture.found(&told).await.value, *told, "call {nth}, {when:?}");
        fixture.store.close().await.unwrap();
    }
}

/// A repeatable request with a callback.
fn request(fixture: &Fixture<FailsOnce>) -> SignatureRequest {
    let mut request = fixture.request();
    request.reference = Some(reference("order 7", 1));
    request.callback = Some(callback());
    request
}

async fn start(fixture: &Fixture<FailsOnce>, request: SignatureRequest) -> Arc<Transaction> {
    until_answered(async || fixture.engine.start(request.clone(), None).await).await
}

#[test]
fn a_transaction_is_finished_once_at_whichever_call_the_store_fails() {
    let events = [Event::Started, Event::Reached, Event::Taken, Event::Ended(Outcome::Finished)];
    every_call_fails_once(&events, 1, &async |fixture| {
        let started = start(fixture, request(fixture)).await;
        let offers = until_answered(async || fixture.offers(janes(0)).await).await;
        assert_eq!(offers, [started.spec.id]);
        until_answered(async || fixture.take(janes(0), &started).await).await;
        let value = janes(0).sign(&started.spec);
        let submission = janes(0).submission(&value);
        let done =
            until_answered(async || fixture.hand_in(janes(0), &started, &submission).await).await;
        assert_eq!(proof(&done).evidence(), value);
        done
    });
}

#[test]
fn a_pin_is_proved_and_its_count_reset_at_whichever_call_the_store_fails() {
    let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Finished)];
    every_call_fails_once(&events, 1, &async |fixture| {
        let wrong = LockState { wrong_pins: 3, ..LockState::default() };
        let (tenant, user) = (janes(0).tenant(), janes(0).user());
        let found = fixture.store.read().user(tenant, user).await.unwrap().unwrap();
        fixture.store.set_lock_state(tenant, user, found.version, wrong).await.unwrap();
        let mut request = request(fixture);
        request.pin_required = true;
        let started = start(fixture, request).await;
        until_answered(async || fixture.take_with_pin(janes(0), &started, TestTenant::PIN).await)
            .await;
        assert_eq!(fixture.lock_state(janes(0)).await, LockState::default());
        let value = janes(0).sign(&started.spec);
        let submission = janes(0).submission(&value);
        until_answered(async || fixture.hand_in(janes(0), &started, &submission).await).await
    });
}

#[test]
fn not_me_is_recorded_once_at_whichever_call_the_store_fails() {
    let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Declined)];
    every_call_fails_once(&events, 1, &async |fixture| {
        let started = start(fixture, request(fixture)).await;
        until_answered(async || fixture.take(janes(0), &started).await).await;
        let declined =
            until_answered(async || fixture.decline(janes(0), &started, Decline::NotMe).await)
                .await;
        assert_eq!(fixture.lock_state(janes(0)).await.lock, Lock::ReportedByUser);
        declined
    });
}

#[test]
fn a_failure_of_the_device_is_recorded_once_at_whichever_call_the_store_fails() {
    let events = [Event::Started, Event::Ended(Outcome::Failed)];
    every_call_fails_once(&events, 1, &async |fixture| {
        let started = start(fixture, request(fixture)).await;
        let (tenant, device, id) = (janes(0).tenant(), janes(0).id(), started.spec.id);
        until_answered(async || fixture.engine.fail(tenant, device, id, "no screen".into()).await)
            .await
    });
}

#[test]
fn a_transaction_is_cancelled_once_at_whichever_call_the_store_fails() {
    let events = [Event::Started, Event::Ended(Outcome::Cancelled)];
    every_call_fails_once(&events, 1, &async |fixture| {
        let started = start(fixture, request(fixture)).await;
        until_answered(async || fixture.cancel(&started).await).await
    });
}

#[test]
fn a_transaction_expires_once_at_whichever_call_the_store_fails() {
    let events = [Event::Started, Event::Ended(Outcome::Expired)];
    every_call_fails_once(&events, 1, &async |fixture| {
        let started = start(fixture, request(fixture)).await;
        fixture.time.pass(Duration::from_mins(1));
        until_answered::<_, CancelRefusal>(async || Ok(fixture.engine.sweep().await?)).await;
        let id = Handle::Id(started.spec.id);
        let found =
            async || Ok(fixture.engine.read().transaction(&started.spec.tenant, &id).await?);
        Arc::new(until_answered::<_, CancelRefusal>(found).await.unwrap().value)
    });
}

#[test]
fn a_pin_is_changed_once_at_whichever_call_the_store_fails() {
    every_call_fails_once(&[Event::Started], 3, &async |fixture| {
        let started = start(fixture, request(fixture)).await;
        let proof = janes(0).prove_pin(TestTenant::PIN, TransactionId(0));
        let (tenant, device, new) = (janes(0).tenant(), janes(0).id(), pin_digest("1111", 2));
        until_answered(async || fixture.engine.set_pin(tenant, device, &new, Some(&proof)).await)
            .await;
        started
    });
}

/// Each call of an application reads its transaction once: one read, one commit.
#[test]
fn a_cancel_and_a_delete_read_their_transaction_once() {
    block_on(async {
        for is_deleted in [false, true] {
            let fixture = Fixture::on(Store::memory(), FailsOnce::at(0, When::Before)).await;
            let started = fixture.start(fixture.request()).await;
            let (before, spec) = (fixture.faulty.interference.calls(), &started.spec);
            let (tenant, client) = (&spec.tenant, &spec.client);
            let ended = if is_deleted {
                fixture.engine.discard(tenant, client, spec.id, |_| true).await
            } else {
                let handle = &Handle::Id(spec.id);
                let actor = Actor::Client(client.clone());
                fixture.engine.cancel(&actor, tenant, handle, |_| true).await
            };
            assert!(ended.unwrap().state.is_ended());
            assert_eq!(fixture.faulty.interference.calls() - before, 2, "{is_deleted}");
        }
    });
}

/// A phone's cancel through a gateway reads the device, the user and the transaction, and commits.
/// A wait reads the transaction, and the device that the caller names.
#[test]
fn a_gateways_cancel_and_wait_read_each_row_once() {
    block_on(async {
        for is_by_id in [false, true] {
            let fixture = Fixture::on(Store::memory(), FailsOnce::at(0, When::Before)).await;
            let started = fixture.taken(&[janes(0)]).await;
            let (spec, tenant) = (&started.spec, janes(0).tenant());
            let device = fixture.store.read().device(tenant, janes(0).id()).await.unwrap();
            let serial = device.unwrap().value.serial_number;
            let request = Request {
                tenant: tenant.clone(),
                key: spec.request_key,
                operation: Operation::Sign,
                client: Some(spec.client.clone()),
            };
            let calls = || fixture.faulty.interference.calls();

            let before = calls();
            let awaited = fixture.engine.awaited(&request, &spec.user, Some(serial)).await;
            assert_eq!(awaited.unwrap().spec.id, spec.id);
            assert_eq!(calls() - before, 2);

            let before = calls();
            let named = if is_by_id { Handle::Id(spec.id) } else { Handle::Key(spec.request_key) };
            let read = |_: &Device, _: Option<&Transaction>| Ok(request.clone());
            let declined = fixture.engine.withdraw(tenant, serial, &named, read).await.unwrap();
            assert_eq!(declined.end().map(End::outcome), Some(Outcome::Declined));
            assert_eq!(calls() - before, 4);
        }
    });
}
