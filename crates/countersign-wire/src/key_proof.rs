//! The statement that an identity's key signs to prove that the calling device holds it: `proof` of
//! each identity, in an enrolment, in `POST /device/v1/identities` and in the renewal of its
//! certificate.
//!
//! A PKCS#10 request alone can be sent again by every program that saw it, in another user's name.
//! The statement names the user or the device, and the authentication key of the call.

use aws_lc_rs::digest::{SHA256, digest};

use crate::body::Use;
use crate::id::DeviceId;

/// The first field. It separates the statement from everything else that a key signs.
const DOMAIN: &[u8] = b"countersign identity";
/// Follows each text. UTF-8 never has this byte (RFC 3629 §3), so no field can contain it, and the
/// statement is not a text that an identity could sign raw.
const SEPARATOR: u8 = 0xff;

/// The signed fields of a key proof.
#[derive(Clone, Copy, Debug)]
pub struct KeyStatement<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The user or the device that gets the identity.
    pub subject: Subject<'a>,
    /// What the identity may sign.
    pub usage: Use,
    /// The device's authentication key: an uncompressed P-256 point (SEC 1, section 2.3.3), 65
    /// bytes.
    pub auth_key: &'a [u8],
    /// The PKCS#10 request, DER.
    pub csr: &'a [u8],
}

/// The owner of the new identity.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The user whose device is enrolled.
    Enrolment(&'a str),
    /// The device, which is already enrolled.
    Addition(DeviceId),
    /// The identity, by its id, whose certificate is renewed.
    Renewal(&'a str),
}

impl KeyStatement<'_> {
    /// The bytes to sign: the texts, each followed by 0xff, then the SHA-256 of the authentication
    /// key and of the request.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let device;
        let (occasion, subject) = match self.subject {
            Subject::Enrolment(user) => ("enrolment", user),
            Subject::Addition(id) => {
                device = id.to_string();
                ("addition", device.as_str())
            }
            Subject::Renewal(identity) => ("renewal", identity),
        };
        let mut bytes = Vec::new();
        let texts = [occasion, self.tenant, subject, self.usage.as_str()];
        for text in [DOMAIN].into_iter().chain(texts.map(str::as_bytes)) {
            bytes.extend_from_slice(text);
            bytes.push(SEPARATOR);
        }
        bytes.extend_from_slice(digest(&SHA256, self.auth_key).as_ref());
        bytes.extend_from_slice(digest(&SHA256, self.csr).as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        accepted: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        tenant: String,
        user: Option<String>,
        device: Option<DeviceId>,
        identity: Option<String>,
        #[serde(rename = "use")]
        usage: Use,
        auth_key: String,
        csr: String,
        statement: String,
    }

    #[test]
    fn statements_are_written_as_the_specification_says() {
        let vectors: Vectors =
            crate::vectors::read(include_str!("../../../docs/vectors/key-proofs.json"));
        assert_eq!(vectors.accepted.len(), 8);
        for case in vectors.accepted {
            let subject = match (&case.user, case.device, &case.identity) {
                (Some(user), None, None) => Subject::Enrolment(user),
                (None, Some(device), None) => Subject::Addition(device),
                (None, None, Some(identity)) => Subject::Renewal(identity),
                other => panic!("{}: {other:?}", case.name),
            };
            let statement = KeyStatement {
                tenant: &case.tenant,
                subject,
                usage: case.usage,
                auth_key: &hex::decode(&case.auth_key).unwrap(),
                csr: &BASE64_STANDARD.decode(&case.csr).unwrap(),
            };
            let bytes = statement.to_bytes();
            assert_eq!(hex::encode(&bytes), case.statement, "{}", case.name);
            assert!(core::str::from_utf8(&bytes).is_err(), "it is not valid UTF-8");
        }
    }

    #[test]
    fn a_user_with_the_name_of_a_device_has_another_statement() {
        let of = |subject| {
            let (tenant, usage) = ("bank", Use::Content);
            KeyStatement { tenant, subject, usage, auth_key: &[4; 65], csr: &[0x30, 0] }.to_bytes()
        };
        let device = DeviceId::new(4711).unwrap();
        assert_ne!(of(Subject::Enrolment("4711")), of(Subject::Addition(device)));
    }
}
