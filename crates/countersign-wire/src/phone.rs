//! `phone.json`: everything that the command-line device keeps, in one file that any program may read.
//!
//! It holds every secret of a device in the clear, so it is for tests and demonstrations; a phone keeps
//! its keys in hardware. Members that are not known are ignored.

use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::body::Use;
use crate::encoding::{base64, base64_list, from_base64url, to_base64url, unbase64};
use crate::id::{BadId, DeviceId, DeviceName};
use crate::jwk::PrivateJwk;
use crate::limits::CSR_BYTES_MAX;
use crate::secret::{CodeKey, PayloadKey};

/// What a device keeps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Phone {
    /// The server's public address, such as `https://sign.example.com`.
    pub server: String,
    /// The certificates to trust for TLS, PEM; absent, those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_ca: Option<String>,
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The device's number in its tenant.
    pub device_id: DeviceId,
    /// The device's serial number.
    pub serial_number: String,
    /// The authentication key.
    pub auth_key: PrivateJwk,
    /// Opens requests, and seals messages back.
    pub payload_key: PayloadKey,
    /// Makes OCRA codes.
    pub code_key: CodeKey,
    /// What the device signs with.
    pub identities: Vec<PhoneIdentity>,
    /// How the PIN's digest is made; absent while none is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PhonePin>,
}

/// One signing key with its certificate.
#[derive(Clone, Deserialize, Serialize)]
pub struct PhoneIdentity {
    /// What a signature names it by.
    pub id: String,
    /// What it may sign.
    #[serde(rename = "use")]
    pub usage: Use,
    /// The private key: PKCS#8, PEM.
    pub key: Zeroizing<String>,
    /// DER.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CSR_BYTES_MAX>")]
    pub certificate: Vec<u8>,
    /// DER, the issuer first, the root last.
    #[serde(with = "base64_list")]
    pub chain: Vec<Vec<u8>>,
}

/// What is needed, besides the PIN itself, to make its digest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PhonePin {
    /// The version that the server holds.
    pub version: u32,
    /// Argon2id's salt: 16 bytes, base64url.
    #[serde(serialize_with = "salt_to_text", deserialize_with = "salt_from_text")]
    pub salt: [u8; 16],
}

impl PhonePin {
    /// Argon2id's memory, in KiB.
    pub const MEMORY_KIB: u32 = 19_456;
    /// Argon2id's passes.
    pub const PASSES: u32 = 2;
    /// Argon2id's lanes.
    pub const LANES: u32 = 1;

    /// Version 1 with a new salt.
    #[must_use]
    pub fn first() -> Self {
        Self { version: 0, salt: [0; 16] }.next()
    }

    /// The next version with a new salt.
    #[must_use]
    pub fn next(self) -> Self {
        let mut salt = [0; 16];
        crate::secret::fill_random(&mut salt);
        Self { version: self.version + 1, salt }
    }
}

impl Phone {
    /// What the device is called outside its tenant.
    ///
    /// # Errors
    /// Refuses a tenant that cannot be one.
    pub fn device_name(&self) -> Result<DeviceName, BadId> {
        DeviceName::new(&self.tenant, self.device_id)
    }

    /// The first identity of a use.
    #[must_use]
    pub fn identity(&self, usage: Use) -> Option<&PhoneIdentity> {
        self.identities.iter().find(|identity| identity.usage == usage)
    }
}

impl fmt::Debug for PhoneIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneIdentity")
            .field("id", &self.id)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

fn salt_to_text<S: Serializer>(salt: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_base64url(salt))
}

fn salt_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    let bytes = from_base64url(&String::deserialize(deserializer)?);
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| D::Error::custom("not 16 bytes of base64url"))
}
