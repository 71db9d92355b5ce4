//! What a transaction is about, fixed when it starts and never changed: who asks whom to sign what,
//! with which consent, within which time.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use countersign_proof::raw::Hash;

use crate::device::Usage;
use crate::id::{ClientId, DeviceId, RequestKey, TenantName, TransactionId, UserName};
use crate::limits::{DOCUMENT_BYTES_MAX, STORED_ROW_BYTES};
use crate::selector::Selector;
use crate::time::Timestamp;

/// The terms of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransactionSpec {
    /// Its own id; signatures name it.
    pub id: TransactionId,
    /// Whose it is.
    pub tenant: TenantName,
    /// The dialect that it was started on.
    pub dialect: Dialect,
    /// Who asks.
    pub client: ClientId,
    /// Who asks, as people know them.
    pub client_name: String,
    /// Who is asked.
    pub user: UserName,
    /// The short handle, unique among the tenant's open transactions.
    pub request_key: RequestKey,
    /// What the caller calls it, where the dialect lets it choose.
    pub reference: Option<Reference>,
    /// Which of the user's devices are offered it.
    pub recipients: Recipients,
    /// Which identities may sign it: those that one of these matches, or any, where there is none.
    /// At most [`crate::limits::SELECTORS_MAX`].
    pub selectors: Vec<Selector>,
    /// What is shown and signed.
    pub content: Content,
    /// What a digest is of, where the content is one.
    pub document: Option<Document>,
    /// What the person is asked for.
    pub operation: Operation,
    /// The forms that its signature may have.
    pub formats: AcceptedFormats,
    /// Whether the person must prove the PIN before it is shown.
    pub pin_required: bool,
    /// Whether only the first device to take it may have it.
    pub once: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whether an addressed device was online then.
    pub online: bool,
    /// The devices that were offered it then, being online.
    pub present: Vec<DeviceId>,
    /// How long it lives.
    pub clocks: Clocks,
    /// Where its end is told, besides to whoever asks.
    pub callback: Option<Callback>,
    /// Public words for a push; nothing of the transaction.
    pub notice: Option<String>,
    /// What the dialect keeps of the request, to show it again: a document of its own, at most
    /// [`crate::limits::REQUEST_BYTES_MAX`]. Nothing is decided on it.
    pub request: Option<String>,
}

impl TransactionSpec {
    /// The use of the identities that may sign it.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.content.media_type.usage()
    }

    /// What it counts as stored: what its caller chose, in bytes, and [`STORED_ROW_BYTES`] for all
    /// else.
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

/// How relying parties speak.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kobil, Self::OneSpan, Self::TrustedX];

    /// Its name in the ledger, in logs and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kobil => "kobil",
            Self::OneSpan => "onespan",
            Self::TrustedX => "trustedx",
        }
    }
}

/// What a person is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Operation {
    /// To sign what is shown.
    #[default]
    Sign,
    /// To prove who they are, by signing a challenge.
    Login,
}

/// A caller's own name for a transaction, unique per client, and what it asked under that name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// SHA-256 of the request, so that a repeated one is told from another one.
    pub request: [u8; 32],
}

/// Which devices a transaction is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Recipients {
    /// Every device of the user's; the first to end it wins.
    Any,
    /// This one.
    Device(DeviceId),
    /// These, in order: at its start they held an identity that a selector matched.
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

/// What is shown and signed: exactly these bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Content {
    /// What the bytes are.
    pub media_type: MediaType,
    /// The bytes, at most [`crate::limits::CONTENT_BYTES_MAX`]. Of a digest, the digest; none,
    /// where the device is to learn it from [`Document::digest_url`].
    pub bytes: Vec<u8>,
}

/// Content is for the person's eyes; logs get its size.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({}, {} bytes)", self.media_type.as_str(), self.bytes.len())
    }
}

/// Kinds of content, by how a device shows them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MediaType {
    /// A message.
    Text,
    /// A message and rows of labels and values: canonical JSON (RFC 8785).
    Statement,
    /// Bytes that only the application on the device can read.
    Octets,
    /// HTML as it was received; whoever shows it makes it harmless.
    Html,
    /// A digest that a caller gave; what is shown is the [`Document`].
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

    /// The use of the identities that may sign it.
    #[must_use]
    pub fn usage(self) -> Usage {
        match self {
            Self::Text | Self::Statement | Self::Octets | Self::Html => Usage::Content,
            Self::Digest => Usage::Digest,
        }
    }
}

/// What a digest is of, and how a person is told: shown beside it, and not signed itself.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Document {
    /// What the digest was made with; none, where [`digest_url`](Self::digest_url) says it.
    pub hash: Option<Hash>,
    /// Where the device learns the digest.
    pub digest_url: Option<String>,
    /// Where the device gets what is signed, and digests it itself.
    pub document_url: Option<String>,
    /// What people call it.
    pub alias: Option<String>,
    /// What they are shown, as the dialect received it: base64 of HTML, where the caller did as
    /// told.
    pub html: Option<String>,
    /// The certificates, DER, that the device trusts for these addresses, and no others.
    pub root_certs: Vec<Vec<u8>>,
}

