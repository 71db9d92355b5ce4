//! A store in memory: the simplest implementation of the ledger, under one mutex.
//!
//! It is for trials and tests. It keeps the contract of a ledger, but its data is lost when the
//! process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_core::Fault;
use countersign_core::device::{Device, Identity};
use countersign_core::enrolment::Activation;
use countersign_core::event::RecordedEvent;
use countersign_core::id::{
    ClientId, DeviceId, DomainName, IdentityId, TenantName, TransactionId, UserName,
};
use countersign_core::port::{
    ApiKeyCursor, CertificateEnds, Claim, Claimed, Commit, Committed, Credential, CredentialKey,
    DeliveryCursor, DeviceCursor, DeviceFilter, DomainFilter, Due, Handle, Ledger, Listed,
    OutboxEntry, Page, Preconditions, Presence, Purge, Query, Settle, Settled, SigningRole,
    Snapshot, StoredKey, StoredMax, TransactionChange, TransactionCursor, Versioned,
};
use countersign_core::push_policy::{Contact, PushSnapshot};
use countersign_core::spec::TransactionSpec;
use countersign_core::tenant::{ApiKey, Client, Tenant, TenantDomain};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Event, Transaction};
use countersign_core::user::User;
use parking_lot::Mutex;

use crate::keys::CallbackKeys;
use crate::master_key::MasterKeys;
use crate::{Stats, single_use_mark};

mod change;
mod contact;
mod credential;
mod delivery;
mod device;
mod domain;
mod purge;
mod snapshot;
mod tenant;

