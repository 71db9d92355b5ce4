//! Changes of the registry and of the outbox, in memory.

use countersign_core::Fault;
use countersign_core::device::Device;
use countersign_core::enrolment::{Activation, ActivationState, Enrolment};
use countersign_core::event::{NewEvent, RecordedEvent};
use countersign_core::id::{ClientId, DomainName, SerialBase, TenantName, UserId, UserName};
use countersign_core::limits::ROOTS_PER_TENANT_MAX;
use countersign_core::port::{Change, Commit, Committed, SigningRole, StoredKey, Versioned};
use countersign_core::tenant::{ApiKey, Client, NewTenant, TenantState};
use countersign_core::time::Timestamp;
use countersign_core::user::{LockState, User};

use super::Tables;
use crate::keys::CallbackKeys;

impl Tables {
    /// Applies a change, and records its events if it was written.
    pub(super) fn commit(&mut self, commit: Commit) -> Result<Committed, Fault> {
        let Commit { change, events } = commit;
        let committed = self.apply(change)?;
        if matches!(committed, Committed::Written | Committed::Replayed(1..)) {
            for event in events {
                self.record(event);
            }
        }
        Ok(committed)
    }

    fn apply(&mut self, change: Change) -> Result<Committed, Fault> {
        match change {
            Change::Transaction(change) => self.change_transaction(*change),
            Change::Reached { tenant, device, transactions, at } => {
                for id in transactions {
                    self.contact(&tenant, id, device).reached_at.get_or_insert(at);
                }
                Ok(Committed::Written)
            }
            Change::CreateTenant(new) => Ok(self.create_tenant(*new)),
            Change::SetTenantState { tenant, expected, state } => {
                Ok(self.set_tenant_state(&tenant, expected, state))
            }
            Change::DeleteTenant { tenant, with_evidence } => {
                Ok(self.delete_tenant(&tenant, with_evidence))
            }
            Change::ReplaceAuthority { tenant, expected, certificate, key } => {
                self.replace_authority(&tenant, &expected, certificate, key)
            }
            Change::TrustRoot { tenant, root } => self.trust(&tenant, &root),
            Change::CreateClient { client, callback_key } => {
                self.create_client(*client, callback_key)
            }
            Change::RotateCallbackKey { tenant, client, key } => {
                Ok(self.rotate_callback_key(tenant, client, key))
            }
            Change::RetireCallbackKey { tenant, client } => {
                Ok(self.retire_callback_key(tenant, client))
            }
            Change::ChangeClient { client, expected } => Ok(self.change_client(&client, expected)),
            Change::DeleteClient(old) => Ok(self.delete_client(old)),
            Change::DistrustRoot { tenant, root } => Ok(self.distrust(&tenant, &root)),
            Change::AddDomain(new) => self.add_domain(new),
            Change::RemoveDomain(old) => Ok(self.remove_domain(&old)),
            Change::ReplaceTokenKey(change) => Ok(self.replace_token_key(*change)),
            Change::CreateApiKey(key) => self.create_key(key),
            Change::SetApiKeyState { id, state } => Ok(self.set_key_state(id, state)),
            Change::DeleteApiKey { id } => Ok(self.delete_key(id)),
            Change::DeleteActivation { tenant, id } => Ok(self.delete_activation(&tenant, id)),
            Change::CreateUser { tenant, user, id, profile, at, users_max } => {
                self.create_user(&tenant, &user, id, profile.as_deref(), at, users_max)
            }
            Change::SetLockState { tenant, user, expected, lock_state } => {
                Ok(self.set_lock_state(&tenant, &user, expected, lock_state))
            }
            Change::DeleteUser { tenant, user, expected } => {
                Ok(self.delete_user(&tenant, &user, expected))
            }
            Change::ChangeDevice { device, expected } => Ok(self.change_device(*device, expected)),
            Change::ChangePin { device, expected, user_expected, lock_state } => {
                Ok(self.change_pin(*device, expected, user_expected, lock_state))
            }
            Change::CreateActivation { activation, expected, devices_max } => {
                self.create_activation(*activation, expected, devices_max)
            }
            Change::Enrol { enrolment, devices_max } => self.enrol(*enrolment, devices_max),
            Change::AddIdentity(addition) => self.add_identity(*addition),
            Change::RenewIdentity(renewal) => {
                if !renewal.key_fits() {
                    return Err(Fault::new("renewing a certificate", Enrolment::KEYS_UNFIT));
                }
                Ok(self.renew_identity(*renewal))
            }
            Change::Replay { tenant, which, at } => {
                Ok(Committed::Replayed(self.deliveries.replay(&tenant, which, at)))
            }
            Change::Nothing => Ok(Committed::Written),
        }
    }

