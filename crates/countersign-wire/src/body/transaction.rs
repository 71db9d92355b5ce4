//! The messages of a transaction's life on a device: offered, taken, ended.

use core::fmt;
use core::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pin::PinProof;
use super::signature::{Algorithm, Form, Signature};
use crate::encoding::{base64, base64_list, millis, name, name_option, unbase64};
use crate::id::TransactionId;
use crate::limits::{CONTENT_BYTES_MAX, MATCH_CODE_BYTES_MAX, REASON_BYTES_MAX};

/// Announces a transaction to a device. It has no content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Offer {
    /// The transaction.
    pub id: TransactionId,
    /// The operation that the user is asked for.
    pub operation: Operation,
    /// The display name of the application that started the transaction.
    pub client: String,
    /// If no device takes the transaction by this time, it expires.
    #[serde(with = "millis")]
    pub expires_at: Duration,
    /// Whether the take needs a PIN proof.
    pub pin_required: bool,
    /// Whether the user has to enter a code that the application shows.
    #[serde(rename = "match")]
    pub matching: Match,
}

/// `GET /device/v1/offers`: everything open for this device, oldest first. Empty if nothing came
/// within the wait.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Offers {
    /// An offer is repeated until the transaction is taken or has ended.
    pub offers: Vec<Offer>,
}

/// The operation that a user is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Sign the shown content.
    Sign,
    /// Prove the user's identity.
    Login,
    /// An operation that this program does not know.
    #[serde(other)]
    Unknown,
}

/// Whether the user has to enter a code that the application shows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// No code.
    None,
    /// A code, with `finish`.
    Enter,
    /// A kind that this program does not know: the device cannot finish.
    #[serde(other)]
    Unknown,
}

/// The user opened the transaction. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// The transaction; over HTTP it comes from the path.
    pub id: TransactionId,
    /// Present if the offer had `pin_required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_proof: Option<PinProof>,
}

/// The answer to [`Take`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// A JWE of purpose `content`; its plaintext is a [`Content`] as JSON.
    pub sealed: String,
    /// If the transaction has not ended by this time, it expires.
    #[serde(with = "millis")]
    pub deadline: Duration,
}

/// The content to show and sign, and the accepted ways to sign it. It is sealed in [`Taken`], so
/// that a proxy that terminates TLS can neither read it nor make the device sign with a weaker
/// algorithm.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Content {
    /// The transaction, repeated inside the seal.
    pub id: TransactionId,
    /// The display name of the application that started the transaction; the device shows it.
    pub client: String,
    /// The media type of `bytes`; the signature covers it.
    pub media_type: String,
    /// The bytes that are shown and exactly signed.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CONTENT_BYTES_MAX>")]
    pub bytes: Vec<u8>,
    /// The forms that the transaction accepts, the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Form>,
    /// The algorithms that the transaction accepts in `cms` and `raw`, the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Algorithm>,
    /// The device's identities that may sign. If absent, every identity of the right usage may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Vec<String>>,
    /// The number of digits of a code, if a code is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_digits: Option<u8>,
    /// The digested document, if the bytes are a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
}

/// The document of a digest. It is shown, but not signed itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Document {
    /// The algorithm of the digest: `sha1`, `sha256`, `sha384` or `sha512`. Absent if `digest_url`
    /// returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_algorithm: Option<String>,
    /// The URL that returns the digest, if the content does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_url: Option<String>,
    /// The URL of the document, which the device fetches and digests itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_url: Option<String>,
    /// The display name of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The HTML to show, in the form in which the server received it: base64, or other text if the
    /// caller did not send base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<Text>,
    /// The certificates, DER, to trust for these addresses; no others are trusted.
    #[serde(default, with = "base64_list", skip_serializing_if = "Vec::is_empty")]
    pub root_certs: Vec<Vec<u8>>,
}

/// Text that is sent as base64 of its UTF-8, so that its length in JSON does not depend on its
/// characters.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Text(
    #[serde(serialize_with = "text_to_base64", deserialize_with = "text_from_base64")] pub String,
);

