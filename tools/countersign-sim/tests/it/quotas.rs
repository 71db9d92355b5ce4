//! Scenarios of clients that exceed a quota.

use core::num::NonZeroU32;
use core::time::Duration;

use countersign_core::engine::{Engine, Policy, StartRates};
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::limits::START_BURST;
use countersign_core::port::{RowsMax, StoredMax};
use countersign_core::refusal::{Quota, StartRefusal, UserRefusal};
use countersign_core::secret::Secret;
use countersign_core::spec::Clocks;
use countersign_sim::{FaultyStore, NoFaults};

use crate::fixture::*;

fn with(fixture: Fixture, policy: Policy) -> Fixture {
    let faulty = FaultyStore::new(fixture.store.clone(), NoFaults);
    let engine = Engine::new(faulty, fixture.notifier.clone(), fixture.time.clone(), policy);
    Fixture { engine, ..fixture }
}

/// A request that ends when it starts, because no device is online and there is no time to come
/// online.
fn ended_at_once(fixture: &Fixture) -> countersign_core::engine::SignatureRequest {
    let clocks = Clocks::Two { go_online: Duration::ZERO, sign: Duration::from_secs(30) };
    countersign_core::engine::SignatureRequest { clocks, ..fixture.request() }
}

#[test]
fn transactions_that_end_when_they_start_count_against_the_rate() {
    everywhere(async |fixture: Fixture| {
        let rates = StartRates { client: NonZeroU32::new(2), tenant: None };
        let fixture = with(fixture, Policy { start_rates: rates, ..POLICY });
        for _ in 0..2 * START_BURST.as_secs() {
            assert!(fixture.start(ended_at_once(&fixture)).await.end().is_some());
        }
        let refused = refusal(fixture.engine.start(ended_at_once(&fixture), None).await);
        let StartRefusal::Quota(Quota::ClientStarts { retry_after }) = refused else {
            panic!("{refused}")
        };
        assert!(retry_after <= Duration::from_millis(500));
        fixture.time.pass(retry_after);
        fixture.start(ended_at_once(&fixture)).await;
    });
}

#[test]
fn a_client_that_has_used_up_its_quota_of_stored_bytes_cannot_start() {
    everywhere(async |fixture: Fixture| {
        let stored_max = StoredMax { client: 1, tenant: u64::MAX };
        let fixture = with(fixture, Policy { stored_max, ..POLICY });
        fixture.start(ended_at_once(&fixture)).await;
        let refused = refusal(fixture.engine.start(ended_at_once(&fixture), None).await);
        assert_eq!(refused, StartRefusal::Quota(Quota::ClientStored));
    });
}

#[test]
fn a_tenant_with_the_maximum_of_users_or_devices_gets_no_more() {
    everywhere(async |fixture: Fixture| {
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let rows_max = RowsMax { users: 2, devices: 4 };
        let fixture = with(fixture, Policy { rows_max, ..POLICY });
        let create = async |user: &str| {
            fixture.engine.create_user(OPERATOR, tenant, &user.parse().unwrap(), None).await
        };
        assert_eq!(refusal(create("ann").await), UserRefusal::ManyUsers);
        let activation = Activation {
            id: 7,
            tenant: tenant.clone(),
            user: jane.clone(),
            code: Secret::new(vec![7]),
            not_after: fixture.now() + Duration::from_mins(1),
            maker: OPERATOR.clone(),
            secret: true,
            chosen: false,
            labels: Vec::new(),
            state: ActivationState::Open,
        };
        let refused = fixture.engine.create_activation(OPERATOR, activation.clone()).await;
        assert_eq!(refusal(refused), UserRefusal::ManyDevices, "all four are enrolled");
        let fixture = with(fixture, POLICY);
        fixture.engine.create_activation(OPERATOR, activation).await.unwrap();
    });
}
