//! A store in memory: the simplest implementation of the ports, under one mutex.
//!
//! It is for trials and tests. It keeps the contract of a ledger, but its data is lost when the
//! process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_core::Fault;
use countersign_core::delivery::{Destination, Settlement};
use countersign_core::device::Device;
use countersign_core::enrolment::Activation;
use countersign_core::event::RecordedEvent;
use countersign_core::id::{ClientId, DeviceId, IdentityId, TenantName, TransactionId, UserName};
use countersign_core::limits::OPEN_PER_USER_MAX;
use countersign_core::port::{
    Claim, Claimed, Commit, Committed, Due, Handle, Ledger, OutboxEntry, Preconditions, Purge,
    SigningRole, StoredKey, StoredMax, TransactionChange, Versioned,
};
use countersign_core::push_policy::Contact;
use countersign_core::spec::TransactionSpec;
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Event, Transaction};
use countersign_core::user::User;
use parking_lot::Mutex;

use crate::keys::CallbackKeys;
use crate::seal::MasterKeys;
use crate::{Stats, single_use_mark};

mod change;
mod contact;
mod delivery;
mod device;
mod purge;
mod registry;

use delivery::Deliveries;
pub(crate) use delivery::begun;

/// A store in memory. Clones share the same store. Its master key is random, and lost with it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Mutex<Tables>>, Arc<MasterKeys>);

impl Default for Memory {
    fn default() -> Self {
        Self(Arc::default(), Arc::new(MasterKeys::random()))
    }
}

#[derive(Debug, Default)]
struct Tables {
    /// In the order of their starts.
    transactions: Vec<Versioned<Transaction>>,
    places: BTreeMap<(TenantName, TransactionId), usize>,
    /// The evidence of removed transactions, in the order of removal.
    evidence: Vec<Versioned<Transaction>>,
    /// The marks of single-use signatures. They are never removed.
    used_signatures: BTreeSet<(TenantName, [u8; 32])>,
    deliveries: Deliveries,
    contacts: BTreeMap<(TenantName, TransactionId, DeviceId), Contact>,
    tenants: BTreeMap<TenantName, Tenant>,
    users_made: BTreeMap<TenantName, u32>,
    clients: BTreeMap<(TenantName, ClientId), Client>,
    signing_keys: BTreeMap<(TenantName, SigningRole), StoredKey>,
    callback_keys: BTreeMap<(TenantName, ClientId), CallbackKeys>,
    /// In the order of their creation.
    keys: Vec<ApiKey>,
    users: BTreeMap<(TenantName, UserName), Versioned<User>>,
    devices: BTreeMap<(TenantName, DeviceId), Versioned<Device>>,
    /// In the order of their creation.
    activations: Vec<Versioned<Activation>>,
    /// For SHA-256 of every public key that an identity has or had: the identity, and the serial
    /// number of the certificate if the tenant's authority issued it.
    identity_keys: BTreeMap<(TenantName, [u8; 32]), (IdentityId, Option<u128>)>,
    /// The events by tenant; `None` for events of the whole server.
    events: BTreeMap<Option<TenantName>, Vec<RecordedEvent>>,
    commits: u64,
}

impl Memory {
    pub(crate) fn stats(&self) -> Stats {
        Stats { commits: self.0.lock().commits, syncs: 0 }
    }

    pub(crate) fn master_keys(&self) -> &MasterKeys {
        &self.1
    }

    pub(crate) fn signing_key(&self, tenant: &TenantName, role: SigningRole) -> Option<StoredKey> {
        self.0.lock().signing_keys.get(&(tenant.clone(), role)).cloned()
    }

