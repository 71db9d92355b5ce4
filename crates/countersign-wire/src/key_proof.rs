//! What an identity's key signs to prove that the device that asks for a certificate holds it:
//! `proof` of each identity, in an enrolment and in `POST /device/v1/identities`.
//!
//! A PKCS#10 request alone can be sent again by anyone who saw it, in another user's name. The
//! statement names the user or the device, and the authentication key that the call is made with.

use aws_lc_rs::digest::{SHA256, digest};

use crate::body::Use;
use crate::id::DeviceId;

/// The first field: keeps the statement apart from everything else that a key signs.
const DOMAIN: &[u8] = b"countersign identity";
/// Stands behind each text. UTF-8 never has this byte (RFC 3629, section 3): so no field can hold
/// it, and the statement is no text that an identity could be asked to sign raw.
const SEPARATOR: u8 = 0xff;

/// What a key proof is over.
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

/// Who gets an identity.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The user whose device is enrolled.
    Enrolment(&'a str),
    /// The device that is enrolled already.
    Addition(DeviceId),
}

impl KeyStatement<'_> {
    /// The bytes to be signed: texts, each with 0xff behind it, then SHA-256 of the authentication
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
        assert_eq!(vectors.accepted.len(), 6);
        for case in vectors.accepted {
            let subject = match (&case.user, case.device) {
                (Some(user), None) => Subject::Enrolment(user),
                (None, Some(device)) => Subject::Addition(device),
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
            assert!(core::str::from_utf8(&bytes).is_err(), "it is no text");
        }
    }

    #[test]
    fn a_user_who_is_named_like_a_device_has_another_statement() {
        let of = |subject| {
            let (tenant, usage) = ("bank", Use::Content);
            KeyStatement { tenant, subject, usage, auth_key: &[4; 65], csr: &[0x30, 0] }.to_bytes()
        };
        let device = DeviceId::new(4711).unwrap();
        assert_ne!(of(Subject::Enrolment("4711")), of(Subject::Addition(device)));
    }
}