impl Document {
    /// Whether all of it together is small enough to be sent to a device.
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

/// As [`Content`]: for the person's eyes.
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

/// Forms of signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureFormat {
    /// CMS `SignedData` (CAdES-B-B) with the content inside.
    Cms,
    /// A bare RSA or ECDSA signature.
    Raw,
    /// Digits that only the device's code key makes over the content (RFC 6287).
    Code,
}

impl SignatureFormat {
    /// Whether a signature of this form is bound to its transaction. One that is not fits every
    /// transaction over the same content, so it is accepted only from the device itself.
    #[must_use]
    pub fn names_transaction(self) -> bool {
        match self {
            Self::Cms | Self::Code => true,
            Self::Raw => false,
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cms => "cms",
            Self::Raw => "raw",
            Self::Code => "code",
        }
    }
}

/// The forms that a transaction accepts, fixed when it starts; at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AcceptedFormats {
    /// A CMS only.
    Cms,
    /// A code of so many digits, or a CMS.
    CodeOrCms(Digits),
    /// A raw signature only.
    Raw(RawTerms),
}

impl AcceptedFormats {
    /// Whether a signature may have this form.
    #[must_use]
    pub fn accept(&self, form: SignatureFormat) -> bool {
        self.all().contains(&form)
    }

    /// All of them, the preferred one first.
    #[must_use]
    pub fn all(&self) -> &'static [SignatureFormat] {
        match self {
            Self::Cms => &[SignatureFormat::Cms],
            Self::CodeOrCms(_) => &[SignatureFormat::Code, SignatureFormat::Cms],
            Self::Raw(_) => &[SignatureFormat::Raw],
        }
    }

    /// How long a code is, where one is accepted.
    #[must_use]
    pub fn digits(&self) -> Option<Digits> {
        match self {
            Self::Cms | Self::Raw(_) => None,
            Self::CodeOrCms(digits) => Some(*digits),
        }
    }

    /// What is asked of a raw signature, where one is accepted.
    #[must_use]
    pub fn raw(&self) -> Option<&RawTerms> {
        match self {
            Self::Cms | Self::CodeOrCms(_) => None,
            Self::Raw(spec) => Some(spec),
        }
    }
}

/// What is asked of a raw signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RawTerms {
    /// The hash, where it is fixed.
    pub hash: Option<Hash>,
    /// Devices that are asked for another one, each once.
    pub by_device: Vec<(DeviceId, Hash)>,
    /// Whether SHA-1 may be used, fixed or not.
    pub sha1: bool,
    /// The shortest RSA key, in bits.
    pub rsa_bits_min: u16,
}

impl RawTerms {
    /// The hashes that a signature by `device` may have, the preferred one first. None, where only
    /// SHA-1 would do and may not be used.
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

/// How many digits a code has: 6 to 10.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digits(u8);

impl Digits {
    /// That many, if a code may have that many.
    #[must_use]
    pub fn new(count: u8) -> Option<Self> {
        (6..=10).contains(&count).then_some(Self(count))
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> u8 {
        self.0
    }
}

/// A transaction's clocks, counted from its start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clocks {
    /// First a device must come online, then somebody must sign.
    Two {
        /// Until an addressed device has been online.
        go_online: Duration,
        /// From the first take to the end.
        sign: Duration,
    },
    /// One deadline, whatever happens before it.
    One(Duration),
}

/// Where a transaction's end is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Callback {
    /// The address, at most [`crate::limits::CALLBACK_URL_BYTES_MAX`].
    pub url: String,
    /// Headers of the caller's own, checked when the transaction was started.
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
    fn a_device_that_is_asked_for_another_hash_may_use_no_other() {
        let hashes = |spec: RawTerms, of| spec.hashes(device(of)).collect::<Vec<_>>();
        assert_eq!(hashes(raw(Some(Hash::Sha256), false), 1), [Hash::Sha256]);
        assert_eq!(hashes(raw(Some(Hash::Sha256), false), 2), [Hash::Sha512]);
        assert_eq!(hashes(raw(None, false), 1), [Hash::Sha256, Hash::Sha384, Hash::Sha512]);
        assert_eq!(hashes(raw(None, true), 1).last(), Some(&Hash::Sha1));
        assert_eq!(hashes(raw(Some(Hash::Sha1), false), 1), []);
        assert_eq!(hashes(raw(Some(Hash::Sha1), true), 1), [Hash::Sha1]);
    }

    #[test]
    fn devices_that_were_matched_are_covered_and_no_others() {
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
    fn digests_are_signed_by_identities_for_digests_only() {
        for media_type in [MediaType::Text, MediaType::Statement, MediaType::Html] {
            assert_eq!(media_type.usage(), Usage::Content);
        }
        assert_eq!(MediaType::Digest.usage(), Usage::Digest);
    }
}