    pub(crate) fn callback_keys(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Option<CallbackKeys> {
        self.0.lock().callback_keys.get(&(tenant.clone(), client.clone())).cloned()
    }
}

impl Ledger for Memory {
    async fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        let tables = self.0.lock();
        let found = match handle {
            Handle::Id(id) => match tables.places.get(&(tenant.clone(), *id)) {
                Some(place) => Some(tables.transactions[*place].clone()),
                None => tables.newest(tenant, |t| t.spec.id == *id),
            },
            Handle::Key(key) => {
                // The request key of an open transaction is not given again, so an open one is
                // always the newest.
                tables.newest(tenant, |t| t.spec.request_key == *key)
            }
            Handle::Reference(client, name) => tables.newest(tenant, |t| named(t, client, name)),
        };
        Ok(found)
    }

    async fn open(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let tables = self.0.lock();
        let all = tables.of(tenant).filter(|t| t.value.spec.user == *user);
        let open = all.filter(|t| t.value.end().is_none());
        Ok(open.take(OPEN_PER_USER_MAX.into()).cloned().collect())
    }

    async fn list(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let tables = self.0.lock();
        let all = tables.of(tenant).rev().chain(tables.evidence_of(tenant).rev());
        let theirs = all.filter(|t| user.is_none_or(|user| t.value.spec.user == *user));
        Ok(theirs.take(limit.into()).cloned().collect())
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let tables = self.0.lock();
        let open = tables.transactions.iter().map(|t| &t.value).filter(|t| t.end().is_none());
        let (mut late, coming): (Vec<_>, Vec<_>) = open.partition(|t| t.deadline() <= now);
        late.sort_by_key(|t| t.deadline());
        late.truncate(limit.into());
        Ok(Due {
            now: late.into_iter().map(|t| (t.spec.tenant.clone(), t.spec.id)).collect(),
            next: coming.into_iter().map(Transaction::deadline).min(),
        })
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let mut tables = self.0.lock();
        tables.commits += 1;
        tables.commit(commit)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        Ok(self.0.lock().deliveries.claim(claim))
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), Fault> {
        self.0.lock().settle(&settlement);
        Ok(())
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        after: u64,
        limit: u16,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        let tables = self.0.lock();
        let all = tables.events.get(&tenant.cloned()).into_iter().flatten();
        Ok(all.filter(|event| event.number > after).take(limit.into()).cloned().collect())
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        let mut tables = self.0.lock();
        Ok(match what {
            Purge::Transactions(before) => tables.purge(before, limit),
            Purge::Activations(before) => tables.purge_activations(before, limit),
            Purge::Events(before) => tables.purge_events(before, limit),
        })
    }

    async fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Vec<Contact>, Fault> {
        let tables = self.0.lock();
        let about = |key: &&(TenantName, TransactionId, DeviceId)| key.0 == *tenant && key.1 == id;
        Ok(tables.contacts.keys().filter(about).map(|key| tables.contacts[key].clone()).collect())
    }

    async fn give_up_expired(
        &self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> Result<u16, Fault> {
        Ok(self.0.lock().deliveries.give_up_expired(destination, now, queued_before, outcome))
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        limit: u16,
    ) -> Result<Vec<OutboxEntry>, Fault> {
        Ok(self.0.lock().deliveries.list(tenant, dead_letters, limit))
    }
}

impl Tables {
    fn of(&self, tenant: &TenantName) -> impl DoubleEndedIterator<Item = &Versioned<Transaction>> {
        self.transactions.iter().filter(move |t| t.value.spec.tenant == *tenant)
    }