    pub(super) fn record(&mut self, event: NewEvent) {
        let NewEvent { tenant, at, kind, actor, subject, details } = event;
        let events = self.events.entry(tenant).or_default();
        let number = events.last().map_or(1, |last| last.number + 1);
        let details = details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        events.push(RecordedEvent { number, at, kind, actor, subject, details });
    }

    fn create_tenant(&mut self, new: NewTenant) -> Committed {
        let NewTenant { tenant, authority_key, token_key } = new;
        let is_domain = |domain: &DomainName| domain.as_str() == tenant.name.as_str();
        if self.tenants.contains_key(&tenant.name) || self.domains.keys().any(is_domain) {
            return Committed::Exists;
        }
        let name = &tenant.name;
        self.signing_keys.insert((name.clone(), SigningRole::Authority), authority_key);
        self.signing_keys.insert((name.clone(), SigningRole::Tokens), token_key);
        self.tenants.insert(tenant.name.clone(), tenant);
        Committed::Written
    }

    fn replace_authority(
        &mut self,
        tenant: &TenantName,
        expected: &[u8],
        certificate: Vec<u8>,
        key: StoredKey,
    ) -> Result<Committed, Fault> {
        let found = self.tenants.get(tenant);
        if found.is_none_or(|found| found.authority_certificate != expected) {
            return Ok(Committed::Stale);
        }
        let trusted = self.trust(tenant, &certificate)?;
        if trusted == Committed::Written {
            let found = self.tenants.get_mut(tenant).expect("the tenant was checked above");
            found.authority_certificate = certificate;
            self.signing_keys.insert((tenant.clone(), SigningRole::Authority), key);
        }
        Ok(trusted)
    }

    fn trust(&mut self, tenant: &TenantName, root: &[u8]) -> Result<Committed, Fault> {
        self.check_tenant(tenant, "trusting a root")?;
        let found = self.tenants.get_mut(tenant).expect("the tenant was checked above");
        if found.roots.iter().any(|one| one == root) {
            return Ok(Committed::Exists);
        }
        if found.roots.len() >= ROOTS_PER_TENANT_MAX {
            return Ok(Committed::TooMany);
        }
        found.roots.push(root.to_vec());
        Ok(Committed::Written)
    }

    fn create_client(&mut self, client: Client, key: StoredKey) -> Result<Committed, Fault> {
        self.check_tenant(&client.tenant, "making a client")?;
        let taken = |other: &Versioned<Client>| {
            let other = &other.value;
            other.tenant == client.tenant && (other.id == client.id || other.name == client.name)
        };
        if self.clients.values().any(taken) {
            return Ok(Committed::Exists);
        }
        let place = (client.tenant.clone(), client.id.clone());
        self.callback_keys.insert(place.clone(), CallbackKeys { newest: key, before: None });
        let tenant_locked = self.tenant_is_locked(&client.tenant);
        let value = Client { tenant_locked, ..client };
        self.clients.insert(place, Versioned { value, version: 1 });
        Ok(Committed::Written)
    }

    fn rotate_callback_key(
        &mut self,
        tenant: TenantName,
        client: ClientId,
        key: StoredKey,
    ) -> Committed {
        match self.callback_keys.get_mut(&(tenant, client)) {
            Some(keys) if keys.before.is_none() => {
                keys.before = Some(std::mem::replace(&mut keys.newest, key));
                Committed::Written
            }
            _ => Committed::Stale,
        }
    }

    fn retire_callback_key(&mut self, tenant: TenantName, client: ClientId) -> Committed {
        let Some(keys) = self.callback_keys.get_mut(&(tenant, client)) else {
            return Committed::Stale;
        };
        keys.before = None;
        Committed::Written
    }

    fn create_key(&mut self, key: ApiKey) -> Result<Committed, Fault> {
        if let Some(tenant) = &key.tenant {
            self.check_tenant(tenant, "making an API key")?;
        }
        if self.keys.iter().any(|other| other.id == key.id || other.digest == key.digest) {
            return Ok(Committed::Exists);
        }
        let own = key.tenant.as_ref();
        let tenant_locked = own.is_some_and(|tenant| self.tenant_is_locked(tenant));
        self.keys.push(ApiKey { tenant_locked, ..key });
        Ok(Committed::Written)
    }

