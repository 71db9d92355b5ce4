//! A store in memory: what the ports ask for, as plainly as it can be said, under one mutex.
//!
//! For trials and tests. It promises all that a ledger promises except to outlive its process.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_core::Fault;
use countersign_core::delivery::{Lane, Settlement};
use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::enrolment::{Activation, ActivationState, Enrolment};
use countersign_core::id::{
    ClientId, DeliveryId, DeviceId, IdentityId, SerialBase, SerialNumber, TenantName,
    TransactionId, UserName,
};
use countersign_core::limits::{ACTIVATIONS_PER_USER_MAX, LISTED_MAX, OPEN_PER_USER_MAX};
use countersign_core::port::{
    Changed, Claim, Claimed, Commit, Committed, Created, Due, Grounds, Handle, Ledger, Registry,
    Unpaid, Versioned,
};
use countersign_core::secret::Key32;
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{State, Transaction};
use countersign_core::user::{Standing, User};
use parking_lot::Mutex;

use crate::Stats;

mod delivery;
mod device;
mod forget;

use delivery::Deliveries;
pub(crate) use delivery::begun;

/// A store in memory. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    /// In the order in which they began.
    transactions: Vec<Versioned<Transaction>>,
    places: BTreeMap<(TenantName, TransactionId), usize>,
    /// What stays of those that were removed, in the order in which they were.
    evidence: Vec<Versioned<Transaction>>,
    deliveries: Deliveries,
    tenants: BTreeMap<TenantName, Tenant>,
    users_made: BTreeMap<TenantName, u32>,
    clients: BTreeMap<(TenantName, ClientId), Client>,
    /// In the order in which they were made.
    keys: Vec<ApiKey>,
    users: BTreeMap<(TenantName, UserName), Versioned<User>>,
    devices: BTreeMap<(TenantName, DeviceId), Versioned<Device>>,
    /// In the order in which they were made.
    activations: Vec<Versioned<Activation>>,
    commits: u64,
}

impl Memory {
    pub(crate) fn stats(&self) -> Stats {
        Stats { commits: self.0.lock().commits, syncs: 0 }
    }
}

impl Ledger for Memory {
    async fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        let world = self.0.lock();
        let found = match handle {
            Handle::Id(id) => match world.places.get(&(tenant.clone(), *id)) {
                Some(place) => Some(world.transactions[*place].clone()),
                None => world.newest(tenant, |t| t.terms.id == *id),
            },
            Handle::Key(key) => {
                // Nobody is given the key of an open one, so an open one is always the last.
                world.newest(tenant, |t| t.terms.request_key == *key)
            }
            Handle::Reference(client, name) => world.newest(tenant, |t| named(t, client, name)),
        };
        Ok(found)
    }

    async fn open(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let world = self.0.lock();
        let all = world.of(tenant).filter(|t| t.value.terms.user == *user);
        let open = all.filter(|t| t.value.end().is_none());
        Ok(open.take(OPEN_PER_USER_MAX.into()).cloned().collect())
    }

    async fn list(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let world = self.0.lock();
        let all = world.of(tenant).rev().chain(world.evidence_of(tenant).rev());
        let theirs = all.filter(|t| user.is_none_or(|user| t.value.terms.user == *user));
        Ok(theirs.take(limit.into()).cloned().collect())
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let world = self.0.lock();
        let open = world.transactions.iter().map(|t| &t.value).filter(|t| t.end().is_none());
        let (mut late, coming): (Vec<_>, Vec<_>) = open.partition(|t| t.deadline() <= now);
        late.sort_by_key(|t| t.deadline());
        late.truncate(limit.into());
        Ok(Due {
            now: late.into_iter().map(|t| (t.terms.tenant.clone(), t.terms.id)).collect(),
            next: coming.into_iter().map(Transaction::deadline).min(),
        })
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        assert!(
            commit.standing.is_none() || commit.grounds.user.is_some(),
            "a standing is changed on the version that it was read at"
        );
        let mut world = self.0.lock();
        world.commits += 1;
        world.commit(commit)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        Ok(self.0.lock().deliveries.claim(claim))
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), Fault> {
        self.0.lock().deliveries.settle(settlement);
        Ok(())
    }

    async fn forsake(
        &self,
        lane: &Lane,
        now: Timestamp,
        owed_before: Timestamp,
        outcome: &str,
    ) -> Result<u16, Fault> {
        Ok(self.0.lock().deliveries.forsake(lane, now, owed_before, outcome))
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        given_up: bool,
        limit: u16,
    ) -> Result<Vec<Unpaid>, Fault> {
        Ok(self.0.lock().deliveries.list(tenant, given_up, limit))
    }

    async fn replay(
        &self,
        tenant: &TenantName,
        which: Option<DeliveryId>,
        now: Timestamp,
    ) -> Result<u16, Fault> {
        Ok(self.0.lock().deliveries.replay(tenant, which, now))
    }

    async fn forget(&self, before: Timestamp, limit: u16) -> Result<u16, Fault> {
        Ok(self.0.lock().forget(before, limit))
    }
}

