//! A person's device: its keys, its signing identities, and its names.

use crate::id::{DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use crate::push::Push;
use crate::refusal::Refusal;
use crate::secret::Key32;
use crate::time::Timestamp;

/// An enrolled device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Whose it is.
    pub tenant: TenantName,
    /// Its id; outside its tenant it is named `<tenant>/<device id>`.
    pub id: DeviceId,
    /// Who holds it.
    pub user: UserName,
    /// Its serial number. Given by the registry.
    pub serial_number: SerialNumber,
    /// Whether it may do anything.
    pub status: DeviceStatus,
    /// Its authentication key: an uncompressed P-256 point (SEC 1, 2.3.3).
    pub auth_key: [u8; 65],
    /// Seals requests to it, and messages back.
    pub payload_key: Key32,
    /// Makes its codes and proofs of the PIN.
    pub code_key: Key32,
    /// The PIN that it set, if it has.
    pub pin: Option<PinDigest>,
    /// Its signing identities, at most [`crate::limits::IDENTITIES_PER_DEVICE_MAX`].
    pub identities: Vec<Identity>,
    /// What it said of itself.
    pub about: About,
    /// How it is woken when it is not online.
    pub push: Push,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
}

/// Whether a device may do anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceStatus {
    /// It may.
    Active,
    /// Locked by an administrator, until unlocked.
    Locked,
    /// Gone for good.
    Retired,
}

/// What the server holds of a PIN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PinDigest {
    /// SHA-256 of a salted Argon2id of the PIN; the device keeps the salt.
    pub digest: Key32,
    /// 1 for the first; each change names the next.
    pub version: u32,
}

/// What a device said of itself when it enrolled; for people to tell devices apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct About {
    /// What its owner calls it.
    pub name: String,
    /// The kind of machine.
    pub platform: String,
    /// Its operating system's version.
    pub os_version: String,
    /// The application.
    pub app: String,
    /// The application's version.
    pub app_version: String,
}

/// A signing identity: a key on the device, with a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Its id.
    pub id: IdentityId,
    /// What its signatures are good for; the other use never matches it.
    pub usage: Usage,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificates above it, DER, nearest first.
    pub chain: Vec<Vec<u8>>,
    /// The labels that selectors match: from the activation code or an administrator, never from
    /// the device.
    pub labels: Vec<String>,
    /// The labels that the device asked for. They are listed, and no selector finds an identity by
    /// them.
    pub proposed_labels: Vec<String>,
    /// Whether it may sign.
    pub enabled: bool,
    /// Why it may or may not, in the words of whoever said so last; at most
    /// [`crate::limits::REASON_BYTES_MAX`].
    pub status_reason: String,
}

/// The one use of an identity, fixed at enrolment. Were there one key for both, a caller could have
/// the digest of a CMS's signed attributes signed as "raw", and so forge a CMS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Usage {
    /// Signs bytes that the server holds.
    Content,
    /// Signs a digest that a caller gave.
    Digest,
}

impl Device {
    /// Whether it may take part at all.
    ///
    /// # Errors
    /// Refuses a device that is locked or retired.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.status {
            DeviceStatus::Active => Ok(()),
            DeviceStatus::Locked | DeviceStatus::Retired => Err(Refusal::DeviceLocked),
        }
    }

    /// The device with another status.
    ///
    /// # Errors
    /// Refuses a retired device, which is gone for good, and a change that changes nothing.
    pub fn with_status(self, status: DeviceStatus) -> Result<Self, Refusal> {
        match self.status {
            DeviceStatus::Retired => Err(Refusal::UnknownDevice),
            present if present == status => Err(Refusal::Unchanged),
            _ if status == DeviceStatus::Retired => Ok(Self { status, push: Push::None, ..self }),
            DeviceStatus::Active | DeviceStatus::Locked => Ok(Self { status, ..self }),
        }
    }

    /// Whether it could make signatures of that purpose.
    #[must_use]
    pub fn signs(&self, usage: Usage) -> bool {
        self.status == DeviceStatus::Active
            && self.identities.iter().any(|i| i.enabled && i.usage == usage)
    }
}

impl DeviceStatus {
    /// Its name in the ledger and on the command line.
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
    /// Its name on the wire and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Digest => "digest",
        }
    }
}
