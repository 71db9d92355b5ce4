//! Use cases on signing identities: list, find, add, change and delete them.
//!
//! A device that loses an identity keeps its channel. Whether an identity may sign is checked for
//! each signature, and the commit of the signature checks it again.

use std::sync::Arc;

use super::{Engine, lost_every_race};
use crate::device::{Device, DeviceStatus, Identity, Usage};
use crate::enrolment::{Addition, NewIdentity};
use crate::event::{Actor, EventKind, Subject};
use crate::id::{DeviceId, IdentityId, TenantName, UserName};
use crate::limits::{COMMIT_TRIES_MAX, IDENTITIES_PER_DEVICE_MAX, LISTED_MAX};
use crate::port::{
    Change, Clock, Committed, DeviceFilter, Entropy, Ledger, Listed, Notifier, Page, Versioned,
};
use crate::refusal::{
    DeviceError, DeviceRefusal, Fault, IdentityError, StartError, StartRefusal, UnknownIdentity,
};
use crate::selector::{Filter, HeldIdentity, Selector};
use crate::tenant::Tenant;
use crate::time::Timestamp;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Reads the identities that a filter matches, by user and device, at most `limit`.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn identities(
        &self,
        tenant: &TenantName,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<HeldIdentity>, Fault> {
        let selected = match filter {
            Filter { user: Some(user), .. } => DeviceFilter::User(user),
            Filter { labels, .. } if !labels.is_empty() => DeviceFilter::Labels(labels),
            Filter { .. } => DeviceFilter::All,
        };
        let mut held = Vec::new();
        let mut page = Page::first(LISTED_MAX);
        loop {
            let Listed { rows, next } = match filter.device {
                Some(id) => {
                    let found = self.store.read().device(tenant, id).await?;
                    Listed { rows: found.into_iter().collect(), next: None }
                }
                None => self.store.devices(tenant, selected, page).await?,
            };
            for device in rows {
                if device.value.status == DeviceStatus::Retired {
                    continue;
                }
                let device = Arc::new(device.value);
                for identity in &device.identities {
                    if held.len() < limit && filter.matches(&device, identity) {
                        let (device, identity) = (Arc::clone(&device), identity.clone());
                        held.push(HeldIdentity { device, identity });
                    }
                }
            }
            match next {
                Some(after) if held.len() < limit => {
                    page = Page { after: Some(after), limit: LISTED_MAX };
                }
                _ => return Ok(held),
            }
        }
    }

    /// Reads one identity.
    ///
    /// # Errors
    /// Refuses an identity that is unknown, or whose device is retired.
    pub async fn identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<HeldIdentity, IdentityError> {
        let (device, place) = self.holder(tenant, id).await?;
        let identity = device.value.identities[place].clone();
        Ok(HeldIdentity { device: Arc::new(device.value), identity })
    }

    /// Finds the user whom the selectors mean: the user with an enabled identity for `usage`, on an
    /// unlocked device, that one of the selectors matches.
    ///
    /// # Errors
    /// Refuses selectors that match no identity, or only ones whose certificates have ended, and
    /// selectors that match identities of several users. A selector without any condition matches
    /// no user here.
    pub async fn whose(
        &self,
        tenant: &TenantName,
        selectors: &[Selector],
        usage: Usage,
    ) -> Result<UserName, StartError> {
        let (mut user, mut has_ended): (Option<UserName>, _) = (None, false);
        let now = self.now();
        for selector in selectors {
            let one = std::slice::from_ref(selector);
            let devices = match selector {
                Selector { device: Some(id), .. } => {
                    self.store.read().device(tenant, *id).await?.into_iter().collect()
                }
                Selector { id: Some(id), .. } => {
                    self.store.read().device_by_identity(tenant, *id).await?.into_iter().collect()
                }
                Selector { labels, .. } => {
                    let (filter, page) = (DeviceFilter::Labels(labels), Page::first(LISTED_MAX));
                    self.store.devices(tenant, filter, page).await?.rows
                }
            };
            for Versioned { value: device, .. } in devices {
                if device.check().is_err() || device.fit(usage, one, now).next().is_none() {
                    has_ended |= device.check().is_ok() && device.has_only_ended(usage, one, now);
                    continue;
                }
                match &user {
                    Some(user) if *user != device.user => {
                        return Err(StartRefusal::SeveralUsers.into());
                    }
                    _ => user = Some(device.user),
                }
            }
        }
        let refused =
            if has_ended { StartRefusal::CertificateEnded } else { StartRefusal::NoIdentity };
        Ok(user.ok_or(refused)?)
    }

    /// Adds an identity to a device. `issue` makes it for the device and its tenant. `public_key`
    /// is the identity's key as [`countersign_proof::public_key`] reads it from a certificate; the
    /// device has proved that it holds it. A repeated call with the same key for the same usage
    /// returns the existing identity.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown, a certificate that does not chain to
    /// the tenant's roots or is not valid now, a key that belongs, or belonged, to another
    /// identity, and an identity above the maximum. Fails if the store or `issue` does.
    pub async fn add_identity(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        public_key: &[u8],
        usage: Usage,
        issue: impl Fn(&Tenant, &Device) -> Result<NewIdentity, Fault> + Send + Sync,
    ) -> Result<Identity, DeviceError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let now = self.now();
            let (Versioned { value: mut holder, version }, user) =
                self.load_actor(tenant, device).await?;
            user.value.lock_state.check(now)?;
            let same = |own: &&Identity| {
                countersign_proof::public_key(&own.certificate).is_ok_and(|own| own == public_key)
            };
            match holder.identities.iter().find(same) {
                Some(own) if own.usage == usage => return Ok(own.clone()),
                Some(_) => return Err(DeviceRefusal::UnfitIdentity.into()),
                None if *public_key == holder.auth_key => {
                    return Err(DeviceRefusal::UnfitIdentity.into());
                }
                None => {}
            }
            if holder.identities.len() >= IDENTITIES_PER_DEVICE_MAX {
                return Err(DeviceRefusal::ManyIdentities.into());
            }
            let known =
                self.store.read().tenant(tenant).await?.ok_or(DeviceRefusal::UnknownDevice)?;
            let NewIdentity { identity, key } = issue(&known, &holder)?;
            let signer = self.signers.learn(&known, &identity, now).map_err(DeviceRefusal::from)?;
            let valid_until = Timestamp::of_seconds(signer.valid_until());
            let identity = Identity { valid_until, ..identity };
            holder.identities.push(identity.clone());
            let addition =
                Addition { device: holder, expected: version, user_expected: user.version, key };
            let event = self.event(
                tenant,
                EventKind::IdentityAdded,
                &Actor::Device(device),
                Subject::Identity(identity.id),
                vec![("device", device.to_string())],
            );
            match self.commit(Change::AddIdentity(Box::new(addition)), vec![event]).await? {
                Committed::Written => return Ok(identity),
                Committed::KeyUsed => return Err(DeviceRefusal::KeyUsed.into()),
                _ => {}
            }
        }
        Err(lost_every_race())
    }

    /// Enables or disables an identity, and stores the reason.
    ///
    /// # Errors
    /// Refuses an identity that is unknown.
    pub async fn set_identity_status(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: IdentityId,
        enabled: bool,
        reason: &str,
    ) -> Result<HeldIdentity, IdentityError> {
        let kind = if enabled { EventKind::IdentityEnabled } else { EventKind::IdentityDisabled };
        self.change_identity(actor, kind, tenant, id, |device, place| {
            let identity = &mut device.identities[place];
            identity.enabled = enabled;
            reason.clone_into(&mut identity.status_reason);
            identity.clone()
        })
        .await
    }

    /// Replaces an identity's labels, at most [`crate::limits::LABELS_PER_IDENTITY_MAX`].
    ///
    /// # Errors
    /// Refuses an identity that is unknown.
    pub async fn set_identity_labels(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: IdentityId,
        labels: &[String],
    ) -> Result<HeldIdentity, IdentityError> {
        let kind = EventKind::IdentityLabelled;
        self.change_identity(actor, kind, tenant, id, |device, place| {
            let identity = &mut device.identities[place];
            identity.labels = labels.to_vec();
            identity.clone()
        })
        .await
    }

    /// Deletes an identity. It can sign no more; earlier signatures remain verifiable.
    ///
    /// # Errors
    /// Refuses an identity that is unknown.
    pub async fn delete_identity(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<HeldIdentity, IdentityError> {
        let kind = EventKind::IdentityDeleted;
        let delete = |device: &mut Device, place| device.identities.remove(place);
        self.change_identity(actor, kind, tenant, id, delete).await
    }

    /// Changes the device that holds an identity. `change` gets the identity's index in the device.
    async fn change_identity(
        &self,
        actor: &Actor,
        kind: EventKind,
        tenant: &TenantName,
        id: IdentityId,
        change: impl Fn(&mut Device, usize) -> Identity + Send + Sync,
    ) -> Result<HeldIdentity, IdentityError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let (Versioned { value: mut device, version }, place) = self.holder(tenant, id).await?;
            let identity = change(&mut device, place);
            let details = vec![("device", device.id.to_string())];
            let event = self.event(tenant, kind, actor, Subject::Identity(id), details);
            let changed = Box::new(device.clone());
            let change = Change::ChangeDevice { device: changed, expected: version };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(HeldIdentity { device: Arc::new(device), identity });
            }
        }
        Err(lost_every_race())
    }

    /// Reads the device that holds an identity, and the identity's index in it.
    async fn holder(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<(Versioned<Device>, usize), IdentityError> {
        let found = self.store.read().device_by_identity(tenant, id).await?;
        let found = found.filter(|found| found.value.status != DeviceStatus::Retired);
        let device = found.ok_or(UnknownIdentity)?;
        let place = device.value.identities.iter().position(|identity| identity.id == id);
        let place = place.ok_or(UnknownIdentity)?;
        Ok((device, place))
    }
}