use delivery::Deliveries;

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
    /// By number, in the order of their starts.
    transactions: BTreeMap<u64, Versioned<Transaction>>,
    /// The number of the latest transaction.
    started: u64,
    places: BTreeMap<(TenantName, TransactionId), u64>,
    /// The evidence of removed transactions, in the order of removal.
    evidence: Vec<Versioned<Transaction>>,
    /// The marks of single-use signatures. They are never removed.
    used_signatures: BTreeSet<(TenantName, [u8; 32])>,
    deliveries: Deliveries,
    contacts: BTreeMap<(TenantName, TransactionId, DeviceId), Contact>,
    tenants: BTreeMap<TenantName, Tenant>,
    domains: BTreeMap<DomainName, TenantName>,
    users_made: BTreeMap<TenantName, u32>,
    clients: BTreeMap<(TenantName, ClientId), Versioned<Client>>,
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

    pub(crate) fn has_devices(&self) -> bool {
        !self.0.lock().devices.is_empty()
    }

    pub(crate) fn backlog(&self) -> crate::Backlog {
        self.0.lock().deliveries.backlog()
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
    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let mut tables = self.0.lock();
        tables.commits += 1;
        tables.commit(commit)
    }

    async fn snapshot(&self, tenant: &TenantName, query: Query<'_>) -> Result<Snapshot, Fault> {
        Ok(self.0.lock().snapshot(tenant, query))
    }

    async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        let tables = self.0.lock();
        let read = |(tenant, device, id): &(TenantName, DeviceId, TransactionId)| {
            let device = tables.devices.get(&(tenant.clone(), *device))?.clone();
            let user = tables.users.get(&(tenant.clone(), device.value.user.clone())).cloned();
            let transaction = tables.transaction(tenant, &Handle::Id(*id));
            Some(PushSnapshot { device: device.into(), user, transaction })
        };
        Ok(who.iter().map(read).collect())
    }

    async fn presence(&self, _: &TenantName, _: &UserName) -> Result<Vec<Presence>, Fault> {
        Ok(Vec::new())
    }

    async fn credential(&self, key: CredentialKey<'_>) -> Result<Option<Credential>, Fault> {
        Ok(self.0.lock().credential(key))
    }

    async fn transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> Result<Listed<Versioned<Transaction>, TransactionCursor>, Fault> {
        Ok(self.0.lock().list_transactions(tenant, user, page))
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        filter: DeviceFilter<'_>,
        page: Page<DeviceCursor>,
    ) -> Result<Listed<Versioned<Device>, DeviceCursor>, Fault> {
        let has_all = |labels: &[String], own: &Identity| {
            !labels.is_empty() && labels.iter().all(|label| own.labels.contains(label))
        };
        let is_selected = |device: &Device| match filter {
            DeviceFilter::All => true,
            DeviceFilter::User(user) => device.user == *user,
            DeviceFilter::Labels(labels) => {
                device.identities.iter().any(|own| has_all(labels, own))
            }
        };
        let mut rows = self.0.lock().listed(tenant, is_selected);
        if let Some(after) = page.after {
            let place = |device: &Device| (device.user.clone(), device.serial_number.sequence);
            rows.retain(|row| place(&row.value) > (after.user.clone(), after.sequence));
        }
        rows.truncate(page.limit.into());
        Ok(Listed::new(rows, page.limit, DeviceCursor::of))
    }

    async fn tenants(
        &self,
        page: Page<TenantName>,
    ) -> Result<Listed<TenantName, TenantName>, Fault> {
        let tables = self.0.lock();
        let later = |name: &&TenantName| page.after.as_ref().is_none_or(|after| *name > after);
        let names = tables.tenants.keys().filter(later).take(page.limit.into());
        Ok(Listed::new(names.cloned().collect(), page.limit, TenantName::clone))
    }

    async fn domains(&self, filter: DomainFilter<'_>) -> Result<Vec<TenantDomain>, Fault> {
        Ok(self.0.lock().domains(filter))
    }

    async fn clients(
        &self,
        tenant: &TenantName,
        page: Page<ClientId>,
    ) -> Result<Listed<Client, ClientId>, Fault> {
        let tables = self.0.lock();
        let own = tables.clients.values().map(|client| &client.value);
        let own = own.filter(|client| client.tenant == *tenant);
        let later = own.filter(|client| page.after.as_ref().is_none_or(|after| client.id > *after));
        let clients = later.take(page.limit.into()).cloned().collect();
        Ok(Listed::new(clients, page.limit, |last: &Client| last.id.clone()))
    }

    async fn users(
        &self,
        tenant: &TenantName,
        page: Page<UserName>,
    ) -> Result<Listed<Versioned<User>, UserName>, Fault> {
        let tables = self.0.lock();
        let own = tables.users.values().filter(|user| user.value.tenant == *tenant);
        let is_later = |name: &UserName| page.after.as_ref().is_none_or(|after| name > after);
        let later = own.filter(|user| is_later(&user.value.name));
        let users = later.take(page.limit.into()).cloned().collect();
        Ok(Listed::new(users, page.limit, |last: &Versioned<User>| last.value.name.clone()))
    }

    async fn api_keys(
        &self,
        tenant: Option<&TenantName>,
        page: Page<ApiKeyCursor>,
    ) -> Result<Listed<ApiKey, ApiKeyCursor>, Fault> {
        let tables = self.0.lock();
        let is_later = |key: &&ApiKey| page.after.is_none_or(|after| ApiKeyCursor::of(key) > after);
        let covered = tables.keys.iter().filter(|key| tenant.is_none_or(|one| key.covers(one)));
        let mut keys: Vec<ApiKey> = covered.filter(is_later).cloned().collect();
        keys.sort_by_key(ApiKeyCursor::of);
        keys.truncate(page.limit.into());
        Ok(Listed::new(keys, page.limit, ApiKeyCursor::of))
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> Result<Listed<OutboxEntry, DeliveryCursor>, Fault> {
        Ok(self.0.lock().deliveries.list(tenant, dead_letters, page))
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        page: Page<u64>,
    ) -> Result<Listed<RecordedEvent, u64>, Fault> {
        let tables = self.0.lock();
        let all = tables.events.get(&tenant.cloned()).into_iter().flatten();
        let later = all.filter(|event| page.after.is_none_or(|after| event.number > after));
        let events = later.take(page.limit.into()).cloned().collect();
        Ok(Listed::new(events, page.limit, |last: &RecordedEvent| last.number))
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let tables = self.0.lock();
        let open = tables.transactions.values().map(|t| &t.value).filter(|t| t.end().is_none());
        let (mut late, coming): (Vec<_>, Vec<_>) = open.partition(|t| t.deadline() <= now);
        late.sort_by_key(|t| t.deadline());
        late.truncate(limit.into());
        Ok(Due {
            now: late.into_iter().map(|t| (t.spec.tenant.clone(), t.spec.id)).collect(),
            next: coming.into_iter().map(Transaction::deadline).min(),
        })
    }

    async fn certificate_ends(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CertificateEnds, Fault> {
        Ok(self.0.lock().certificate_ends(now, until))
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        Ok(self.0.lock().deliveries.claim(claim))
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Fault> {
        let mut tables = self.0.lock();
        Ok(match settle {
            Settle::Claimed(settlement) => tables.settle(&settlement),
            Settle::Expired { destination, now, queued_before, outcome } => {
                let deliveries = &mut tables.deliveries;
                let changed =
                    deliveries.give_up_expired(&destination, now, queued_before, &outcome);
                Settled { changed, event: None }
            }
        })
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        let mut tables = self.0.lock();
        Ok(match what {
            Purge::Transactions(before) => tables.purge(before, limit),
            Purge::Activations(before) => tables.purge_activations(before, limit),
            Purge::Events(before) => tables.purge_events(before, limit),
        })
    }
}

impl Tables {
    fn of(&self, tenant: &TenantName) -> impl DoubleEndedIterator<Item = &Versioned<Transaction>> {
        self.transactions.values().filter(move |t| t.value.spec.tenant == *tenant)
    }

    /// Lists the transactions of one user, or of all users, and then the evidence of removed ones.
    fn list_transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> Listed<Versioned<Transaction>, TransactionCursor> {
        let (stored, evidence) = match page.after {
            None => (u64::MAX, usize::MAX),
            Some(TransactionCursor::Stored(before)) => (before, usize::MAX),
            Some(TransactionCursor::Evidence(before)) => (0, before as usize),
        };
        let stored = self.transactions.range(..stored).rev();
        let stored = stored.map(|(number, row)| (TransactionCursor::Stored(*number), row));
        let evidence = self.evidence.iter().enumerate().take(evidence).rev();
        let evidence = evidence.map(|(at, row)| (TransactionCursor::Evidence(at as u64), row));
        let selected = stored.chain(evidence).filter(|(_, row)| {
            let spec = &row.value.spec;
            spec.tenant == *tenant && user.is_none_or(|user| spec.user == *user)
        });
        let rows: Vec<_> = selected.take(page.limit.into()).collect();
        let Listed { rows, next } = Listed::new(rows, page.limit, |(cursor, _)| *cursor);
        Listed { rows: rows.into_iter().map(|(_, row)| row.clone()).collect(), next }
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
        let found = place.map(|place| self.transactions[&place].version);
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
        let version = found.unwrap_or(0) + 1;
        let place = place.unwrap_or_else(|| {
            self.started += 1;
            self.places.insert((spec.tenant.clone(), spec.id), self.started);
            self.started
        });
        self.transactions.insert(place, Versioned { value: commit.transaction, version });
        Ok(Committed::Written)
    }

    /// Whether the rows on which a decision depends are unchanged, and the tenant not locked.
    fn holds(&self, tenant: &TenantName, user: &UserName, preconditions: Preconditions) -> bool {
        let user_holds = preconditions.user.is_none_or(|version| {
            let user = self.users.get(&(tenant.clone(), user.clone()));
            user.is_some_and(|user| user.version == version)
        });
        let device_holds = preconditions.device.is_none_or(|(id, version)| {
            let device = self.devices.get(&(tenant.clone(), id));
            device.is_some_and(|device| device.version == version)
        });
        let depends = preconditions.user.is_some() || preconditions.device.is_some();
        let is_locked = depends && self.tenant_is_locked(tenant);
        !is_locked && user_holds && device_holds
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
