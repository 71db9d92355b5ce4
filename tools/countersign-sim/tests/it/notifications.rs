//! Commits of one process reach the devices and callers of another process through their events.

use core::ops::AsyncFn;

use countersign_core::device::DeviceStatus;
use countersign_core::engine::Engine;
use countersign_core::port::{Ledger as _, Notifier as _, Page};
use countersign_core::spec::Recipients;
use countersign_core::transaction::Transaction;
use countersign_sim::{FakeNotifier, Phone};

use crate::fixture::*;

/// Every phone that is connected.
fn online(notifier: &FakeNotifier) -> Vec<bool> {
    let phones = [janes(0), janes(1), janes(2), joes(), betas()];
    let is_online = |phone: &Phone| {
        notifier.connected(phone.tenant(), phone.user(), &Recipients::Device(phone.id()))
    };
    phones.into_iter().map(is_online).collect()
}

fn connect_all(notifier: &FakeNotifier) {
    for phone in [janes(0), janes(1), janes(2), joes(), betas()] {
        notifier.connect(phone.tenant(), phone.user(), phone.id());
    }
}

/// Performs an act in one process and asserts that another process, which reads the events only,
/// notifies the same: these phones stay connected, and so many transactions end.
fn tells(stay: [bool; 5], ended: usize, act: &impl AsyncFn(&Fixture, &Transaction)) {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let tenant = janes(0).tenant();
        let before =
            fixture.store.events(Some(tenant), Page::first(u16::MAX)).await.unwrap().rows.len();
        let other = FakeNotifier::default();
        connect_all(&fixture.notifier);
        connect_all(&other);
        let received = fixture.notifier.received().len();
        act(&fixture, &started).await;

        let node = Engine::new(fixture.store.clone(), other.clone(), fixture.time.clone(), POLICY);
        for tenant in [Some(tenant), None] {
            let events = fixture.store.events(tenant, Page::first(u16::MAX)).await.unwrap().rows;
            let skipped = if tenant.is_some() { before } else { 0 };
            for event in events.iter().skip(skipped) {
                node.notify_of(tenant, event).await.unwrap();
            }
        }
        assert_eq!(online(&fixture.notifier), stay);
        assert_eq!(online(&other), stay);
        assert_eq!(other.received().len(), ended);
        assert!(fixture.notifier.received()[received..].ends_with(&other.received()));
    });
}

#[test]
fn another_process_closes_the_same_channels_and_tells_the_same_ends() {
    let (tenant, jane) = (janes(0).tenant(), janes(0).user());
    tells([true; 5], 1, &async |fixture: &Fixture, started: &Transaction| {
        fixture.cancel(started).await.unwrap();
    });
    tells([false, false, false, true, true], 0, &async |fixture: &Fixture, _: &Transaction| {
        fixture.engine.set_user_lock(OPERATOR, tenant, jane, true).await.unwrap();
    });
    tells([false, false, false, true, true], 0, &async |fixture: &Fixture, _: &Transaction| {
        fixture.engine.log_out(OPERATOR, tenant, jane).await.unwrap();
    });
    tells([false, false, false, true, true], 1, &async |fixture: &Fixture, _: &Transaction| {
        fixture.engine.delete_user(OPERATOR, tenant, jane).await.unwrap();
    });
    for status in [DeviceStatus::Locked, DeviceStatus::Retired] {
        tells([true, false, true, true, true], 0, &async |fixture: &Fixture, _: &Transaction| {
            let id = janes(1).id();
            fixture.engine.set_device_status(OPERATOR, tenant, id, status).await.unwrap();
        });
    }
    tells([false, false, false, false, true], 0, &async |fixture: &Fixture, _: &Transaction| {
        fixture.engine.set_tenant_lock(OPERATOR, tenant, true).await.unwrap();
    });
    for with_evidence in [false, true] {
        // The open transactions are gone with the tenant, so only the channels are told.
        tells(
            [false, false, false, false, true],
            0,
            &async |fixture: &Fixture, _: &Transaction| {
                fixture.engine.set_tenant_lock(OPERATOR, tenant, true).await.unwrap();
                fixture.engine.delete_tenant(OPERATOR, tenant, with_evidence).await.unwrap();
            },
        );
    }
}
