//! The plain model of a ledger: what there should be, in lists, and what may be done to it.

use std::collections::{BTreeMap, BTreeSet};

use countersign_core::delivery::{Debt, Delivery, Lane, Room, Settlement, Verdict};
use countersign_core::id::{DeliveryId, RequestKey, TenantName, UserName};
use countersign_core::port::{
    Changed, Claim, Claimed, Commit, Committed, Grounds, Unpaid, Versioned,
};
use countersign_core::terms::{Reference, Terms};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_core::user::Standing;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::world::{commit, device_id, owing, taken, terms, waiting};

const TENANTS: [&str; 2] = ["acme", "beta"];
const USERS: [&str; 2] = ["jane", "joe"];

/// Something done to the ledger. Small numbers choose among few, so that they meet.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Start { whose: Whose, key: u8, reference: Option<u8>, grounds: Drift, open_max: u16, owed: u8 },
    Go { which: usize, off: i8, to: To, grounds: Drift, mistaken: bool, owed: u8 },
    Lock { whose: Whose, off: i8 },
    Change { tenant: u8, off: i8 },
    Claim { now: u8, lease: u8, places: u8, lane_max: u8 },
    Settle { which: usize, late: bool, verdict: Verdict },
    Replay { tenant: u8, which: Option<usize> },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    tenant: u8,
    user: u8,
}

/// Grounds to name: none, or the right versions and how far off they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drift {
    user: Option<i8>,
    device: Option<i8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Reached,
    Taken(u8),
    Ended,
}

/// The model: what there should be, in lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) transactions: Vec<Versioned<Transaction>>,
    pub(crate) users: BTreeMap<(TenantName, UserName), (u32, Standing)>,
    pub(crate) devices: BTreeMap<TenantName, u32>,
    deliveries: Vec<Unpaid>,
    /// Where the last claim said that the next one should begin.
    after: Option<Lane>,
    made: u128,
    /// What the last deed comes to, ready to be done to a store.
    pub(crate) last: Option<(Act, String)>,
}

/// A deed with its names and versions filled in.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Commit(Box<Commit>),
    Lock(TenantName, UserName, u32, Standing),
    Change(TenantName, u32),
    Claim(Box<Claim>),
    Settle(Settlement),
    Replay(TenantName, Option<DeliveryId>, Timestamp),
    Reopen,
}

fn off(version: u32, by: i8) -> u32 {
    version.saturating_add_signed(by.into())
}

impl Model {
    fn populated() -> Self {
        let mut model = Self::default();
        for tenant in TENANTS.map(|name| name.parse::<TenantName>().unwrap()) {
            for (user, version) in [("jane", 2), ("joe", 1)] {
                let key = (tenant.clone(), user.parse().unwrap());
                model.users.insert(key, (version, Standing::default()));
            }
            model.devices.insert(tenant, 1);
        }
        model
    }

    fn whose(whose: Whose) -> (TenantName, UserName) {
        let tenant = TENANTS[usize::from(whose.tenant)].parse().unwrap();
        (tenant, USERS[usize::from(whose.user)].parse().unwrap())
    }