impl World {
    fn of(&self, tenant: &TenantName) -> impl DoubleEndedIterator<Item = &Versioned<Transaction>> {
        self.transactions.iter().filter(move |t| t.value.terms.tenant == *tenant)
    }

    fn newest(
        &self,
        tenant: &TenantName,
        fits: impl Fn(&Transaction) -> bool,
    ) -> Option<Versioned<Transaction>> {
        let mut all = self.of(tenant).rev().chain(self.evidence_of(tenant).rev());
        all.find(|t| fits(&t.value)).cloned()
    }

    fn commit(&mut self, commit: Commit) -> Result<Committed, Fault> {
        let terms = commit.transaction.terms.clone();
        let place = self.places.get(&(terms.tenant.clone(), terms.id)).copied();
        let found = place.map(|place| self.transactions[place].version);
        if found != commit.expected || !self.holds(&terms.tenant, &terms.user, commit.grounds) {
            return Ok(Committed::Stale);
        }
        if found.is_none()
            && let Some(obstacle) = self.obstacle(&commit)
        {
            return Ok(obstacle);
        }
        if commit.debts.iter().any(|(id, _)| self.deliveries.has(&terms.tenant, *id)) {
            return Err(Fault::new("committing", "a delivery of that id is queued already"));
        }

        if let Some(standing) = commit.standing {
            let user = self.users.get_mut(&(terms.tenant.clone(), terms.user.clone()));
            let user = user.ok_or_else(|| Fault::new("committing", "a standing of nobody"))?;
            user.value.standing = standing;
            user.version += 1;
        }
        for (id, debt) in commit.debts {
            self.deliveries.queue(&commit.transaction, id, debt);
        }
        if let Some(place) = place {
            let row = &mut self.transactions[place];
            *row = Versioned { value: commit.transaction, version: row.version + 1 };
        } else {
            self.places.insert((terms.tenant.clone(), terms.id), self.transactions.len());
            self.transactions.push(Versioned { value: commit.transaction, version: 1 });
        }
        Ok(Committed::Written)
    }

    /// Whether what a decision stood on is as it was.
    fn holds(&self, tenant: &TenantName, user: &UserName, grounds: Grounds) -> bool {
        let user_holds = grounds.user.is_none_or(|version| {
            let user = self.users.get(&(tenant.clone(), user.clone()));
            user.is_some_and(|user| user.version == version)
        });
        let device_holds = grounds.device.is_none_or(|(id, version)| {
            let device = self.devices.get(&(tenant.clone(), id));
            device.is_some_and(|device| device.version == version)
        });
        user_holds && device_holds
    }

    /// What keeps a new transaction out.
    fn obstacle(&self, commit: &Commit) -> Option<Committed> {
        let terms = &commit.transaction.terms;
        let open = || self.of(&terms.tenant).map(|t| &t.value).filter(|t| t.end().is_none());
        let reference = terms.reference.as_ref();
        if reference.is_some_and(|reference| {
            self.newest(&terms.tenant, |t| named(t, &terms.client, &reference.name)).is_some()
        }) {
            Some(Committed::ReferenceTaken)
        } else if open().any(|t| t.terms.request_key == terms.request_key) {
            Some(Committed::KeyTaken)
        } else if open().filter(|t| t.terms.user == terms.user).count()
            >= usize::from(commit.open_max)
        {
            Some(Committed::Crowded)
        } else {
            None
        }
    }
}