    fn newest(
        &self,
        tenant: &TenantName,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Option<Versioned<Transaction>> {
        let mut all = self.of(tenant).rev().chain(self.evidence_of(tenant).rev());
        all.find(|t| fits(&t.value)).cloned()
    }

    fn change_transaction(&mut self, commit: TransactionChange) -> Result<Committed, Fault> {
        assert!(
            commit.lock_state.is_none() || commit.preconditions.user.is_some(),
            "a lock state is changed on the version that it was read at"
        );
        let spec = commit.transaction.spec.clone();
        let place = self.places.get(&(spec.tenant.clone(), spec.id)).copied();
        let found = place.map(|place| self.transactions[place].version);
        if let (None, Some(expected), Event::Discarded) = (found, commit.expected, commit.event) {
            return Ok(self.discard_evidence(&spec, expected));
        }
        if found != commit.expected || !self.holds(&spec.tenant, &spec.user, commit.preconditions) {
            return Ok(Committed::Stale);
        }
        if found.is_none()
            && let Some(obstacle) = self.obstacle(&commit)
        {
            return Ok(obstacle);
        }
        let mark = single_use_mark(&commit).map(|mark| (spec.tenant.clone(), mark));
        if mark.as_ref().is_some_and(|mark| self.used_signatures.contains(mark)) {
            return Ok(Committed::SignatureUsed);
        }
        if commit.deliveries.iter().any(|delivery| self.deliveries.has(&spec.tenant, delivery.id)) {
            return Err(Fault::new("committing", "a delivery of that id is queued already"));
        }

        self.used_signatures.extend(mark);
        if let Some(lock_state) = commit.lock_state {
            let user = self.users.get_mut(&(spec.tenant.clone(), spec.user.clone()));
            let user =
                user.ok_or_else(|| Fault::new("committing", "a lock state without its user"))?;
            user.value.lock_state = lock_state;
            user.version += 1;
        }
        if let Event::Ended(_) = commit.event {
            self.deliveries.call_off(&spec.tenant, spec.id);
        }
        for delivery in commit.deliveries {
            self.deliveries.queue(spec.id, delivery);
        }
        if let Some(place) = place {
            let row = &mut self.transactions[place];
            *row = Versioned { value: commit.transaction, version: row.version + 1 };
        } else {
            self.places.insert((spec.tenant.clone(), spec.id), self.transactions.len());
            self.transactions.push(Versioned { value: commit.transaction, version: 1 });
        }
        Ok(Committed::Written)
    }

    /// Whether the rows on which a decision depends are unchanged.
    fn holds(&self, tenant: &TenantName, user: &UserName, preconditions: Preconditions) -> bool {
        let user_holds = preconditions.user.is_none_or(|version| {
            let user = self.users.get(&(tenant.clone(), user.clone()));
            user.is_some_and(|user| user.version == version)
        });
        let device_holds = preconditions.device.is_none_or(|(id, version)| {
            let device = self.devices.get(&(tenant.clone(), id));
            device.is_some_and(|device| device.version == version)
        });
        user_holds && device_holds
    }

    /// The reason, if any, for not adding a new transaction.
    fn obstacle(&self, commit: &TransactionChange) -> Option<Committed> {
        let spec = &commit.transaction.spec;
        let open = || self.of(&spec.tenant).map(|t| &t.value).filter(|t| t.end().is_none());
        let reference = spec.reference.as_ref();
        if reference.is_some_and(|reference| {
            self.newest(&spec.tenant, |t| named(t, &spec.client, &reference.name)).is_some()
        }) {
            Some(Committed::ReferenceTaken)
        } else if open().any(|t| t.spec.request_key == spec.request_key) {
            Some(Committed::RequestKeyTaken)
        } else if open().filter(|t| t.spec.user == spec.user).count()
            >= usize::from(commit.open_max)
        {
            Some(Committed::TooManyOpen)
        } else {
            self.full(spec, commit.stored_max)
        }
    }

    /// The quota, if any, that one more transaction of this client would exceed.
    fn full(&self, spec: &TransactionSpec, max: StoredMax) -> Option<Committed> {
        let (mut all, mut own) = (0, 0);
        for stored in self.of(&spec.tenant).map(|t| &t.value.spec) {
            all += stored.stored_bytes();
            own += if stored.client == spec.client { stored.stored_bytes() } else { 0 };
        }
        if own >= max.client {
            Some(Committed::ClientFull)
        } else {
            (all >= max.tenant).then_some(Committed::TenantFull)
        }
    }
}

fn named(transaction: &Transaction, client: &ClientId, name: &str) -> bool {
    let spec = &transaction.spec;
    spec.client == *client && spec.reference.as_ref().is_some_and(|r| r.name == name)
}
