//! The life of a transaction as a device sees it: offered, taken, ended.

use core::fmt;
use core::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pin::PinProof;
use super::signature::{Algorithm, Form, Signature};
use crate::encoding::{base64, base64_list, millis, name, name_option, unbase64};
use crate::id::TransactionId;
use crate::limits::{CONTENT_BYTES_MAX, MATCH_CODE_BYTES_MAX, REASON_BYTES_MAX};

/// There is something for this device. No content is in it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Offer {
    /// The transaction.
    pub id: TransactionId,
    /// What the person will be asked for.
    pub operation: Operation,
    /// The application that asks, as people know it.
    pub client: String,
    /// Untaken by then, it expires.
    #[serde(with = "millis")]
    pub expires_at: Duration,
    /// The person enters the PIN before anything is released.
    pub pin_required: bool,
    /// Whether the person has to enter a code that the application shows.
    #[serde(rename = "match")]
    pub matching: Match,
}

/// `GET /device/v1/offers`: everything open for this device, oldest first; empty after the wait.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Offers {
    /// An offer repeats until it is taken or has ended.
    pub offers: Vec<Offer>,
}

/// What a person is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// To sign what is shown.
    Sign,
    /// To prove who they are.
    Login,
    /// Something that this program does not know.
    #[serde(other)]
    Unknown,
}

/// Whether the person has to enter a code that the application shows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// No.
    None,
    /// Yes, before `finish`.
    Enter,
    /// Something that this program does not know: it cannot finish.
    #[serde(other)]
    Unknown,
}

/// The person opened it. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// The transaction; over HTTP the one of the path.
    pub id: TransactionId,
    /// Where the offer said `pin_required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_proof: Option<PinProof>,
}

/// The answer to [`Take`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Taken {
    /// A JWE of purpose `content`; its plaintext is a [`Content`] as JSON.
    pub sealed: String,
    /// Unended by then, it expires.
    #[serde(with = "millis")]
    pub deadline: Duration,
}

/// What is to be shown and signed, and how it may be signed. Sealed in [`Taken`], so that whoever
/// ends TLS in between can neither read it nor make the device sign with something weaker.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Content {
    /// The transaction, once more.
    pub id: TransactionId,
    /// The application that asks, as people know it; the device shows it.
    pub client: String,
    /// What the bytes are; the signature covers it.
    pub media_type: String,
    /// What is shown, and exactly what is signed.
    #[serde(serialize_with = "base64", deserialize_with = "unbase64::<_, CONTENT_BYTES_MAX>")]
    pub bytes: Vec<u8>,
    /// The forms that the transaction accepts, the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Form>,
    /// The algorithms that it accepts in `cms` and `raw`, the preferred one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Algorithm>,
    /// The device's identities that may sign it; absent, any of the right use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Vec<String>>,
    /// How many digits a code has, where one is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_digits: Option<u8>,
    /// What a digest is of, where the bytes are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
}

/// What a digest is of. It is shown, and not signed itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Document {
    /// What the digest was made with: `sha1`, `sha256`, `sha384` or `sha512`. Absent where
    /// `digest_url` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_algorithm: Option<String>,
    /// Where the device learns the digest, where the content has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_url: Option<String>,
    /// Where the device gets the document, and digests it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_url: Option<String>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What they are shown, as the server received it: base64 of HTML, or whatever came in its
    /// place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<Text>,
    /// The certificates, DER, to trust for these addresses; no others are.
    #[serde(default, with = "base64_list", skip_serializing_if = "Vec::is_empty")]
    pub root_certs: Vec<Vec<u8>>,
}

/// Text that is carried as base64 of its UTF-8, so that its length does not depend on what is in
/// it.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Text(
    #[serde(serialize_with = "text_to_base64", deserialize_with = "text_from_base64")] pub String,
);

/// Content is for the person's eyes.
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

/// The person signed. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// The transaction; over HTTP the one of the path.
    pub id: TransactionId,
    /// The signature.
    pub signature: Signature,
    /// Where the offer said `enter`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "name_option::<_, MATCH_CODE_BYTES_MAX>"
    )]
    pub match_code: Option<String>,
}

/// The person said no. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decline {
    /// The transaction; over HTTP the one of the path.
    pub id: TransactionId,
    /// What they said.
    pub reason: DeclineReason,
}

/// What a person says when they say no.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclineReason {
    /// They do not want to sign.
    User,
    /// They did not ask for this: no further offers until somebody with the right lifts that.
    NotMe,
}

/// The device could not. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// The transaction; over HTTP the one of the path.
    pub id: TransactionId,
    /// A word for the log, such as `media_type`, `identity`, `form` or `internal`.
    #[serde(deserialize_with = "name::<_, REASON_BYTES_MAX>")]
    pub reason: String,
}

/// The answer to [`Finish`], [`Decline`] and [`Fail`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// How it ended.
    pub state: State,
}

/// Where a transaction is in its life.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No device has taken it.
    Waiting,
    /// A device has taken it.
    Taken,
    /// Signed, and the signature verified.
    Finished,
    /// The person said no.
    Declined,
    /// A device could not, or a match code was wrong.
    Failed,
    /// One of its clocks ran out.
    Expired,
    /// The application took it back.
    Cancelled,
    /// Wrong PINs or codes, or an administrator, locked the user.
    Locked,
    /// One that this program does not know.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_signed_with_is_read_from_the_content_and_from_nothing_beside_the_seal() {
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
    fn a_document_reads_as_it_was_written_and_says_nothing_in_debug() {
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
        assert_eq!(none, Document::default(), "what is not known is ignored");
    }
}
