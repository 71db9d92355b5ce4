//! The form of a signed message, as slices of its DER.

use der::Decode;
use der::asn1::ObjectIdentifier;
use spki::AlgorithmIdentifierRef;

use crate::fields::{Fields, OCTET_STRING, SEQUENCE, SET, context};
use crate::{BadProof, CHAIN_CERTIFICATES_MAX, oid};

/// The most digest algorithms that a message may list.
const DIGEST_ALGORITHMS_MAX: usize = 8;
/// The most certificates: the signer's, its chain, and the root, which verification does not need.
const CERTIFICATES_MAX: usize = CHAIN_CERTIFICATES_MAX + 1;
/// The most signed attributes that are read before the message is refused.
pub(super) const ATTRIBUTES_MAX: usize = 16;

/// A `ContentInfo` with a `SignedData` (RFC 5652 §3, §5.1) that has one signer, with attributes.
pub(super) struct Message<'a> {
    whole: &'a [u8],
    /// The contents of the three SETs for which DER has an order.
    sets: [&'a [u8]; 3],
    pub(super) digest_algorithms: Vec<AlgorithmIdentifierRef<'a>>,
    pub(super) content: &'a [u8],
    /// Each a whole element.
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) signer: SignerId<'a>,
    pub(super) digest_algorithm: AlgorithmIdentifierRef<'a>,
    /// The content of the SET.
    pub(super) signed_attributes: &'a [u8],
    pub(super) signature_algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) signature: &'a [u8],
}

/// The signer identifier of a message (RFC 5652 §5.3).
pub(super) enum SignerId<'a> {
    /// Both are whole elements.
    IssuerAndSerial {
        issuer: &'a [u8],
        serial: &'a [u8],
    },
    KeyIdentifier(&'a [u8]),
}

impl<'a> Message<'a> {
    pub(super) fn parse(whole: &'a [u8]) -> Result<Self, BadProof> {
        let mut info = Fields::of(whole, SEQUENCE)?;
        if info.decode::<ObjectIdentifier>()? != oid::SIGNED_DATA {
            return Err(BadProof::Message);
        }
        let mut data = Fields::of(info.content(context(0))?, SEQUENCE)?;
        info.end()?;

        let version: u8 = data.decode()?;
        let algorithms = data.content(SET)?;
        let digest_algorithms = Fields::new(algorithms)?.elements(DIGEST_ALGORITHMS_MAX)?;
        let digest_algorithms = digest_algorithms
            .into_iter()
            .map(AlgorithmIdentifierRef::from_der)
            .collect::<der::Result<_>>()?;
        let content = content(data.open(SEQUENCE)?)?;
        let certificate_set = data.optional(context(0))?.unwrap_or_default();
        let certificates = Fields::new(certificate_set)?.elements(CERTIFICATES_MAX);
        let certificates = certificates.map_err(|error| match error.kind() {
            der::ErrorKind::Overlength => BadProof::ManyCertificates,
            _ => BadProof::Message,
        })?;
        if certificates.iter().any(|certificate| certificate[0] != SEQUENCE) {
            return Err(BadProof::OtherCertificate);
        }
        if data.next_is(context(1)) {
            return Err(BadProof::RevocationLists);
        }
        let mut signers = data.open(SET)?;
        data.end()?;
        if signers.is_empty() {
            return Err(BadProof::NoSigner);
        }
        let mut one = signers.open(SEQUENCE)?;
        if !signers.is_empty() {
            return Err(BadProof::SeveralSigners);
        }

        let signer_version: u8 = one.decode()?;
        let signer = signer_id(&mut one)?;
        check_versions(version, signer_version, &signer)?;
        let digest_algorithm = one.decode()?;
        let signed_attributes = one.optional(context(0))?.ok_or(BadProof::NoSignedAttributes)?;
        let signature_algorithm = one.decode()?;
        let signature = one.content(OCTET_STRING)?;
        if one.next_is(context(1)) {
            return Err(BadProof::UnsignedAttributes);
        }
        one.end()?;

        Ok(Self {
            whole,
            sets: [algorithms, certificate_set, signed_attributes],
            digest_algorithms,
            content,
            certificates,
            signer,
            digest_algorithm,
            signed_attributes,
            signature_algorithm,
            signature,
        })
    }

    /// The SETs whose elements are not in DER's order (X.690 §11.6): the SET's offset in the
    /// message, and its content in that order, with the same length.
    pub(super) fn sets_out_of_order(&self) -> Vec<(usize, Vec<u8>)> {
        let most = ATTRIBUTES_MAX.max(CERTIFICATES_MAX).max(DIGEST_ALGORITHMS_MAX);
        let mut sorted = Vec::new();
        for set in self.sets {
            // An unreadable SET is not sorted; parsing refuses it later for its own reason.
            let Ok(mut elements) = Fields::new(set).and_then(|fields| fields.elements(most)) else {
                continue;
            };
            // No element is a prefix of another, so comparing bytes is enough.
            if !elements.is_sorted() {
                elements.sort_unstable();
                let start = set.as_ptr().addr() - self.whole.as_ptr().addr();
                sorted.push((start, elements.concat()));
            }
        }
        sorted
    }
}

/// `EncapsulatedContentInfo` (RFC 5652 §5.2).
fn content(mut fields: Fields<'_>) -> Result<&[u8], BadProof> {
    if fields.decode::<ObjectIdentifier>()? != oid::DATA {
        return Err(BadProof::ContentType);
    }
    let mut inside = Fields::new(fields.optional(context(0))?.ok_or(BadProof::Detached)?)?;
    fields.end()?;
    let content = inside.content(OCTET_STRING)?;
    inside.end()?;
    Ok(content)
}

fn signer_id<'a>(fields: &mut Fields<'a>) -> Result<SignerId<'a>, BadProof> {
    /// `[0]` IMPLICIT of a string, so it is primitive.
    const KEY_IDENTIFIER: u8 = 0x80;
    if let Some(identifier) = fields.optional(KEY_IDENTIFIER)? {
        return Ok(SignerId::KeyIdentifier(identifier));
    }
    let mut id = fields.open(SEQUENCE)?;
    let (issuer, serial) = (id.element()?, id.element()?);
    id.end()?;
    Ok(SignerId::IssuerAndSerial { issuer, serial })
}

/// The signer's version follows from the form of its identifier (RFC 5652 §5.3). The message's
/// version is 3 if a signer's is (§5.1); some signers always write 3.
fn check_versions(message: u8, one: u8, signer: &SignerId<'_>) -> Result<(), BadProof> {
    match (signer, one, message) {
        (SignerId::IssuerAndSerial { .. }, 1, 1 | 3) | (SignerId::KeyIdentifier(_), 3, 3) => Ok(()),
        _ => Err(BadProof::Version),
    }
}

/// Every refusal of the DER decoder is a refusal of the message's form.
impl From<der::Error> for BadProof {
    fn from(_: der::Error) -> Self {
        Self::Message
    }
}
