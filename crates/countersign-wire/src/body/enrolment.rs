//! `POST /device/v1/enrolments`: the request has a device's keys, the answer its names,
//! certificates and secrets.

use serde::{Deserialize, Deserializer, Serialize};

use super::Push;
use crate::encoding::{base64, base64_list, bounded, list, name, some, unbase64};
use crate::id::{BadId, DeviceId, DeviceName};
use crate::jwk::PublicJwk;
use crate::limits::{
    CERTIFICATE_BYTES_MAX, CSR_BYTES_MAX, IDENTITIES_MAX, KEY_PROOF_BYTES_MAX, LABEL_BYTES_MAX,
    LABELS_MAX, NAME_BYTES_MAX,
};

/// The request of a device. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRequest {
    /// The tenant of the activation code.
    #[serde(deserialize_with = "name::<_, NAME_BYTES_MAX>")]
    pub tenant: String,
    /// The user of the activation code.
    #[serde(deserialize_with = "name::<_, NAME_BYTES_MAX>")]
    pub user: String,
    /// The identities to certify: 1 to [`IDENTITIES_MAX`].
    #[serde(deserialize_with = "some::<_, _, IDENTITIES_MAX>")]
    pub identities: Vec<IdentityRequest>,
    /// The device's authentication key for all later calls.
    pub auth_key: PublicJwk,
    /// A single-use key, to which the answer's secrets are sealed.
    pub seal_key: PublicJwk,
    /// The device's description of itself.
    pub device: DeviceDescription,
    /// The push address of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<Push>,
}

/// One key of the device, and its usage.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    /// What the key may sign; it never changes.
    #[serde(rename = "use")]
    pub usage: Use,
    /// PKCS#10, DER, signed by its own key.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CSR_BYTES_MAX>")]
    pub csr: Vec<u8>,
    /// The signature by its own key over [`crate::key_proof::KeyStatement`].
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, KEY_PROOF_BYTES_MAX>")]
    pub proof: Vec<u8>,
    /// Labels that the device proposes, each 1 to [`LABEL_BYTES_MAX`] bytes. Selectors ignore them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "labels")]
    pub proposed_labels: Vec<String>,
}

/// `POST /device/v1/identities`: one more identity of an enrolled device. Read strictly by the
/// server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NewIdentity {
    /// What the key may sign; it never changes.
    #[serde(rename = "use")]
    pub usage: Use,
    /// PKCS#10, DER, signed by its own key, which proves that the device holds the key.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CSR_BYTES_MAX>")]
    pub csr: Vec<u8>,
    /// The signature by its own key over [`crate::key_proof::KeyStatement`].
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, KEY_PROOF_BYTES_MAX>")]
    pub proof: Vec<u8>,
    /// Labels that the device proposes, each 1 to [`LABEL_BYTES_MAX`] bytes. Selectors ignore them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "labels")]
    pub proposed_labels: Vec<String>,
    /// A certificate for the key by another authority; without one, the server issues it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// `POST /device/v1/identities/{id}/certificate`: a new certificate for an identity. Read strictly
/// by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// PKCS#10, DER, signed by its own key: the identity's present key, or a new one.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CSR_BYTES_MAX>")]
    pub csr: Vec<u8>,
    /// The signature by the request's key over [`crate::key_proof::KeyStatement`].
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, KEY_PROOF_BYTES_MAX>")]
    pub proof: Vec<u8>,
    /// The signature over the same statement by the identity's present key, if the request is for
    /// another one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "key_proof")]
    pub present_proof: Option<Vec<u8>>,
    /// A certificate for the key by another authority; without one, the server issues it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

/// A key proof in base64, which may be absent.
mod key_proof {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{KEY_PROOF_BYTES_MAX, base64, unbase64};

    #[derive(Deserialize)]
    struct Proof(#[serde(deserialize_with = "unbase64::<_, KEY_PROOF_BYTES_MAX>")] Vec<u8>);

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        proof: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match proof {
            Some(proof) => base64(proof, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Proof::deserialize(deserializer).map(|Proof(proof)| Some(proof))
    }
}

/// A certificate by another authority.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// DER.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CERTIFICATE_BYTES_MAX>")]
    pub certificate: Vec<u8>,
    /// DER, starting with the issuer's: the path to a root that the tenant trusts.
    #[serde(with = "base64_list")]
    pub chain: Vec<Vec<u8>>,
}

/// What an identity may sign. An identity of one usage never signs for the other: a caller that
/// gives digests could give the digest of a CMS's signed attributes, and so forge a CMS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// A CMS, or a raw signature over bytes that the server holds.
    Content,
    /// A raw signature over a digest that a caller gives.
    Digest,
}