/// Hides the text, because content is for the user only.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

fn text_to_base64<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    base64(text.as_bytes(), serializer)
}

fn text_from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let bytes = unbase64::<_, CONTENT_BYTES_MAX>(deserializer)?;
    String::from_utf8(bytes).map_err(D::Error::custom)
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("id", &self.id)
            .field("client", &self.client)
            .field("media_type", &self.media_type)
            .finish_non_exhaustive()
    }
}

/// The user signed. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// The transaction; over HTTP it comes from the path.
    pub id: TransactionId,
    /// The signature.
    pub signature: Signature,
    /// Present if the offer had `enter`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "name_option::<_, MATCH_CODE_BYTES_MAX>"
    )]
    pub match_code: Option<String>,
}

/// The user declined. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decline {
    /// The transaction; over HTTP it comes from the path.
    pub id: TransactionId,
    /// The reason that the user chose.
    pub reason: DeclineReason,
}

/// The reason for which a user declined.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclineReason {
    /// The user does not want to sign.
    User,
    /// The user did not request this. There are no further offers until an administrator permits
    /// them.
    NotMe,
}

/// The device could not sign. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// The transaction; over HTTP it comes from the path.
    pub id: TransactionId,
    /// A word for the log, such as `media_type`, `identity`, `form` or `internal`.
    #[serde(deserialize_with = "name::<_, REASON_BYTES_MAX>")]
    pub reason: String,
}

/// The answer to [`Finish`], [`Decline`] and [`Fail`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// The final state.
    pub state: State,
}

/// The state of a transaction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No device has taken it.
    Waiting,
    /// A device has taken it.
    Taken,
    /// Signed, and the signature verified.
    Finished,
    /// The user declined.
    Declined,
    /// A device could not sign, or a match code was wrong.
    Failed,
    /// One of the transaction's clocks ran out.
    Expired,
    /// The application cancelled the transaction.
    Cancelled,
    /// The user was locked, after wrong PINs or codes or by an administrator.
    Locked,
    /// A state that this program does not know.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_and_algorithms_are_read_from_inside_the_seal_only() {
        let beside = json!({
            "sealed": "a..b.c.d", "deadline": 1, "forms": ["raw"], "algorithms": ["rsa-sha1"],
            "identities": ["weak"],
        });
        let taken: Taken = serde_json::from_value(beside).unwrap();
        let kept = serde_json::to_value(&taken).unwrap();
        assert_eq!(kept, json!({"sealed": "a..b.c.d", "deadline": 1}));
        let written = json!({
            "id": "00000000000000000000000000000001", "client": "Bank", "media_type": "text/plain",
            "bytes": "", "forms": ["raw"], "algorithms": ["ecdsa-sha256", "rsa-sha256"],
            "identities": ["7d3c"],
        });
        let content: Content = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(content.algorithms, [Algorithm::EcdsaSha256, Algorithm::RsaSha256]);
        assert_eq!(serde_json::to_value(&content).unwrap(), written);
    }

    #[test]
    fn a_document_round_trips_and_debug_hides_its_html() {
        let written = json!({
            "id": "00000000000000000000000000000001", "client": "Bank",
            "media_type": "application/vnd.countersign.digest+json", "bytes": "",
            "document": {
                "digest_algorithm": "sha256", "digest_url": "https://a.example/d",
                "document_url": "https://a.example/f", "alias": "Lease",
                "html": "UEdJKw==", "root_certs": ["MAA=", "MAAA"],
            },
        });
        let read: Content = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        let document = read.document.unwrap();
        assert_eq!(document.html, Some(Text("PGI+".to_owned())));
        assert!(!format!("{document:?}").contains("PGI+"));
        let none: Document = serde_json::from_value(json!({"newer": 1})).unwrap();
        assert_eq!(none, Document::default(), "unknown members are ignored");
    }
}
