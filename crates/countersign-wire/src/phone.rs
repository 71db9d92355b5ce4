//! `phone.json`: all stored data of the command-line device, in one file that any program may read.
//!
//! It has every secret of a device in the clear, so it is for tests and demonstrations; a phone
//! keeps its keys in hardware. Unknown members are ignored.

use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::body::Use;
use crate::encoding::{base64, base64_list, from_base64url, to_base64url, unbase64};
use crate::id::{BadId, DeviceId, DeviceName};
use crate::jwk::PrivateJwk;
use crate::limits::{CERTIFICATE_BYTES_MAX, FRAME_BYTES_MAX};
use crate::secret::{CodeKey, PayloadKey};

/// The stored data of a device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Phone {
    /// The server's public address, such as `https://sign.example.com`, which tokens name.
    pub server: String,
    /// The address for this device's connections; absent if it is `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_at: Option<String>,
    /// The trusted certificates for TLS, PEM. If absent, the system's are trusted.
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
    /// The key for sealed messages in both directions.
    pub payload_key: PayloadKey,
    /// The key for OCRA codes.
    pub code_key: CodeKey,
    /// The signing identities.
    pub identities: Vec<PhoneIdentity>,
    /// The parameters of the PIN's digest; absent while the device has no PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PhonePin>,
    /// The parameters of a new PIN's digest, stored before the request and removed after the
    /// answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_next: Option<PhonePin>,
    /// The user's devices that were enrolled later, of which this device has told its user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_devices: Vec<DeviceId>,
}

/// One signing key with its certificate.
#[derive(Clone, Deserialize, Serialize)]
pub struct PhoneIdentity {
    /// The id by which a signature names the identity.
    pub id: String,
    /// What it may sign.
    #[serde(rename = "use")]
    pub usage: Use,
    /// The private key: PKCS#8, PEM.
    pub key: Zeroizing<String>,
    /// DER.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CERTIFICATE_BYTES_MAX>")]
    pub certificate: Vec<u8>,
    /// DER, from the issuer's to the root's.
    #[serde(with = "base64_list")]
    pub chain: Vec<Vec<u8>>,
    /// Whether another authority than the server's tenant issued the certificate.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub imported: bool,
    /// A renewal with a new key, from before the request until its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PhoneRenewal>,
}

/// A renewal of an identity's certificate for a new key, stored before the request and removed
/// after the answer.
#[derive(Clone, Deserialize, Serialize)]
pub struct PhoneRenewal {
    /// The new private key: PKCS#8, PEM.
    pub key: Zeroizing<String>,
    /// The body of the request, which is repeated byte for byte.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, FRAME_BYTES_MAX>")]
    pub request: Vec<u8>,
}

/// The parameters that, with the PIN, give its digest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PhonePin {
    /// The version of the PIN on the server.
    pub version: u32,
    /// Argon2id's salt: 16 bytes, base64url.
    #[serde(serialize_with = "salt_to_text", deserialize_with = "salt_from_text")]
    pub salt: [u8; 16],
}

impl PhonePin {
    /// The memory of Argon2id, in KiB.
    pub const MEMORY_KIB: u32 = 19_456;
    /// The passes of Argon2id.
    pub const PASSES: u32 = 2;
    /// The lanes of Argon2id.
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
    /// The device's name outside its tenant.
    ///
    /// # Errors
    /// Refuses a tenant name that is not valid.
    pub fn device_name(&self) -> Result<DeviceName, BadId> {
        DeviceName::new(&self.tenant, self.device_id)
    }

    /// The first identity of a usage.
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

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, Params, Version};
    use aws_lc_rs::digest;
    use serde_json::{Value, json};

    use super::*;
    use crate::secret::PinDigest;

    fn phone() -> Value {
        json!({
            "server": "https://sign.example.com",
            "server_ca": "-----BEGIN CERTIFICATE-----\n…",
            "tenant": "bank",
            "user": "ann",
            "device_id": "4711",
            "serial_number": "CSN0000120-1",
            "auth_key": PrivateJwk::generate(),
            "payload_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            "code_key": "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8",
            "identities": [
                {
                    "id": "3f0c",
                    "use": "content",
                    "key": "-----BEGIN PRIVATE KEY-----\n…",
                    "certificate": "MAA=",
                    "chain": ["MAA=", "MAAA"],
                },
                {"id": "3f0d", "use": "digest", "key": "-----", "certificate": "", "chain": []},
            ],
        })
    }

    #[test]
    fn a_phone_round_trips() {
        let mut written = phone();
        let read: Phone = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert_eq!(read.device_name().unwrap().to_string(), "bank/4711");
        assert_eq!(read.identity(Use::Digest).unwrap().id, "3f0d");

        written["pin"] = json!({"version": 1, "salt": "QEFCQ0RFRkdISUpLTE1OTw"});
        let read: Phone = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert_eq!(read.pin.unwrap().next().version, 2);
    }

    #[test]
    fn a_phone_shows_no_secret_in_debug() {
        let written = phone();
        let shown = format!("{:?}", serde_json::from_value::<Phone>(written.clone()).unwrap());
        for secret in [&written["payload_key"], &written["code_key"], &written["auth_key"]["d"]] {
            assert!(!shown.contains(secret.as_str().unwrap()), "{shown}");
        }
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }

    #[test]
    fn a_pins_digest_is_as_the_specification_says() {
        #[derive(Deserialize)]
        struct Vector {
            pin: String,
            salt: String,
            memory_kib: u32,
            passes: u32,
            lanes: u32,
            argon2id: PinDigest,
            digest: PinDigest,
        }
        let vector: Vector = crate::vectors::read(include_str!("../../../docs/vectors/pin.json"));
        let (memory, passes, lanes) = (PhonePin::MEMORY_KIB, PhonePin::PASSES, PhonePin::LANES);
        assert_eq!((vector.memory_kib, vector.passes, vector.lanes), (memory, passes, lanes));

        let params = Params::new(memory, passes, lanes, Some(32)).unwrap();
        let salt = from_base64url(&vector.salt).unwrap();
        let mut hash = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(vector.pin.as_bytes(), &salt, &mut hash)
            .unwrap();
        assert_eq!(&hash, vector.argon2id.as_bytes());
        let digest = digest::digest(&digest::SHA256, &hash);
        assert_eq!(digest.as_ref(), vector.digest.as_bytes());
    }
}