impl Use {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Digest => "digest",
        }
    }
}

/// The device's description of itself. It is displayed; no decision depends on it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceDescription {
    /// The name that its owner gave it.
    #[serde(deserialize_with = "bounded::<_, NAME_BYTES_MAX>")]
    pub name: String,
    /// `android`, `ios`, `linux`, …
    #[serde(default, deserialize_with = "bounded::<_, NAME_BYTES_MAX>")]
    pub platform: String,
    /// The platform's version.
    #[serde(default, deserialize_with = "bounded::<_, NAME_BYTES_MAX>")]
    pub os_version: String,
    /// The name of the program on the device.
    #[serde(default, deserialize_with = "bounded::<_, NAME_BYTES_MAX>")]
    pub app: String,
    /// The program's version.
    #[serde(default, deserialize_with = "bounded::<_, NAME_BYTES_MAX>")]
    pub app_version: String,
}

/// The answer to an enrolment: 201. The device reads it leniently, after it checked
/// `Countersign-Code-Mac`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EnrolmentAnswer {
    /// The device's number in its tenant.
    pub device_id: DeviceId,
    /// The device's serial number.
    pub serial_number: String,
    /// The identities, in the order of the request.
    pub identities: Vec<IssuedIdentity>,
    /// The server that answered.
    pub server: Server,
    /// A JWE to the request's `seal_key`: see [`crate::jwe::secrets`].
    pub secrets: String,
}

impl EnrolmentAnswer {
    /// The device's name outside its tenant. `tenant` is the one of the request.
    ///
    /// # Errors
    /// Refuses a tenant name that is not valid.
    pub fn device_name(&self, tenant: &str) -> Result<DeviceName, BadId> {
        DeviceName::new(tenant, self.device_id)
    }
}

/// An identity that the server issued.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct IssuedIdentity {
    /// The id by which a signature names the identity.
    pub id: String,
    /// The requested usage.
    #[serde(rename = "use")]
    pub usage: Use,
    /// DER.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CERTIFICATE_BYTES_MAX>")]
    pub certificate: Vec<u8>,
    /// DER, from the issuer's to the root's.
    #[serde(with = "base64_list")]
    pub chain: Vec<Vec<u8>>,
}

