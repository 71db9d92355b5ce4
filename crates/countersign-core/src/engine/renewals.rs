//! Use cases of certificates that end: renew an identity's certificate, count the ends, and replace
//! a tenant's authority.
//!
//! A renewal never depends on the present certificate being valid: a device that was off for years
//! renews its certificates when it is on again.

use core::time::Duration;

use super::{Engine, lost_every_race};
use crate::device::{Identity, Renewed};
use crate::enrolment::{NewIdentity, Renewal};
use crate::event::{Actor, EventKind, Subject};
use crate::id::{DeviceId, IdentityId, TenantName};
use crate::limits::{COMMIT_TRIES_MAX, ROOTS_PER_TENANT_MAX};
use crate::port::{
    CertificateEnds, Change, Clock, Committed, Entropy, Ledger, Notifier, StoredKey, Versioned,
};
use crate::refusal::{AdminError, AdminRefusal, DeviceError, DeviceRefusal, Fault};
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// A device's request for a new certificate.
#[derive(Clone, Copy, Debug)]
pub struct RenewalRequest<'a> {
    /// The tenant.
    pub tenant: &'a TenantName,
    /// The device, which has authenticated.
    pub device: DeviceId,
    /// The identity, one of the device's.
    pub identity: IdentityId,
    /// SHA-256 of the request's bytes.
    pub digest: [u8; 32],
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Renews the certificate of an identity, for its key or for another one. `certify` checks that
    /// the device has proved its keys, and makes the identity with the new certificate; its labels
    /// and status are ignored. The same request again gets the certificate that it got before.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown; an identity that is unknown or
    /// disabled; a certificate that does not chain to the tenant's roots or is not valid now; and a
    /// key that belongs, or belonged, to another identity. Otherwise as `certify` does.
    pub async fn renew_identity(
        &self,
        request: &RenewalRequest<'_>,
        certify: impl Fn(&Tenant, &Identity) -> Result<NewIdentity, DeviceError> + Send + Sync,
    ) -> Result<Identity, DeviceError> {
        let RenewalRequest { tenant, device, identity, digest } = *request;
        for _ in 0..COMMIT_TRIES_MAX {
            let now = self.now();
            let (Versioned { value: mut holder, version }, user) =
                self.load_actor(tenant, device).await?;
            user.value.lock_state.check(now)?;
            let mut own = holder.identities.iter_mut().filter(|own| own.enabled);
            let own = own.find(|own| own.id == identity).ok_or(DeviceRefusal::UnfitIdentity)?;
            if own.renewal.as_ref().is_some_and(|last| last.request == digest) {
                return Ok(own.clone());
            }
            let known =
                self.store.read().tenant(tenant).await?.ok_or(DeviceRefusal::UnknownDevice)?;
            let NewIdentity { identity: new, key } = certify(&known, own)?;
            let signer = self.signers.learn(&known, &new, now).map_err(DeviceRefusal::from)?;
            let is_same_key = countersign_proof::public_key(&own.certificate)
                == countersign_proof::public_key(&new.certificate);
            let before = Renewed {
                request: digest,
                certificate: core::mem::replace(&mut own.certificate, new.certificate),
                chain: core::mem::replace(&mut own.chain, new.chain),
            };
            own.renewal = Some(Box::new(before));
            own.imported = new.imported;
            own.valid_until = Timestamp::of_seconds(signer.valid_until());
            let renewed = own.clone();
            let details = vec![
                ("device", device.to_string()),
                ("key", if is_same_key { "same" } else { "new" }.to_owned()),
            ];
            let (kind, subject) = (EventKind::IdentityRenewed, Subject::Identity(identity));
            let event = self.event(tenant, kind, &Actor::Device(device), subject, details);
            let renewal =
                Renewal { device: holder, expected: version, user_expected: user.version, key };
            match self.commit(Change::RenewIdentity(Box::new(renewal)), vec![event]).await? {
                Committed::Written => return Ok(renewed),
                Committed::KeyUsed => return Err(DeviceRefusal::KeyUsed.into()),
                _ => {}
            }
        }
        Err(lost_every_race())
    }

    /// Counts the certificates of identities by their ends, those that end `within` a time too.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn certificate_ends(&self, within: Duration) -> Result<CertificateEnds, Fault> {
        let now = self.now();
        self.store.certificate_ends(now, now + within).await
    }

    /// Gives a tenant a new authority, which issues all further certificates. The tenant goes on to
    /// trust the old one. `sha256` is the digest of the new `certificate`, hex, for the event.
    ///
    /// # Errors
    /// Refuses an unknown tenant, an authority above the maximum of roots, and a tenant whose
    /// authority was replaced meanwhile.
    pub async fn replace_authority(
        &self,
        actor: &Actor,
        old: &Tenant,
        certificate: Vec<u8>,
        key: StoredKey,
        sha256: &str,
    ) -> Result<(), AdminError> {
        let tenant = old.name.clone();
        if old.roots.len() >= ROOTS_PER_TENANT_MAX {
            return Err(AdminRefusal::ManyRoots.into());
        }
        let details = vec![("sha256", sha256.to_owned())];
        let kind = EventKind::AuthorityRenewed;
        let event = self.event(&tenant, kind, actor, Subject::Tenant, details);
        let expected = old.authority_certificate.clone();
        let change = Change::ReplaceAuthority { tenant, expected, certificate, key };
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            Committed::TooMany => Err(AdminRefusal::ManyRoots.into()),
            _ => Err(AdminRefusal::Exists.into()),
        }
    }
}