    /// Fills the names and versions of a deed in.
    fn act(&mut self, deed: &Deed) -> Act {
        match deed {
            Deed::Start { whose, key, reference, grounds, open_max, owed } => {
                let (tenant, user) = Self::whose(*whose);
                self.made += 1;
                let begun = waiting(Terms {
                    tenant,
                    user,
                    request_key: RequestKey::drawn((*key).into()),
                    reference: reference
                        .map(|r| Reference { name: format!("order {r}"), request: [r; 32] }),
                    ..terms(self.made)
                });
                let grounds = self.grounds(&begun.terms, *grounds);
                let open_max = *open_max;
                let begin = Commit { grounds, open_max, ..commit(begun, None) };
                Act::Commit(Box::new(owing(begin, &self.debts(*owed))))
            }
            Deed::Go { which, off: by, to, grounds, mistaken, owed } => {
                let Some(index) = which.checked_rem(self.transactions.len()) else {
                    return Act::Reopen;
                };
                let row = self.transactions[index].clone();
                let next = match to {
                    To::Reached => Transaction {
                        state: State::Waiting { reached: false },
                        ..row.value.clone()
                    },
                    To::Taken(deadline) => taken(row.value.clone(), (*deadline).into()),
                    To::Ended => Transaction {
                        state: State::Ended { at: Timestamp(130), end: End::Cancelled },
                        ..row.value.clone()
                    },
                };
                let grounds = self.grounds(&next.terms, *grounds);
                let wrong = Standing { wrong_pins: row.version as u16, ..Standing::default() };
                let standing = (*mistaken && grounds.user.is_some()).then_some(wrong);
                let expected = Some(off(row.version, *by));
                let event = match to {
                    To::Reached => Event::Reached,
                    To::Taken(_) => Event::Taken,
                    To::Ended => Event::Ended(Outcome::Cancelled),
                };
                let go = Commit { grounds, standing, event, ..commit(next, expected) };
                Act::Commit(Box::new(owing(go, &self.debts(*owed))))
            }
            Deed::Lock { whose, off: by } => {
                let key = Self::whose(*whose);
                let expected = off(self.users[&key].0, *by);
                let standing = Standing { wrong_codes: expected as u16, ..Standing::default() };
                Act::Lock(key.0, key.1, expected, standing)
            }
            Deed::Change { tenant, off: by } => {
                let tenant: TenantName = TENANTS[usize::from(*tenant)].parse().unwrap();
                let expected = off(self.devices[&tenant], *by);
                Act::Change(tenant, expected)
            }
            Deed::Claim { now, lease, places, lane_max } => {
                let now = u64::from(*now);
                Act::Claim(Box::new(Claim {
                    now: Timestamp(now),
                    lease_end: Timestamp(now + u64::from(*lease)),
                    room: Room::new((*places).into(), (*lane_max).into()),
                    after: self.after.clone(),
                }))
            }
            Deed::Settle { which, late, verdict } => {
                match which.checked_rem(self.deliveries.len()) {
                    None => Act::Reopen,
                    Some(index) => {
                        let delivery = &self.deliveries[index].delivery;
                        Act::Settle(Settlement {
                            tenant: delivery.lane.tenant.clone(),
                            id: delivery.id,
                            lease: delivery.lease.wrapping_sub(u32::from(*late)),
                            verdict: *verdict,
                            outcome: format!("attempt {}", delivery.attempts),
                            at: Timestamp(180),
                        })
                    }
                }
            }
            Deed::Replay { tenant, which } => {
                let tenant = TENANTS[usize::from(*tenant)].parse().unwrap();
                let which = which.and_then(|which| which.checked_rem(self.deliveries.len()));
                let which = which.map(|index| self.deliveries[index].delivery.id);
                Act::Replay(tenant, which, Timestamp(170))
            }
            Deed::Reopen => Act::Reopen,
        }
    }

    fn grounds(&self, terms: &Terms, drift: Drift) -> Grounds {
        let user = self.users[&(terms.tenant.clone(), terms.user.clone())].0;
        let device = self.devices[&terms.tenant];
        Grounds {
            user: drift.user.map(|by| off(user, by)),
            device: drift.device.map(|by| (device_id(1), off(device, by))),
        }
    }

    fn debts(&mut self, owed: u8) -> Vec<(u128, Debt)> {
        let debts = (0..owed).map(|nth| {
            self.made += 1;
            let debt = if nth == 0 { Debt::Callback } else { Debt::Push(device_id(1)) };
            (self.made, debt)
        });
        debts.collect()
    }