/// The server that answered an enrolment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Server {
    /// The display name.
    pub name: String,
    /// The public address, such as `https://sign.example.com`: the prefix of `htu`, and the value
    /// of `aud`.
    pub address: String,
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    /// One label; its length is checked when it is read.
    #[derive(Deserialize)]
    struct LabelText(#[serde(deserialize_with = "name::<_, LABEL_BYTES_MAX>")] String);

    let labels = list::<_, LabelText, LABELS_MAX>(deserializer)?;
    Ok(labels.into_iter().map(|LabelText(text)| text).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jwk::PrivateJwk;

    fn request() -> Value {
        json!({
            "tenant": "bank",
            "user": "ann",
            "identities": [
                {"use": "content", "csr": "MAA=", "proof": "AQ==", "proposed_labels": ["work", "2026"]},
                {"use": "digest", "csr": "MAA=", "proof": "AQ=="},
            ],
            "auth_key": PrivateJwk::generate().public(),
            "seal_key": PrivateJwk::generate().public(),
            "device": {"name": "Ann's", "platform": "linux", "os_version": "", "app": "x", "app_version": "1"},
            "push": {"provider": "fcm", "token": "t0ken"},
        })
    }

    #[test]
    fn a_request_round_trips() {
        let written = request();
        let read: EnrolmentRequest = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert!(!format!("{read:?}").contains("t0ken"));
    }

    #[test]
    fn a_new_identity_round_trips_and_other_forms_are_refused() {
        let whole = json!({
            "use": "digest", "csr": "MAA=", "proof": "AQ==", "proposed_labels": ["work"],
            "imported": {"certificate": "MAA=", "chain": ["MAAA"]},
        });
        for written in [whole.clone(), json!({"use": "content", "csr": "MAA=", "proof": "AQ=="})] {
            let read: NewIdentity = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
        for (at, value) in [
            ("/use", json!("both")),
            ("/csr", json!("MAA")),
            ("/proof", json!("?")),
            ("/proof", json!("AAAA".repeat(400))),
            ("/proposed_labels", json!([""])),
            ("/imported", json!({"certificate": "MAA="})),
            ("/imported/certificate", json!("?")),
            ("/imported/chain/0", json!(7)),
        ] {
            let mut spoilt = whole.clone();
            *spoilt.pointer_mut(at).unwrap() = value;
            assert!(serde_json::from_value::<NewIdentity>(spoilt).is_err(), "{at}");
        }
        let mut more = whole;
        more["key"] = json!("MAA=");
        assert!(serde_json::from_value::<NewIdentity>(more).is_err());
        let unproved = json!({"use": "content", "csr": "MAA="});
        assert!(serde_json::from_value::<NewIdentity>(unproved).is_err());
    }

    #[test]
    fn a_renewal_round_trips_and_other_forms_are_refused() {
        let whole = json!({
            "csr": "MAA=", "proof": "AQ==", "present_proof": "Ag==",
            "imported": {"certificate": "MAA=", "chain": ["MAAA"]},
        });
        for written in [whole.clone(), json!({"csr": "MAA=", "proof": "AQ=="})] {
            let read: Renewal = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
        for (at, value) in [
            ("/csr", json!("MAA")),
            ("/proof", json!("?")),
            ("/present_proof", json!("AAAA".repeat(400))),
            ("/present_proof", json!(null)),
            ("/imported", json!({"certificate": "MAA="})),
        ] {
            let mut spoilt = whole.clone();
            *spoilt.pointer_mut(at).unwrap() = value;
            assert!(serde_json::from_value::<Renewal>(spoilt).is_err(), "{at}");
        }
        let mut more = whole;
        more["use"] = json!("content");
        assert!(serde_json::from_value::<Renewal>(more).is_err());
        assert!(serde_json::from_value::<Renewal>(json!({"csr": "MAA="})).is_err());
    }

    #[test]
    fn a_request_with_any_deviation_is_refused() {
        let spoilt: [(&str, Value); 13] = [
            ("/identities", json!([])),
            ("/tenant", json!("")),
            ("/user", json!("x".repeat(256))),
            ("/user", json!("a\nb")),
            ("/identities", json!(vec![request()["identities"][0].clone(); 9])),
            ("/identities/0/use", json!("both")),
            ("/identities/0/csr", json!("MAA")),
            ("/identities/0/proposed_labels", json!([""])),
            ("/identities/0/proposed_labels", json!(vec!["l"; 17])),
            ("/auth_key", serde_json::to_value(PrivateJwk::generate()).unwrap()),
            ("/auth_key/crv", json!("P-384")),
            ("/device/name", json!("x".repeat(256))),
            ("/push/token", json!(7)),
        ];
        for (place, value) in spoilt {
            let mut body = request();
            *body.pointer_mut(place).unwrap() = value.clone();
            assert!(serde_json::from_value::<EnrolmentRequest>(body).is_err(), "{place} {value}");
        }
        for place in ["", "/identities/0", "/auth_key", "/device", "/push"] {
            let mut body = request();
            body.pointer_mut(place).unwrap()["more"] = json!(1);
            assert!(serde_json::from_value::<EnrolmentRequest>(body).is_err(), "{place}");
        }
    }

    #[test]
    fn an_answer_round_trips_and_unknown_members_are_ignored() {
        let mut written = json!({
            "device_id": "4711",
            "serial_number": "CSN0000120-1",
            "identities": [{"id": "i", "use": "content", "certificate": "MAA=", "chain": ["MAA="]}],
            "server": {"name": "Example", "address": "https://sign.example.com"},
            "secrets": "a.b.c.d.e",
        });
        let read: EnrolmentAnswer = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert_eq!(read.device_name("bank").unwrap().to_string(), "bank/4711");
        written["more"] = json!(1);
        assert!(serde_json::from_value::<EnrolmentAnswer>(written).is_ok());
    }
}
