//! A simple model of a ledger: its expected contents in lists, and the operations on it.

mod machine;

use std::collections::{BTreeMap, VecDeque};

use countersign_core::delivery::capacity::Capacity;
use countersign_core::delivery::{
    Delivery, DeliveryKind, Destination, Receiver, Settlement, Verdict,
};
use countersign_core::id::{DeliveryId, RequestKey, TenantName, UserName};
use countersign_core::port::{
    Claim, Claimed, Committed, OutboxEntry, Preconditions, TransactionChange, Versioned,
};
use countersign_core::spec::{Reference, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_core::user::LockState;

use crate::world::{commit, device_id, spec, taken, waiting, with_deliveries};

const TENANTS: [&str; 2] = ["acme", "beta"];
const USERS: [&str; 2] = ["jane", "joe"];

/// An operation on the ledger. Small numbers choose among few names, so that operations conflict.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Start {
        whose: Owner,
        key: u8,
        reference: Option<u8>,
        preconditions: Staleness,
        open_max: u16,
        queued: u8,
    },
    Go {
        which: usize,
        off: i8,
        to: To,
        preconditions: Staleness,
        mistaken: bool,
        queued: u8,
    },
    Lock {
        whose: Owner,
        off: i8,
    },
    Change {
        tenant: u8,
        off: i8,
    },
    Claim {
        now: u8,
        lease: u8,
        permits: u8,
        destination_max: u8,
    },
    Settle {
        which: usize,
        late: bool,
        verdict: Verdict,
    },
    Replay {
        tenant: u8,
        which: Option<usize>,
    },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    tenant: u8,
    user: u8,
}

/// The preconditions to state: none, or the right versions with this difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staleness {
    user: Option<i8>,
    device: Option<i8>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Reached,
    Taken(u8),
    Ended,
}

/// The model: the expected contents of the ledger, in lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) transactions: Vec<Versioned<Transaction>>,
    pub(crate) users: BTreeMap<(TenantName, UserName), (u32, LockState)>,
    pub(crate) devices: BTreeMap<TenantName, u32>,
    deliveries: Vec<OutboxEntry>,
    /// The `resume` of the last claim.
    made: u128,
    /// The call to a store for the last operation, with its expected answer.
    pub(crate) last: Option<(StoreCall, String)>,
}

