//! The model as a state machine: which operations are drawn, and when each one makes sense.

use countersign_core::delivery::Verdict;
use countersign_core::time::Timestamp;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::{Model, Operation, Owner, Staleness, To};

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::populated()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Operation> {
        let whose = || (0..2_u8, 0..2_u8).prop_map(|(tenant, user)| Owner { tenant, user });
        // Usually the right version, sometimes one lower or higher.
        let drift = || prop_oneof![12 => Just(0_i8), 1 => Just(-1_i8), 1 => Just(1_i8)];
        let preconditions = || {
            let one = || prop_oneof![Just(None), drift().prop_map(Some)];
            (one(), one()).prop_map(|(user, device)| Staleness { user, device })
        };
        let reference = prop_oneof![Just(None), (0..6_u8).prop_map(Some)];
        let start = (whose(), 0..8_u8, reference, preconditions(), 1..4_u16, 0..3_u8);
        let start = start.prop_map(|(whose, key, reference, preconditions, open_max, queued)| {
            Operation::Start { whose, key, reference, preconditions, open_max, queued }
        });
        let to = prop_oneof![
            1 => Just(To::Reached),
            2 => (100..200_u8).prop_map(To::Taken),
            3 => Just(To::Ended)
        ];
        let go = (any::<usize>(), drift(), to, preconditions(), any::<bool>(), 0..3_u8);
        let go = go.prop_map(|(which, off, to, preconditions, mistaken, queued)| Operation::Go {
            which,
            off,
            to,
            preconditions,
            mistaken,
            queued,
        });
        let verdict = prop_oneof![
            2 => Just(Verdict::Done),
            2 => (90..200_u64).prop_map(|at| Verdict::Retry(Timestamp(at))),
            1 => Just(Verdict::GiveUp)
        ];
        prop_oneof![
            6 => start,
            8 => go,
            1 => (whose(), drift()).prop_map(|(whose, off)| Operation::Lock { whose, off }),
            1 => (0..2_u8, drift()).prop_map(|(tenant, off)| Operation::Change { tenant, off }),
            2 => (90..200_u8, 0..30_u8, 0..5_u8, 0..4_u8).prop_map(
                |(now, lease, permits, destination_max)| Operation::Claim { now, lease, permits, destination_max }
            ),
            2 => (any::<usize>(), prop::bool::weighted(0.2), verdict)
                .prop_map(|(which, late, verdict)| Operation::Settle { which, late, verdict }),
            1 => (0..2_u8, any::<Option<usize>>())
                .prop_map(|(tenant, which)| Operation::Replay { tenant, which }),
            1 => Just(Operation::Reopen),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, deed: &Operation) -> bool {
        match deed {
            // An ended transaction stays ended, because the state machine commits nothing else.
            Operation::Go { which, to, .. } => match which.checked_rem(state.transactions.len()) {
                Some(row) => {
                    state.transactions[row].value.end().is_none() || matches!(to, To::Ended)
                }
                None => false,
            },
            Operation::Settle { .. } => !state.deliveries.is_empty(),
            _ => true,
        }
    }

    fn apply(mut state: Self, deed: &Operation) -> Self {
        let act = state.act(deed);
        let answer = state.does(&act);
        state.last = Some((act, answer));
        state
    }
}
