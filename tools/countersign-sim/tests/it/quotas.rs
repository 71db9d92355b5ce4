//! Stories of a relying party that asks for more than its quota.

use core::num::NonZeroU32;
use core::time::Duration;

use countersign_core::Refusal;
use countersign_core::engine::{Engine, Policy, StartRates};
use countersign_core::limits::START_BURST;
use countersign_core::port::StoredMax;
use countersign_core::refusal::Quota;
use countersign_core::terms::Clocks;
use countersign_sim::{Stage, Untouched};

use crate::play::*;

fn with(play: Play, policy: Policy) -> Play {
    let stage = Stage::new(play.store.clone(), Untouched);
    let engine = Engine::new(stage, play.board.clone(), play.time.clone(), policy);
    Play { engine, ..play }
}

/// Nobody is online, and there is no time to come online: it ends as it starts.
fn ended_at_once(play: &Play) -> countersign_core::engine::Order {
    let clocks = Clocks::Two { go_online: Duration::ZERO, sign: Duration::from_secs(30) };
    countersign_core::engine::Order { clocks, ..play.order() }
}

#[test]
fn starts_that_end_as_they_start_count_against_the_rate() {
    everywhere(async |play: Play| {
        let rates = StartRates { client: NonZeroU32::new(2), tenant: None };
        let play = with(play, Policy { start_rates: rates, ..POLICY });
        for _ in 0..2 * START_BURST.as_secs() {
            assert!(play.start(ended_at_once(&play)).await.end().is_some());
        }
        let refused = refusal(play.engine.start(ended_at_once(&play)).await);
        let Refusal::Quota(Quota::ClientStarts { retry_after }) = refused else {
            panic!("{refused}")
        };
        assert!(retry_after <= Duration::from_millis(500));
        play.time.pass(retry_after);
        play.start(ended_at_once(&play)).await;
    });
}

#[test]
fn a_client_whose_stored_transactions_have_used_up_its_quota_starts_no_more() {
    everywhere(async |play: Play| {
        let stored_max = StoredMax { client: 1, tenant: u64::MAX };
        let play = with(play, Policy { stored_max, ..POLICY });
        play.start(ended_at_once(&play)).await;
        let refused = refusal(play.engine.start(ended_at_once(&play)).await);
        assert_eq!(refused, Refusal::Quota(Quota::ClientStored));
    });
}
