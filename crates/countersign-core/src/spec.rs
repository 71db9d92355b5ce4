//! The terms of a transaction, fixed at its start and never changed: client, user, content, consent
//! and time limits.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use countersign_proof::raw::Hash;

use crate::device::{Device, Usage};
use crate::id::{ClientId, DeviceId, RequestKey, TenantName, TransactionId, UserName};
use crate::limits::{DOCUMENT_BYTES_MAX, STORED_ROW_BYTES};
use crate::selector::Selector;
use crate::time::Timestamp;

/// The terms of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransactionSpec {
    /// The transaction's id, which signatures name.
    pub id: TransactionId,
    /// The transaction's tenant.
    pub tenant: TenantName,
    /// The dialect through which it was started.
    pub dialect: Dialect,
    /// The client that started it.
    pub client: ClientId,
    /// The client's name, as it is shown to the user.
    pub client_name: String,
    /// The user who is asked to sign.
    pub user: UserName,
    /// The key that finds it, unique among the tenant's open transactions.
    pub request_key: RequestKey,
    /// The caller's reference, if the dialect allows one.
    pub reference: Option<Reference>,
    /// The user's devices that are offered it.
    pub recipients: Recipients,
    /// The identities that may sign it: those that one of these selectors matches, or any if the
    /// list is empty. At most [`crate::limits::SELECTORS_MAX`] selectors.
    pub selectors: Vec<Selector>,
    /// The content that is shown and signed.
    pub content: Content,
    /// The digested document, if the content is a digest.
    pub document: Option<Document>,
    /// What the user is asked to do.
    pub operation: Operation,
    /// The accepted signature formats.
    pub formats: AcceptedFormats,
    /// Whether the user must prove the PIN before the content is shown.
    pub pin_required: bool,
    /// Whether only the first device that takes it may have it.
    pub once: bool,
    /// The time of the start.
    pub started_at: Timestamp,
    /// The devices that are notified of it.
    pub announced: Notify,
    /// The device for which the content was sealed for the client at the start, so that it needs no
    /// fetch. Only a transaction of [`Notify::Nobody`] has one.
    pub sealed_for: Option<DeviceId>,
    /// Whether an addressed device was online at the start.
    pub online: bool,
    /// The devices that were online at the start and were offered it.
    pub present: Vec<DeviceId>,
    /// The time limits.
    pub clocks: Clocks,
    /// The callback for its end, if the client asked for one.
    pub callback: Option<Callback>,
    /// A public text for a push, which discloses nothing about the transaction.
    pub notice: Option<String>,
    /// The dialect's record of the request, to show it again: a document in the dialect's own form,
    /// at most [`crate::limits::REQUEST_BYTES_MAX`]. No decision depends on it.
    pub request: Option<String>,
}

impl TransactionSpec {
    /// The use of the identities that may sign it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.content.media_type.usage()
    }

    /// Whether `device` cannot answer it at `now` only because its certificates have ended. A code
    /// needs no certificate.
    #[must_use]
    pub fn is_ended_for(&self, device: &Device, now: Timestamp) -> bool {
        !self.formats.accept(SignatureFormat::Code)
            && device.has_only_ended(self.usage(), &self.selectors, now)
    }

    /// The bytes that it counts as stored: the values that its caller chose, and
    /// [`STORED_ROW_BYTES`] for the rest.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let texts = [&self.notice, &self.request].into_iter().flatten().map(String::len);
        let document = self.document.as_ref().map_or(0, Document::bytes);
        let callback = self.callback.as_ref().map_or(0, Callback::bytes);
        let selectors = self.selectors.iter().map(Selector::bytes).sum::<usize>();
        let chosen = texts.sum::<usize>()
            + self.content.bytes.len()
            + self.reference.as_ref().map_or(0, |reference| reference.name.len())
            + document
            + callback
            + selectors;
        STORED_ROW_BYTES + chosen as u64
    }
}

/// The API of a relying party.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Dialect {
    /// KOBIL's Start Signature.
    Kobil,
    /// OneSpan's push and scan signatures.
    OneSpan,
    /// TrustedX's signature creation processes.
    TrustedX,
}

impl Dialect {
    /// All dialects.
    pub const ALL: [Self; 3] = [Self::Kobil, Self::OneSpan, Self::TrustedX];

    /// The dialect's name in the ledger, in logs and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kobil => "kobil",
            Self::OneSpan => "onespan",
            Self::TrustedX => "trustedx",
        }
    }
}

/// What a user is asked to do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Operation {
    /// Sign the content.
    #[default]
    Sign,
    /// Prove the user's identity, by signing a challenge.
    Login,
}

/// The devices that are notified of a transaction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Notify {
    /// No device, at the start or later: a device finds it only with its request key, which reaches
    /// the device in another way.
    Nobody,
    /// Addressed devices that are connected at the start or later.
    Online,
    /// Addressed devices that are connected, and by a push those that are not.
    #[default]
    Everybody,
}

/// A caller's own name for a transaction, unique for the client, with a digest of the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// SHA-256 of the request, which distinguishes a repeated request from a different one.
    pub request: [u8; 32],
}