    /// Does an act, and says what it should be answered.
    fn does(&mut self, act: &Act) -> String {
        match act {
            Act::Commit(commit) => format!("{:?}", self.commit(commit)),
            Act::Lock(tenant, user, expected, standing) => {
                let row = self.users.get_mut(&(tenant.clone(), user.clone())).unwrap();
                let holds = row.0 == *expected;
                if holds {
                    *row = (row.0 + 1, *standing);
                }
                format!("{:?}", if holds { Changed::Written } else { Changed::Stale })
            }
            Act::Change(tenant, expected) => {
                let version = self.devices.get_mut(tenant).unwrap();
                let holds = version == expected;
                *version += u32::from(holds);
                format!("{:?}", if holds { Changed::Written } else { Changed::Stale })
            }
            Act::Claim(claim) => format!("{:?}", self.claim(claim)),
            Act::Settle(settlement) => {
                let is_it = |unpaid: &Unpaid| {
                    let delivery = &unpaid.delivery;
                    delivery.lane.tenant == settlement.tenant
                        && delivery.id == settlement.id
                        && delivery.lease == settlement.lease
                };
                let due_at = match settlement.verdict {
                    Verdict::Retry(at) => Some(at),
                    verdict => {
                        self.deliveries.retain(|unpaid| {
                            let is_call = unpaid.delivery.debt == Debt::Callback;
                            !is_it(unpaid) || (verdict == Verdict::GiveUp && is_call)
                        });
                        None
                    }
                };
                if let Some(unpaid) = self.deliveries.iter_mut().find(|unpaid| is_it(unpaid)) {
                    unpaid.due_at = due_at;
                    unpaid.outcome = Some(settlement.outcome.clone());
                }
                String::from("()")
            }
            Act::Replay(tenant, which, now) => {
                let mut count = 0;
                for unpaid in &mut self.deliveries {
                    let delivery = &mut unpaid.delivery;
                    let is_asked = which.is_none_or(|id| id == delivery.id);
                    if delivery.lane.tenant == *tenant && is_asked && unpaid.due_at.is_none() {
                        (unpaid.due_at, delivery.owed_at, delivery.attempts) =
                            (Some(*now), *now, 0);
                        count += 1;
                    }
                }
                count.to_string()
            }
            Act::Reopen => String::new(),
        }
    }

    /// What is not paid, as it is listed.
    pub(crate) fn unpaid(&self, tenant: &TenantName, given_up: bool) -> Vec<Unpaid> {
        let theirs = self.deliveries.iter().filter(|u| u.delivery.lane.tenant == *tenant);
        theirs.filter(|unpaid| !given_up || unpaid.due_at.is_none()).cloned().collect()
    }

    fn claim(&mut self, claim: &Claim) -> Claimed {
        let waiting = self.deliveries.iter().filter(|unpaid| unpaid.due_at.is_some());
        let lanes: BTreeSet<Lane> = waiting.map(|unpaid| unpaid.delivery.lane.clone()).collect();
        let (before, behind): (Vec<_>, Vec<_>) =
            lanes.into_iter().partition(|lane| claim.after.as_ref() >= Some(lane));
        let mut room = claim.room.clone();
        let mut deliveries = Vec::new();
        for lane in behind.into_iter().chain(before) {
            let mut due: Vec<_> = self.deliveries.iter_mut().collect();
            due.retain(|u| u.delivery.lane == lane && u.due_at.is_some_and(|at| at <= claim.now));
            due.sort_by_key(|unpaid| unpaid.due_at);
            due.truncate(room.left(&lane).into());
            room.take(&lane, due.len() as u16);
            for unpaid in due {
                unpaid.due_at = Some(claim.lease_end);
                unpaid.delivery.lease += 1;
                deliveries.push(unpaid.delivery.clone());
                unpaid.delivery.attempts += 1;
            }
        }
        let first = deliveries.first().map(|delivery: &Delivery| delivery.lane.clone());
        self.after = first.or_else(|| claim.after.clone());
        Claimed { deliveries, resume: self.after.clone() }
    }