/// An operation with its names and versions filled in.
#[derive(Clone, Debug)]
pub(crate) enum StoreCall {
    Commit(Box<TransactionChange>),
    Lock(TenantName, UserName, u32, LockState),
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
                model.users.insert(key, (version, LockState::default()));
            }
            model.devices.insert(tenant, 1);
        }
        model
    }

    fn whose(whose: Owner) -> (TenantName, UserName) {
        let tenant = TENANTS[usize::from(whose.tenant)].parse().unwrap();
        (tenant, USERS[usize::from(whose.user)].parse().unwrap())
    }

    /// Fills in the names and versions of an operation.
    fn act(&mut self, deed: &Operation) -> StoreCall {
        match deed {
            Operation::Start { whose, key, reference, preconditions, open_max, queued } => {
                let (tenant, user) = Self::whose(*whose);
                self.made += 1;
                let begun = waiting(TransactionSpec {
                    tenant,
                    user,
                    request_key: RequestKey::drawn((*key).into()),
                    reference: reference
                        .map(|r| Reference { name: format!("order {r}"), request: [r; 32] }),
                    ..spec(self.made)
                });
                let preconditions = self.preconditions(&begun.spec, *preconditions);
                let open_max = *open_max;
                let begin = TransactionChange { preconditions, open_max, ..commit(begun, None) };
                StoreCall::Commit(Box::new(with_deliveries(begin, &self.deliveries(*queued))))
            }
            Operation::Go { which, off: by, to, preconditions, mistaken, queued } => {
                let Some(index) = which.checked_rem(self.transactions.len()) else {
                    return StoreCall::Reopen;
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
                let preconditions = self.preconditions(&next.spec, *preconditions);
                let wrong = LockState { wrong_pins: row.version as u16, ..LockState::default() };
                let lock_state = (*mistaken && preconditions.user.is_some()).then_some(wrong);
                let expected = Some(off(row.version, *by));
                let event = match to {
                    To::Reached => Event::Reached,
                    To::Taken(_) => Event::Taken,
                    To::Ended => Event::Ended(Outcome::Cancelled),
                };
                let go = TransactionChange {
                    preconditions,
                    lock_state,
                    event,
                    ..commit(next, expected)
                };
                StoreCall::Commit(Box::new(with_deliveries(go, &self.deliveries(*queued))))
            }
            Operation::Lock { whose, off: by } => {
                let key = Self::whose(*whose);
                let expected = off(self.users[&key].0, *by);
                let lock_state = LockState { wrong_codes: expected as u16, ..LockState::default() };
                StoreCall::Lock(key.0, key.1, expected, lock_state)
            }
            Operation::Change { tenant, off: by } => {
                let tenant: TenantName = TENANTS[usize::from(*tenant)].parse().unwrap();
                let expected = off(self.devices[&tenant], *by);
                StoreCall::Change(tenant, expected)
            }
            Operation::Claim { now, lease, permits, destination_max } => {
                let now = u64::from(*now);
                StoreCall::Claim(Box::new(Claim {
                    now: Timestamp(now),
                    lease_end: Timestamp(now + u64::from(*lease)),
                    capacity: Capacity::new((*permits).into(), (*destination_max).into()),
                    after: None,
                }))
            }
            Operation::Settle { which, late, verdict } => {
                match which.checked_rem(self.deliveries.len()) {
                    None => StoreCall::Reopen,
                    Some(index) => {
                        let delivery = &self.deliveries[index].delivery;
                        StoreCall::Settle(Settlement {
                            tenant: delivery.destination.tenant().clone(),
                            id: delivery.id,
                            lease: delivery.lease.wrapping_sub(u32::from(*late)),
                            verdict: *verdict,
                            outcome: format!("attempt {}", delivery.attempts),
                            at: Timestamp(180),
                        })
                    }
                }
            }
            Operation::Replay { tenant, which } => {
                let tenant = TENANTS[usize::from(*tenant)].parse().unwrap();
                let which = which.and_then(|which| which.checked_rem(self.deliveries.len()));
                let which = which.map(|index| self.deliveries[index].delivery.id);
                StoreCall::Replay(tenant, which, Timestamp(170))
            }
            Operation::Reopen => StoreCall::Reopen,
        }
    }

    fn preconditions(&self, spec: &TransactionSpec, drift: Staleness) -> Preconditions {
        let user = self.users[&(spec.tenant.clone(), spec.user.clone())].0;
        let device = self.devices[&spec.tenant];
        Preconditions {
            user: drift.user.map(|by| off(user, by)),
            device: drift.device.map(|by| (device_id(1), off(device, by))),
        }
    }

    fn deliveries(&mut self, queued: u8) -> Vec<(u128, DeliveryKind)> {
        let deliveries = (0..queued).map(|nth| {
            self.made += 1;
            let kind =
                if nth == 0 { DeliveryKind::Callback } else { DeliveryKind::Push(device_id(1)) };
            (self.made, kind)
        });
        deliveries.collect()
    }

    /// Applies a call to the model. Answers the expected answer of a store.
    fn does(&mut self, act: &StoreCall) -> String {
        match act {
            StoreCall::Commit(commit) => format!("{:?}", self.commit(commit)),
            StoreCall::Lock(tenant, user, expected, lock_state) => {
                let row = self.users.get_mut(&(tenant.clone(), user.clone())).unwrap();
                let holds = row.0 == *expected;
                if holds {
                    *row = (row.0 + 1, *lock_state);
                }
                format!("{:?}", if holds { Committed::Written } else { Committed::Stale })
            }
            StoreCall::Change(tenant, expected) => {
                let version = self.devices.get_mut(tenant).unwrap();
                let holds = version == expected;
                *version += u32::from(holds);
                format!("{:?}", if holds { Committed::Written } else { Committed::Stale })
            }
            StoreCall::Claim(claim) => format!("{:?}", self.claim(claim)),
            StoreCall::Settle(settlement) => {
                let is_it = |outbox: &OutboxEntry| {
                    let delivery = &outbox.delivery;
                    *delivery.destination.tenant() == settlement.tenant
                        && delivery.id == settlement.id
                        && delivery.lease == settlement.lease
                };
                let due_at = match settlement.verdict {
                    Verdict::Retry(at) => Some(at),
                    verdict => {
                        self.deliveries.retain(|outbox| {
                            let is_call = outbox.delivery.kind == DeliveryKind::Callback;
                            !is_it(outbox) || (verdict == Verdict::GiveUp && is_call)
                        });
                        None
                    }
                };
                if let Some(outbox) = self.deliveries.iter_mut().find(|outbox| is_it(outbox)) {
                    outbox.due_at = due_at;
                    outbox.outcome = Some(settlement.outcome.clone());
                }
                String::from("()")
            }
            StoreCall::Replay(tenant, which, now) => {
                let mut count = 0;
                for outbox in &mut self.deliveries {
                    let delivery = &mut outbox.delivery;
                    let is_asked = which.is_none_or(|id| id == delivery.id);
                    if *delivery.destination.tenant() == *tenant
                        && is_asked
                        && outbox.due_at.is_none()
                    {
                        (outbox.due_at, delivery.queued_at, delivery.attempts) =
                            (Some(*now), *now, 0);
                        count += 1;
                    }
                }
                count.to_string()
            }
            StoreCall::Reopen => String::new(),
        }
    }

    /// The unsettled deliveries, in the order of the list.
    pub(crate) fn outbox(&self, tenant: &TenantName, dead_letters: bool) -> Vec<OutboxEntry> {
        let theirs = self.deliveries.iter().filter(|u| *u.delivery.destination.tenant() == *tenant);
        theirs.filter(|outbox| !dead_letters || outbox.due_at.is_none()).cloned().collect()
    }

    fn claim(&mut self, claim: &Claim) -> Claimed {
        let mut due: Vec<usize> = (0..self.deliveries.len()).collect();
        due.retain(|index| self.deliveries[*index].due_at.is_some_and(|at| at <= claim.now));
        due.sort_by_key(|index| self.deliveries[*index].due_at);
        let mut queues: Vec<(Destination, VecDeque<usize>)> = Vec::new();
        for index in due {
            let destination = &self.deliveries[index].delivery.destination;
            match queues.iter_mut().find(|(other, _)| other == destination) {
                Some((_, queue)) => queue.push_back(index),
                None => queues.push((destination.clone(), VecDeque::from([index]))),
            }
        }
        let mut capacity = claim.capacity.clone();
        let (mut deliveries, mut is_partial) = (Vec::new(), false);
        while !queues.is_empty() {
            for (destination, queue) in &mut queues {
                if capacity.available(destination, claim.now) == 0 {
                    is_partial = true;
                    queue.clear();
                    continue;
                }
                capacity.acquire(destination);
                let outbox = &mut self.deliveries[queue.pop_front().unwrap()];
                outbox.due_at = Some(claim.lease_end);
                outbox.delivery.lease += 1;
                deliveries.push(outbox.delivery.clone());
                outbox.delivery.attempts += 1;
            }
            queues.retain(|(_, queue)| !queue.is_empty());
        }
        Claimed { deliveries, resume: claim.after.clone(), is_partial }
    }

    fn commit(&mut self, commit: &TransactionChange) -> Committed {
        let spec = &commit.transaction.spec;
        let row = self.transactions.iter().position(|t| t.value.spec.id == spec.id);
        let user = &(spec.tenant.clone(), spec.user.clone());
        let preconditions = commit.preconditions;
        if row.map(|row| self.transactions[row].version) != commit.expected
            || preconditions.user.is_some_and(|version| version != self.users[user].0)
            || preconditions
                .device
                .is_some_and(|(_, version)| version != self.devices[&spec.tenant])
        {
            return Committed::Stale;
        }
        let theirs = || self.transactions.iter().filter(|t| t.value.spec.tenant == spec.tenant);
        let open = || theirs().filter(|t| t.value.end().is_none()).map(|t| &t.value.spec);
        if row.is_none() {
            let name = spec.reference.as_ref().map(|r| &r.name);
            let named = |t: &Versioned<Transaction>| {
                t.value.spec.reference.as_ref().map(|r| &r.name) == name
            };
            if name.is_some() && theirs().any(named) {
                return Committed::ReferenceTaken;
            } else if open().any(|t| t.request_key == spec.request_key) {
                return Committed::RequestKeyTaken;
            } else if open().filter(|t| t.user == spec.user).count() >= commit.open_max.into() {
                return Committed::TooManyOpen;
            }
        }
        if let Some(lock_state) = commit.lock_state {
            let row = self.users.get_mut(user).unwrap();
            *row = (row.0 + 1, lock_state);
        }
        let due_at = match &commit.transaction.state {
            State::Ended { at, .. } => at.0,
            _ => commit.transaction.takes.last().map_or(100, |take| take.at.0),
        };
        if let Event::Ended(_) = commit.event {
            self.deliveries.retain(|OutboxEntry { delivery, .. }| {
                let is_its = delivery.transaction == spec.id
                    && *delivery.destination.tenant() == spec.tenant;
                delivery.kind == DeliveryKind::Callback || !is_its
            });
        }
        for queued in &commit.deliveries {
            let host = match queued.kind {
                DeliveryKind::Callback => "bank.example",
                DeliveryKind::Push(_) => "push/apns/app",
            };
            let delivery = Delivery {
                id: queued.id,
                destination: Destination {
                    receiver: Receiver { tenant: spec.tenant.clone(), host: host.parse().unwrap() },
                    endpoint: queued.destination.endpoint,
                },
                transaction: spec.id,
                kind: queued.kind,
                queued_at: Timestamp(due_at),
                attempts: 0,
                lease: 0,
            };
            let due_at = Some(Timestamp(due_at));
            self.deliveries.push(OutboxEntry { delivery, due_at, outcome: None });
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