/// The devices that a transaction addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recipients {
    /// Every device of the user; the first one that ends the transaction wins.
    Any,
    /// Only this device.
    Device(DeviceId),
    /// These devices, in order: at the start each held an identity that a selector matched.
    Devices(Arc<[DeviceId]>),
}

impl Recipients {
    /// Whether `device`, one of the user's, is addressed.
    #[must_use]
    pub fn includes(&self, device: DeviceId) -> bool {
        match self {
            Self::Any => true,
            Self::Device(recipients) => *recipients == device,
            Self::Devices(recipients) => recipients.contains(&device),
        }
    }
}

/// The content: exactly the bytes that are shown and signed.
#[derive(Clone, Eq, PartialEq)]
pub struct Content {
    /// The type of the bytes.
    pub media_type: MediaType,
    /// The bytes, at most [`crate::limits::CONTENT_BYTES_MAX`]. For a digest, the digest; empty if
    /// the device gets it from [`Document::digest_url`].
    pub bytes: Vec<u8>,
}

/// Shows only the size, because the content is for the user and must not be logged.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({}, {} bytes)", self.media_type.as_str(), self.bytes.len())
    }
}

/// The media types, by how a device shows them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaType {
    /// A message.
    Text,
    /// A message and rows of labels and values: canonical JSON (RFC 8785).
    Statement,
    /// Bytes that only the device's application can interpret.
    Octets,
    /// HTML as it was received. The program that shows it must sanitise it.
    Html,
    /// A digest that a caller gave. The [`Document`] is shown.
    Digest,
}

impl MediaType {
    /// The media type as it is signed (EN 319 122-1, mime-type) and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Statement => "application/vnd.countersign.statement+json",
            Self::Octets => "application/octet-stream",
            Self::Html => "text/html; charset=utf-8",
            Self::Digest => "application/vnd.countersign.digest+json",
        }
    }

    /// The use of the identities that may sign this media type.
    #[must_use]
    pub fn usage(self) -> Usage {
        match self {
            Self::Text | Self::Statement | Self::Octets | Self::Html => Usage::Content,
            Self::Digest => Usage::Digest,
        }
    }
}

/// The digested document and its description for the user. It is shown beside the digest, and is
/// not signed itself.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Document {
    /// The hash that made the digest; `None` if [`digest_url`](Self::digest_url) states it.
    pub hash: Option<Hash>,
    /// The URL from which the device gets the digest.
    pub digest_url: Option<String>,
    /// The URL from which the device gets the document, to digest it itself.
    pub document_url: Option<String>,
    /// The document's name for the user.
    pub alias: Option<String>,
    /// The text for the user, as the dialect received it: base64 of HTML, if the caller followed
    /// the API.
    pub html: Option<String>,
    /// The certificates, DER, that the device trusts for these URLs. It trusts no others.
    pub root_certs: Vec<Vec<u8>>,
}

impl Document {
    /// Whether all parts together are small enough to be sent to a device.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.bytes() <= DOCUMENT_BYTES_MAX
    }

    fn bytes(&self) -> usize {
        let Self { hash: _, digest_url, document_url, alias, html, root_certs } = self;
        let text: usize =
            [digest_url, document_url, alias, html].into_iter().flatten().map(String::len).sum();
        let certificates: usize = root_certs.iter().map(Vec::len).sum();
        text + certificates
    }
}

/// Shows only the size, as [`Content`] does.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("hash", &self.hash)
            .field("digest_url", &self.digest_url.is_some())
            .field("document_url", &self.document_url.is_some())
            .field("root_certs", &self.root_certs.len())
            .finish_non_exhaustive()
    }
}

/// The signature formats.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureFormat {
    /// CMS `SignedData` (CAdES-B-B) that contains the content.
    Cms,
    /// A bare RSA or ECDSA signature.
    Raw,
    /// Decimal digits that only the device's code key produces from the content (RFC 6287).
    Code,
}

impl SignatureFormat {
    /// Whether a signature of this format is bound to its transaction. An unbound signature fits
    /// every transaction with the same content, so it is accepted only from the device itself.
    #[must_use]
    pub fn names_transaction(self) -> bool {
        match self {
            Self::Cms | Self::Code => true,
            Self::Raw => false,
        }
    }

    /// The format's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cms => "cms",
            Self::Raw => "raw",
            Self::Code => "code",
        }
    }
}

/// The signature formats that a transaction accepts, fixed at its start; at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AcceptedFormats {
    /// Only a CMS.
    Cms,
    /// A code of this length, or a CMS.
    CodeOrCms(Digits),
    /// Only a raw signature.
    Raw(RawTerms),
}

impl AcceptedFormats {
    /// Whether this format is accepted.
    #[must_use]
    pub fn accept(&self, form: SignatureFormat) -> bool {
        self.all().contains(&form)
    }