    fn create_user(
        &mut self,
        tenant: &TenantName,
        name: &UserName,
        id: UserId,
        profile: Option<&str>,
        now: Timestamp,
        max: u64,
    ) -> Result<Committed, Fault> {
        self.check_tenant(tenant, "making a user")?;
        let key = (tenant.clone(), name.clone());
        if self.users.contains_key(&key) {
            return Ok(Committed::Exists);
        }
        if self.users.keys().filter(|(of, _)| of == tenant).count() as u64 >= max {
            return Ok(Committed::TenantFull);
        }
        let made = self.users_made.entry(tenant.clone()).or_default();
        *made += 1;
        let value = User {
            tenant: tenant.clone(),
            name: name.clone(),
            id,
            serial_base: SerialBase(*made),
            devices_made: 0,
            activations_made: 0,
            lock_state: LockState::default(),
            profile: profile.map(str::to_owned),
            created_at: now,
        };
        self.users.insert(key, Versioned { value, version: 1 });
        Ok(Committed::Written)
    }

    fn set_lock_state(
        &mut self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        lock_state: LockState,
    ) -> Committed {
        match self.users.get_mut(&(tenant.clone(), user.clone())) {
            Some(user) if user.version == expected => {
                user.value.lock_state = lock_state;
                user.version += 1;
                Committed::Written
            }
            _ => Committed::Stale,
        }
    }

    fn change_pin(
        &mut self,
        device: Device,
        expected: u32,
        user_expected: u32,
        lock_state: Option<LockState>,
    ) -> Committed {
        let whose = (device.tenant.clone(), device.user.clone());
        if self.users.get(&whose).is_none_or(|user| user.version != user_expected) {
            return Committed::Stale;
        }
        let changed = self.change_device(device, expected);
        if let (Committed::Written, Some(lock_state)) = (changed, lock_state) {
            let user = self.users.get_mut(&whose).expect("the user was found above");
            user.value.lock_state = lock_state;
            user.version += 1;
        }
        changed
    }

    fn create_activation(
        &mut self,
        activation: Activation,
        expected: u32,
        devices_max: u64,
    ) -> Result<Committed, Fault> {
        self.check_tenant(&activation.tenant, "making an activation")?;
        if !self.has_room_for_device(&activation.tenant, devices_max) {
            return Ok(Committed::TenantFull);
        }
        if self.activation(&activation).is_some() {
            return Ok(Committed::Stale);
        }
        let user = self.users.get_mut(&(activation.tenant.clone(), activation.user.clone()));
        let Some(user) = user.filter(|user| user.value.activations_made == expected) else {
            return Ok(Committed::Stale);
        };
        user.value.activations_made += 1;
        self.activations.push(Versioned { value: activation, version: 1 });
        Ok(Committed::Written)
    }

    /// Whether a tenant may have one more device.
    fn has_room_for_device(&self, tenant: &TenantName, max: u64) -> bool {
        (self.devices.keys().filter(|(of, _)| of == tenant).count() as u64) < max
    }

    fn enrol(&mut self, enrolment: Enrolment, devices_max: u64) -> Result<Committed, Fault> {
        if !enrolment.keys_fit() {
            return Err(Fault::new("enrolling a device", Enrolment::KEYS_UNFIT));
        }
        let Enrolment { activation, expected, user_expected, request, answer, device, keys } =
            enrolment;
        let Some(at) = self.activation(&activation) else { return Ok(Committed::Stale) };
        let key = (device.tenant.clone(), device.id);
        if self.activations[at].version != expected || self.devices.contains_key(&key) {
            return Ok(Committed::Stale);
        }
        let user = self.users.get(&(device.tenant.clone(), device.user.clone()));
        let Some(user) = user.filter(|user| user.version == user_expected) else {
            return Ok(Committed::Stale);
        };
        if device.serial_number.sequence != user.value.devices_made + 1 {
            return Err(Fault::new("enrolling a device", "its sequence number is not the next"));
        }
        let checked = self.check_keys(&device.tenant, &keys);
        if checked != Committed::Written {
            return Ok(checked);
        }
        if !self.has_room_for_device(&device.tenant, devices_max) {
            return Ok(Committed::TenantFull);
        }
        self.keep_keys(&device.tenant, &keys);
        let user = self.users.get_mut(&(device.tenant.clone(), device.user.clone()));
        let user = user.expect("the user was checked above");
        user.value.devices_made += 1;
        user.version += 1;
        let row = &mut self.activations[at];
        row.value.state = ActivationState::Used { request, answer };
        row.version += 1;
        self.give_address_to(&device);
        let tenant_locked = self.tenant_is_locked(&device.tenant);
        let value = Device { tenant_locked, ..device };
        self.devices.insert(key, Versioned { value, version: 1 });
        Ok(Committed::Written)
    }

    pub(super) fn check_tenant(
        &self,
        tenant: &TenantName,
        doing: &'static str,
    ) -> Result<(), Fault> {
        if self.tenants.get(tenant).is_some_and(|one| one.state != TenantState::Deleted) {
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