fn named(transaction: &Transaction, client: &ClientId, name: &str) -> bool {
    let terms = &transaction.terms;
    terms.client == *client && terms.reference.as_ref().is_some_and(|r| r.name == name)
}

/// When what a commit tells last happened: its debts are due at once, and in that order.
pub(crate) fn moment(transaction: &Transaction) -> Timestamp {
    match &transaction.state {
        State::Ended { at, .. } => *at,
        State::Waiting { .. } | State::Taken { .. } => {
            transaction.takes.last().map_or(transaction.terms.started_at, |take| take.at)
        }
    }
}

impl Registry for Memory {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Created, Fault> {
        let mut world = self.0.lock();
        if world.tenants.contains_key(&tenant.name) {
            return Ok(Created::Exists);
        }
        world.tenants.insert(tenant.name.clone(), tenant);
        Ok(Created::Made)
    }

    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        Ok(self.0.lock().tenants.get(name).cloned())
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        Ok(self.0.lock().tenants.keys().cloned().collect())
    }

    async fn create_client(&self, client: Client) -> Result<Created, Fault> {
        let mut world = self.0.lock();
        world.check_tenant(&client.tenant, "making a client")?;
        let taken = |(_, other): (_, &Client)| {
            other.tenant == client.tenant && (other.id == client.id || other.name == client.name)
        };
        if world.clients.iter().any(taken) {
            return Ok(Created::Exists);
        }
        world.clients.insert((client.tenant.clone(), client.id.clone()), client);
        Ok(Created::Made)
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        Ok(self.0.lock().clients.get(&(tenant.clone(), id.clone())).cloned())
    }

    async fn set_webhook_keys(
        &self,
        tenant: &TenantName,
        id: &ClientId,
        newest: Key32,
        before: Option<Key32>,
    ) -> Result<Changed, Fault> {
        let mut world = self.0.lock();
        let Some(client) = world.clients.get_mut(&(tenant.clone(), id.clone())) else {
            return Ok(Changed::Stale);
        };
        client.webhook_key = newest;
        client.webhook_key_before = before;
        Ok(Changed::Written)
    }

    async fn create_key(&self, key: ApiKey) -> Result<Created, Fault> {
        let mut world = self.0.lock();
        if let Some(tenant) = &key.tenant {
            world.check_tenant(tenant, "making an API key")?;
        }
        if world.keys.iter().any(|other| other.id == key.id || other.digest == key.digest) {
            return Ok(Created::Exists);
        }
        world.keys.push(key);
        Ok(Created::Made)
    }

    async fn key(&self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        Ok(self.0.lock().keys.iter().find(|key| key.digest == *digest).cloned())
    }

    async fn keys(&self, tenant: Option<&TenantName>) -> Result<Vec<ApiKey>, Fault> {
        let world = self.0.lock();
        let good = world.keys.iter().filter(|key| tenant.is_none_or(|tenant| key.covers(tenant)));
        Ok(good.take(LISTED_MAX.into()).cloned().collect())
    }

    async fn create_user(
        &self,
        tenant: &TenantName,
        name: &UserName,
        profile: Option<&str>,
        now: Timestamp,
    ) -> Result<Created, Fault> {
        let mut world = self.0.lock();
        world.check_tenant(tenant, "making a user")?;
        let key = (tenant.clone(), name.clone());
        if world.users.contains_key(&key) {
            return Ok(Created::Exists);
        }
        let made = world.users_made.entry(tenant.clone()).or_default();
        *made += 1;
        let value = User {
            tenant: tenant.clone(),
            name: name.clone(),
            serial_base: SerialBase(*made),
            devices_made: 0,
            standing: Standing::default(),
            profile: profile.map(str::to_owned),
            created_at: now,
        };
        world.users.insert(key, Versioned { value, version: 1 });
        Ok(Created::Made)
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        Ok(self.0.lock().users.get(&(tenant.clone(), name.clone())).cloned())
    }

    async fn set_standing(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        standing: Standing,
    ) -> Result<Changed, Fault> {
        let mut world = self.0.lock();
        match world.users.get_mut(&(tenant.clone(), user.clone())) {
            Some(user) if user.version == expected => {
                user.value.standing = standing;
                user.version += 1;
                Ok(Changed::Written)
            }
            _ => Ok(Changed::Stale),
        }
    }

    async fn delete_user(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
    ) -> Result<Changed, Fault> {
        Ok(self.0.lock().delete_user(tenant, user, expected))
    }

    async fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.0.lock().devices.get(&(tenant.clone(), id)).cloned())
    }

    async fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        let world = self.0.lock();
        let this = |d: &&Versioned<Device>| {
            d.value.tenant == *tenant
                && d.value.serial_number == serial
                && d.value.status != DeviceStatus::Retired
        };
        Ok(world.devices.values().find(this).cloned())
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let is_theirs = |device: &Device| user.is_none_or(|user| device.user == *user);
        let mut listed = self.0.lock().listed(tenant, is_theirs);
        listed.truncate(LISTED_MAX.into());
        Ok(listed)
    }

    async fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.0.lock().holding(tenant, |identity| identity.id == id).into_iter().next())
    }

    async fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let all = |own: &Identity| {
            !labels.is_empty() && labels.iter().all(|label| own.labels.contains(label))
        };
        let mut found = self.0.lock().holding(tenant, all);
        found.truncate(limit.into());
        Ok(found)
    }

    async fn change_device(&self, device: Device, expected: u32) -> Result<Changed, Fault> {
        let mut world = self.0.lock();
        match world.devices.get_mut(&(device.tenant.clone(), device.id)) {
            Some(row) if row.version == expected => {
                row.value.status = device.status;
                row.value.pin = device.pin;
                row.value.push = device.push;
                row.value.identities = device.identities;
                row.version += 1;
                Ok(Changed::Written)
            }
            _ => Ok(Changed::Stale),
        }
    }

    async fn create_activation(&self, activation: Activation) -> Result<Created, Fault> {
        let mut world = self.0.lock();
        world.check_tenant(&activation.tenant, "making an activation")?;
        if world.activation(&activation).is_some() {
            return Ok(Created::Exists);
        }
        world.activations.push(Versioned { value: activation, version: 1 });
        Ok(Created::Made)
    }

    async fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Result<Vec<Versioned<Activation>>, Fault> {
        let world = self.0.lock();
        let theirs = |a: &&Versioned<Activation>| {
            a.value.tenant == *tenant && a.value.user == *user && now < a.value.not_after
        };
        let newest = world.activations.iter().rev().filter(theirs);
        Ok(newest.take(2 * ACTIVATIONS_PER_USER_MAX).cloned().collect())
    }

    async fn enrol(&self, enrolment: Enrolment) -> Result<Changed, Fault> {
        let mut world = self.0.lock();
        let Enrolment { activation, expected, user_expected, request, answer, device } = enrolment;
        let Some(at) = world.activation(&activation) else { return Ok(Changed::Stale) };
        let key = (device.tenant.clone(), device.id);
        if world.activations[at].version != expected || world.devices.contains_key(&key) {
            return Ok(Changed::Stale);
        }
        let user = world.users.get_mut(&(device.tenant.clone(), device.user.clone()));
        let Some(user) = user.filter(|user| user.version == user_expected) else {
            return Ok(Changed::Stale);
        };
        if device.serial_number.sequence != user.value.devices_made + 1 {
            return Err(Fault::new("enrolling a device", "its sequence number is not the next"));
        }
        user.value.devices_made += 1;
        user.version += 1;
        let row = &mut world.activations[at];
        row.value.state = ActivationState::Used { request, answer };
        row.version += 1;
        world.devices.insert(key, Versioned { value: device, version: 1 });
        Ok(Changed::Written)
    }

    async fn forget_activations(&self, before: Timestamp, limit: u16) -> Result<u16, Fault> {
        Ok(self.0.lock().forget_activations(before, limit))
    }
}

impl World {
    fn check_tenant(&self, tenant: &TenantName, doing: &'static str) -> Result<(), Fault> {
        if self.tenants.contains_key(tenant) {
            return Ok(());
        }
        Err(Fault::new(doing, "there is no such tenant"))
    }

    fn activation(&self, activation: &Activation) -> Option<usize> {
        let this = |a: &Versioned<Activation>| {
            a.value.tenant == activation.tenant && a.value.id == activation.id
        };
        self.activations.iter().position(this)
    }
}