    /// All accepted formats, the preferred one first.
    #[must_use]
    pub fn all(&self) -> &'static [SignatureFormat] {
        match self {
            Self::Cms => &[SignatureFormat::Cms],
            Self::CodeOrCms(_) => &[SignatureFormat::Code, SignatureFormat::Cms],
            Self::Raw(_) => &[SignatureFormat::Raw],
        }
    }

    /// The length of a code, if codes are accepted.
    #[must_use]
    pub fn digits(&self) -> Option<Digits> {
        match self {
            Self::Cms | Self::Raw(_) => None,
            Self::CodeOrCms(digits) => Some(*digits),
        }
    }

    /// The terms of a raw signature, if raw signatures are accepted.
    #[must_use]
    pub fn raw(&self) -> Option<&RawTerms> {
        match self {
            Self::Cms | Self::CodeOrCms(_) => None,
            Self::Raw(spec) => Some(spec),
        }
    }
}

/// The terms of a raw signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawTerms {
    /// The required hash, if one is required.
    pub hash: Option<Hash>,
    /// The devices with another required hash; each device occurs once.
    pub by_device: Vec<(DeviceId, Hash)>,
    /// Whether SHA-1 is allowed, required or not.
    pub sha1: bool,
    /// The shortest RSA key, in bits.
    pub rsa_bits_min: u16,
}

impl RawTerms {
    /// The hashes that a signature by `device` may use, the preferred one first. Empty if only
    /// SHA-1 would fit and is not allowed.
    pub fn hashes(&self, device: DeviceId) -> impl Iterator<Item = Hash> + '_ {
        const PREFERRED: [Hash; 4] = [Hash::Sha256, Hash::Sha384, Hash::Sha512, Hash::Sha1];
        let own = self.by_device.iter().find(|(of, _)| *of == device).map(|(_, hash)| *hash);
        let fixed = own.or(self.hash);
        PREFERRED
            .into_iter()
            .filter(move |hash| fixed.is_none_or(|fixed| fixed == *hash))
            .filter(|hash| self.sha1 || *hash != Hash::Sha1)
    }
}

/// The length of a code in digits: 6 to 10.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digits(u8);

impl Digits {
    /// A length of `count` digits; `None` outside 6 to 10.
    #[must_use]
    pub fn new(count: u8) -> Option<Self> {
        (6..=10).contains(&count).then_some(Self(count))
    }

    /// The number of digits.
    #[must_use]
    pub fn count(self) -> u8 {
        self.0
    }
}

/// A transaction's time limits, counted from its start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clocks {
    /// Two timeouts: first a device must come online, then a user must sign.
    Two {
        /// The time until an addressed device must have been online.
        go_online: Duration,
        /// The time from the first take to the deadline.
        sign: Duration,
    },
    /// One timeout from the start, independent of what happens before it.
    One(Duration),
}

/// The receiver of the notification of a transaction's end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Callback {
    /// The URL, at most [`crate::limits::CALLBACK_URL_BYTES_MAX`].
    pub url: String,
    /// The caller's own headers, which were checked at the start.
    pub headers: Vec<(String, String)>,
}

impl Callback {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.url.len() + headers.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u64) -> DeviceId {
        number.try_into().unwrap()
    }

    fn raw(hash: Option<Hash>, sha1: bool) -> RawTerms {
        RawTerms { hash, by_device: vec![(device(2), Hash::Sha512)], sha1, rsa_bits_min: 2048 }
    }

    #[test]
    fn a_device_with_another_required_hash_may_use_only_that_one() {
        let hashes = |spec: RawTerms, of| spec.hashes(device(of)).collect::<Vec<_>>();
        assert_eq!(hashes(raw(Some(Hash::Sha256), false), 1), [Hash::Sha256]);
        assert_eq!(hashes(raw(Some(Hash::Sha256), false), 2), [Hash::Sha512]);
        assert_eq!(hashes(raw(None, false), 1), [Hash::Sha256, Hash::Sha384, Hash::Sha512]);
        assert_eq!(hashes(raw(None, true), 1).last(), Some(&Hash::Sha1));
        assert_eq!(hashes(raw(Some(Hash::Sha1), false), 1), []);
        assert_eq!(hashes(raw(Some(Hash::Sha1), true), 1), [Hash::Sha1]);
    }

    #[test]
    fn only_matched_devices_are_recipients() {
        let recipients = Recipients::Devices([device(1), device(3)].into());
        assert!(recipients.includes(device(1)) && recipients.includes(device(3)));
        assert!(!recipients.includes(device(2)));
    }

    #[test]
    fn a_document_is_as_large_as_its_parts_together() {
        let half = DOCUMENT_BYTES_MAX / 2;
        let document = |html, certificate| Document {
            html: Some("x".repeat(html)),
            root_certs: vec![vec![0; certificate]],
            ..Document::default()
        };
        assert!(document(half, half).fits());
        assert!(!document(half, half + 1).fits());
    }

    #[test]
    fn only_identities_for_digests_sign_digests() {
        for media_type in [MediaType::Text, MediaType::Statement, MediaType::Html] {
            assert_eq!(media_type.usage(), Usage::Content);
        }
        assert_eq!(MediaType::Digest.usage(), Usage::Digest);
    }
}
