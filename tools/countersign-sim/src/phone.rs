//! A phone: the server's record of a device, with the keys that the server never sees.

use aws_lc_rs::digest::{SHA256, digest};
use countersign_core::device::{Device, Identity, PinDigest, Usage};
use countersign_core::engine::{RawSubmission, Submission};
use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::secret::Key32;
use countersign_core::spec::{MediaType, TransactionSpec};
use countersign_device::cms::{self, SigningKey};
use countersign_device::raw;
use countersign_proof::ocra;
use countersign_proof::raw::{Algorithm, Hash};

/// The algorithm of every phone's raw signatures.
pub const RAW: Algorithm = Algorithm::Ecdsa(Hash::Sha256);

/// A user's phone, with one identity for content and one for digests.
#[derive(Debug)]
pub struct Phone {
    /// The device as it is enrolled, except for its serial number.
    pub device: Device,
    pub(crate) content_key: SigningKey,
    pub(crate) digest_key: SigningKey,
}

/// The server's record of a PIN. It uses no salt and no Argon2, because tests have no attacker.
#[must_use]
pub fn pin_digest(pin: &str, version: u32) -> PinDigest {
    let digest = digest(&SHA256, pin.as_bytes());
    let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
    PinDigest { digest: Key32::copied(&digest), version }
}

impl Phone {
    /// The device's id.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.device.id
    }

    /// The device's tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.device.tenant
    }

    /// The device's user.
    #[must_use]
    pub fn user(&self) -> &UserName {
        &self.device.user
    }

    /// The identity for this use.
    #[must_use]
    pub fn identity(&self, usage: Usage) -> &Identity {
        let mut all = self.device.identities.iter();
        all.find(|identity| identity.usage == usage).expect("a phone has one of each")
    }

    /// Signs the content of these terms, with the identity for content.
    #[must_use]
    pub fn sign(&self, spec: &TransactionSpec) -> Vec<u8> {
        self.sign_as(Usage::Content, spec)
    }

    /// Signs the content of these terms with either identity.
    #[must_use]
    pub fn sign_as(&self, usage: Usage, spec: &TransactionSpec) -> Vec<u8> {
        let identity = self.identity(usage);
        let key = match usage {
            Usage::Content => &self.content_key,
            Usage::Digest => &self.digest_key,
        };
        cms::sign(
            &spec.content.bytes,
            spec.content.media_type.as_str(),
            spec.id.bytes(),
            spec.started_at.seconds(),
            &identity.certificate,
            &identity.chain,
            key,
        )
        .expect("the key is its certificate's")
    }

    /// A submission of `value` as a signature by the identity for content.
    #[must_use]
    pub fn submission<'a>(&self, value: &'a [u8]) -> Submission<'a> {
        let identity = Some(self.identity(Usage::Content).id);
        Submission::Cms { message: value, identity }
    }

    /// Makes a raw signature over the content of these terms, with the identity for this use, even
    /// if it is the wrong one. Text is signed by its SHA-256, a digest as it is.
    #[must_use]
    pub fn sign_raw_as(&self, usage: Usage, spec: &TransactionSpec) -> Vec<u8> {
        let content = &spec.content;
        let digest = match content.media_type {
            MediaType::Digest => content.bytes.clone(),
            _ => Hash::Sha256.of(&content.bytes),
        };
        self.sign_digest_as(usage, &digest)
    }

    /// Signs this SHA-256 with the identity for this use.
    #[must_use]
    pub fn sign_digest_as(&self, usage: Usage, digest: &[u8]) -> Vec<u8> {
        let key = match usage {
            Usage::Content => &self.content_key,
            Usage::Digest => &self.digest_key,
        };
        raw::sign(key, RAW, digest).expect("the key is a P-256 key")
    }

    /// A submission of `value` as a raw signature by the identity for this use.
    #[must_use]
    pub fn raw_submission<'a>(&self, usage: Usage, value: &'a [u8]) -> RawSubmission<'a> {
        let identity = Some(self.identity(usage).id);
        RawSubmission { signature: value, identity, algorithm: RAW, digest: None }
    }

    /// Signs these terms in their required format.
    #[must_use]
    pub fn sign_rightly(&self, spec: &TransactionSpec) -> Vec<u8> {
        match spec.formats.raw() {
            None => self.sign(spec),
            Some(_) => self.sign_raw_as(spec.usage(), spec),
        }
    }

    /// Proves this PIN, right or wrong, for a transaction.
    #[must_use]
    pub fn prove_pin(&self, pin: &str, id: TransactionId) -> String {
        let digest = pin_digest(pin, 1).digest;
        ocra::pin_proof(self.device.code_key.expose(), digest.expose(), id.bytes())
    }
}