    fn commit(&mut self, commit: &Commit) -> Committed {
        let terms = &commit.transaction.terms;
        let row = self.transactions.iter().position(|t| t.value.terms.id == terms.id);
        let user = &(terms.tenant.clone(), terms.user.clone());
        let grounds = commit.grounds;
        if row.map(|row| self.transactions[row].version) != commit.expected
            || grounds.user.is_some_and(|version| version != self.users[user].0)
            || grounds.device.is_some_and(|(_, version)| version != self.devices[&terms.tenant])
        {
            return Committed::Stale;
        }
        let theirs = || self.transactions.iter().filter(|t| t.value.terms.tenant == terms.tenant);
        let open = || theirs().filter(|t| t.value.end().is_none()).map(|t| &t.value.terms);
        if row.is_none() {
            let name = terms.reference.as_ref().map(|r| &r.name);
            let named = |t: &Versioned<Transaction>| {
                t.value.terms.reference.as_ref().map(|r| &r.name) == name
            };
            if name.is_some() && theirs().any(named) {
                return Committed::ReferenceTaken;
            } else if open().any(|t| t.request_key == terms.request_key) {
                return Committed::KeyTaken;
            } else if open().filter(|t| t.user == terms.user).count() >= commit.open_max.into() {
                return Committed::Crowded;
            }
        }
        if let Some(standing) = commit.standing {
            let row = self.users.get_mut(user).unwrap();
            *row = (row.0 + 1, standing);
        }
        let due_at = match &commit.transaction.state {
            State::Ended { at, .. } => at.0,
            _ => commit.transaction.takes.last().map_or(100, |take| take.at.0),
        };
        if let Event::Ended(_) = commit.event {
            self.deliveries.retain(|Unpaid { delivery, .. }| {
                let is_its =
                    delivery.transaction == terms.id && delivery.lane.tenant == terms.tenant;
                delivery.debt == Debt::Callback || !is_its
            });
        }
        for owed in &commit.debts {
            let host = match owed.debt {
                Debt::Callback => "bank.example",
                Debt::Push(_) => "push/apns/app",
            };
            let delivery = Delivery {
                id: owed.id,
                lane: Lane { tenant: terms.tenant.clone(), host: host.into() },
                transaction: terms.id,
                debt: owed.debt,
                owed_at: Timestamp(due_at),
                attempts: 0,
                lease: 0,
            };
            let due_at = Some(Timestamp(due_at));
            self.deliveries.push(Unpaid { delivery, due_at, outcome: None });
        }
        let value = commit.transaction.clone();
        match row {
            Some(row) => {
                let version = self.transactions[row].version + 1;
                self.transactions[row] = Versioned { value, version };
            }
            None => self.transactions.push(Versioned { value, version: 1 }),
        }
        Committed::Written
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Deed;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::populated()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Deed> {
        let whose = || (0..2_u8, 0..2_u8).prop_map(|(tenant, user)| Whose { tenant, user });
        // Mostly right, at times one version behind or ahead.
        let drift = || prop_oneof![12 => Just(0_i8), 1 => Just(-1_i8), 1 => Just(1_i8)];
        let grounds = || {
            let one = || prop_oneof![Just(None), drift().prop_map(Some)];
            (one(), one()).prop_map(|(user, device)| Drift { user, device })
        };
        let reference = prop_oneof![Just(None), (0..6_u8).prop_map(Some)];
        let start = (whose(), 0..8_u8, reference, grounds(), 1..4_u16, 0..3_u8);
        let start = start.prop_map(|(whose, key, reference, grounds, open_max, owed)| {
            Deed::Start { whose, key, reference, grounds, open_max, owed }
        });
        let to = prop_oneof![
            1 => Just(To::Reached),
            2 => (100..200_u8).prop_map(To::Taken),
            3 => Just(To::Ended)
        ];
        let go = (any::<usize>(), drift(), to, grounds(), any::<bool>(), 0..3_u8);
        let go = go.prop_map(|(which, off, to, grounds, mistaken, owed)| Deed::Go {
            which,
            off,
            to,
            grounds,
            mistaken,
            owed,
        });
        let verdict = prop_oneof![
            2 => Just(Verdict::Done),
            2 => (90..200_u64).prop_map(|at| Verdict::Retry(Timestamp(at))),
            1 => Just(Verdict::GiveUp)
        ];
        prop_oneof![
            6 => start,
            8 => go,
            1 => (whose(), drift()).prop_map(|(whose, off)| Deed::Lock { whose, off }),
            1 => (0..2_u8, drift()).prop_map(|(tenant, off)| Deed::Change { tenant, off }),
            2 => (90..200_u8, 0..30_u8, 0..5_u8, 0..4_u8).prop_map(
                |(now, lease, places, lane_max)| Deed::Claim { now, lease, places, lane_max }
            ),
            2 => (any::<usize>(), prop::bool::weighted(0.2), verdict)
                .prop_map(|(which, late, verdict)| Deed::Settle { which, late, verdict }),
            1 => (0..2_u8, any::<Option<usize>>())
                .prop_map(|(tenant, which)| Deed::Replay { tenant, which }),
            1 => Just(Deed::Reopen),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, deed: &Deed) -> bool {
        match deed {
            // What has ended stays ended: the machine commits nothing else.
            Deed::Go { which, to, .. } => match which.checked_rem(state.transactions.len()) {
                Some(row) => {
                    state.transactions[row].value.end().is_none() || matches!(to, To::Ended)
                }
                None => false,
            },
            Deed::Settle { .. } => !state.deliveries.is_empty(),
            _ => true,
        }
    }

    fn apply(mut state: Self, deed: &Deed) -> Self {
        let act = state.act(deed);
        let answer = state.does(&act);
        state.last = Some((act, answer));
        state
    }
}
