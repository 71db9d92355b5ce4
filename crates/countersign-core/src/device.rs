//! A user's device, with its keys, signing identities and descriptions.

use crate::id::{DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use crate::push::Push;
use crate::refusal::{Locked, UserRefusal};
use crate::secret::Key32;
use crate::time::Timestamp;

/// An enrolled device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// The device's tenant.
    pub tenant: TenantName,
    /// The device's id, unique within its tenant. Outside the tenant it is written
    /// `<tenant>/<device id>`.
    pub id: DeviceId,
    /// The device's user.
    pub user: UserName,
    /// The serial number, assigned by the registry.
    pub serial_number: SerialNumber,
    /// The device's status.
    pub status: DeviceStatus,
    /// Whether its tenant was locked when the device was read. No change of a device writes it.
    pub tenant_locked: bool,
    /// The authentication key: an uncompressed P-256 point (SEC 1, 2.3.3).
    pub auth_key: [u8; 65],
    /// The key that seals requests to the device, and messages back.
    pub payload_key: Key32,
    /// The key of the device's codes and proofs of the PIN.
    pub code_key: Key32,
    /// The PIN, if the device has set one.
    pub pin: Option<PinDigest>,
    /// The signing identities, at most [`crate::limits::IDENTITIES_PER_DEVICE_MAX`].
    pub identities: Vec<Identity>,
    /// The device's description of itself.
    pub about: About,
    /// The push registration, which wakes the device when it is not online.
    pub push: Push,
    /// The time of the enrolment.
    pub enrolled_at: Timestamp,
}

/// Whether an operator may have a device's PIN forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinReset {
    /// An operator may. Who holds the device then sets its PIN.
    Allowed,
    /// A forgotten PIN needs a new enrolment.
    Forbidden,
}

impl PinReset {
    /// All rules.
    pub const ALL: [Self; 2] = [Self::Allowed, Self::Forbidden];

    /// The rule's name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Forbidden => "forbidden",
        }
    }
}

/// The status of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceStatus {
    /// The device may act.
    Active,
    /// Locked by an administrator, until unlocked.
    Locked,
    /// Permanently removed.
    Retired,
}

/// The server's record of a PIN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PinDigest {
    /// SHA-256 of a salted Argon2id hash of the PIN. The device keeps the salt.
    pub digest: Key32,
    /// The version of the PIN: 1 for the first; each change names the next.
    pub version: u32,
}

/// A device's description of itself at enrolment, by which users distinguish their devices.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct About {
    /// The name that the user gave the device.
    pub name: String,
    /// The platform.
    pub platform: String,
    /// The operating system's version.
    pub os_version: String,
    /// The application that runs on the device.
    pub app: String,
    /// The application's version.
    pub app_version: String,
}

/// A signing identity: a key on the device, with a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The identity's id.
    pub id: IdentityId,
    /// The permitted use. A request for the other use never matches this identity.
    pub usage: Usage,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The issuers' certificates, DER, nearest first.
    pub chain: Vec<Vec<u8>>,
    /// The time of the last second at which the certificate and its path to a root are valid.
    pub valid_until: Timestamp,
    /// Whether another authority than the tenant's own issued the certificate.
    pub imported: bool,
    /// The last renewal of the certificate, if it was renewed.
    pub renewal: Option<Box<Renewed>>,
    /// The labels that selectors match. They come from the activation code or an administrator,
    /// never from the device.
    pub labels: Vec<String>,
    /// The labels that the device asked for. They are listed, but selectors do not match them.
    pub proposed_labels: Vec<String>,
    /// Whether the identity may sign.
    pub enabled: bool,
    /// The reason for the last change of `enabled`; at most [`crate::limits::REASON_BYTES_MAX`].
    pub status_reason: String,
}

/// A renewal of an identity's certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renewed {
    /// SHA-256 of the device's request. The same request again gets the same certificate.
    pub request: [u8; 32],
    /// The certificate before the renewal, DER. It can sign until it ends, so that a signature that
    /// is on its way is accepted.
    pub certificate: Vec<u8>,
    /// The issuers' certificates of that certificate, DER, nearest first.
    pub chain: Vec<Vec<u8>>,
}

impl Identity {
    /// Whether the certificate is still valid.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now.seconds() <= self.valid_until.seconds()
    }

    /// Whether `certificate` is the identity's, or was it before the last renewal.
    #[must_use]
    pub fn has_certificate(&self, certificate: &[u8]) -> bool {
        let before = self.renewal.as_ref().is_some_and(|last| last.certificate == certificate);
        before || self.certificate == certificate
    }
}

/// The use of an identity, fixed at enrolment. An identity has only one use. If one key had both, a
/// caller could request a raw signature over the digest of a CMS's signed attributes, and so forge
/// a CMS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usage {
    /// Signs bytes that the server holds.
    Content,
    /// Signs a digest that a caller gave.
    Digest,
}

impl Device {
    /// Checks that the device may act.
    ///
    /// # Errors
    /// Refuses a device that is locked or retired, and one whose tenant is locked.
    pub fn check(&self) -> Result<(), Locked> {
        match self.status {
            DeviceStatus::Active if !self.tenant_locked => Ok(()),
            DeviceStatus::Active | DeviceStatus::Locked | DeviceStatus::Retired => {
                Err(Locked::Device)
            }
        }
    }

    /// Returns the device with another status.
    ///
    /// # Errors
    /// Refuses a retired device, which stays retired, and the status that the device already has.
    pub fn with_status(self, status: DeviceStatus) -> Result<Self, UserRefusal> {
        match self.status {
            DeviceStatus::Retired => Err(UserRefusal::UnknownDevice),
            present if present == status => Err(UserRefusal::Unchanged),
            _ if status == DeviceStatus::Retired => Ok(Self { status, push: Push::None, ..self }),
            DeviceStatus::Active | DeviceStatus::Locked => Ok(Self { status, ..self }),
        }
    }
}

impl DeviceStatus {
    /// The status's name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Locked => "locked",
            Self::Retired => "retired",
        }
    }
}

impl Usage {
    /// The use's name on the wire and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Digest => "digest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(renewal: Option<Box<Renewed>>) -> Identity {
        Identity {
            id: IdentityId(1),
            usage: Usage::Content,
            certificate: vec![2],
            chain: Vec::new(),
            valid_until: Timestamp(10_000),
            imported: false,
            renewal,
            labels: Vec::new(),
            proposed_labels: Vec::new(),
            enabled: true,
            status_reason: String::new(),
        }
    }

    #[test]
    fn a_certificate_is_valid_until_the_end_of_its_last_second() {
        let identity = identity(None);
        assert!(identity.is_valid(Timestamp(10_999)));
        assert!(!identity.is_valid(Timestamp(11_000)));
    }

    #[test]
    fn a_selector_by_a_certificate_finds_the_identity_after_its_renewal_too() {
        let before = Renewed { request: [0; 32], certificate: vec![1], chain: Vec::new() };
        let renewed = identity(Some(Box::new(before)));
        assert!(renewed.has_certificate(&[1]) && renewed.has_certificate(&[2]));
        assert!(!renewed.has_certificate(&[3]) && !identity(None).has_certificate(&[1]));
    }
}
